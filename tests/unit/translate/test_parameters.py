import hashlib
import hmac
from typing import Any

import pytest

from tests.support.chat_requests import adjusted, call, ignored, refusal, sent

SAMPLES = "claude-sonnet-4-6"


# max_tokens


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_the_bound_on_the_answer_has_two_names(name: str) -> None:
    assert sent({name: 100})["max_tokens"] == 100


def test_the_newer_name_wins() -> None:
    assert sent({"max_completion_tokens": 5, "max_tokens": 9})["max_tokens"] == 5
    assert ignored({"max_completion_tokens": 5, "max_tokens": 9}) == ("max_tokens",)
    assert ignored({"max_completion_tokens": 5, "max_tokens": 5}) == ()


@pytest.mark.parametrize(("stream", "expected"), [(None, 16_000), (False, 16_000), (True, 32_000)])
def test_there_is_a_default_bound(stream: bool | None, expected: int) -> None:
    assert sent({"stream": stream})["max_tokens"] == expected


def test_the_defaults_are_settings_within_the_models_bound() -> None:
    assert sent({}, default_max_tokens=5)["max_tokens"] == 5
    assert sent({"stream": True}, default_max_tokens_stream=6)["max_tokens"] == 6
    assert sent({"model": "claude-haiku-4-5"}, default_max_tokens=100_000)["max_tokens"] == 64_000


@pytest.mark.parametrize("wanted", [64_001, 10**30])
def test_more_than_the_model_answers_is_clamped(wanted: int) -> None:
    request = {"model": "claude-haiku-4-5", "max_tokens": wanted}
    assert sent(request)["max_tokens"] == 64_000
    assert adjusted(request) == {"max_tokens": "64000"}


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_less_than_one_token_is_refused(name: str) -> None:
    error = refusal({name: 0})
    assert (error.param, error.code) == (name, "invalid_value")


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_prewarming_asks_for_no_tokens(name: str) -> None:
    assert sent({"prewarm": True})["max_tokens"] == 0
    assert ignored({"prewarm": True}) == ignored({"prewarm": True, name: 0}) == ()
    assert ignored({"prewarm": True, name: 5}) == (name,)


@pytest.mark.parametrize(
    ("request_", "streams"),
    [({"max_tokens": 21_333}, False), ({"max_tokens": 21_334}, True), ({"stream": True, "max_tokens": 1}, True)],
)
def test_long_answers_are_streamed_upstream(request_: dict[str, Any], streams: bool) -> None:
    made = call(request_)
    assert made.upstream_stream == streams == sent(request_).get("stream", False)
    assert made.stream == bool(request_.get("stream"))


# Sampling


@pytest.mark.parametrize(
    ("request_", "sends"),
    [
        ({"temperature": 0.2}, {"temperature": 0.2}),
        ({"temperature": 1}, {"temperature": 1}),
        ({"temperature": 2}, {"temperature": 1}),
        ({"top_p": 0.5}, {"top_p": 0.5}),
        ({"top_k": 3}, {"top_k": 3}),
        ({"temperature": 0, "top_p": 0.5, "top_k": 3}, {"temperature": 0, "top_k": 3}),
    ],
)
def test_sampling_goes_to_the_older_api_version(request_: dict[str, Any], sends: dict[str, Any]) -> None:
    body = sent({"model": SAMPLES, **request_})
    assert {name: body[name] for name in ("temperature", "top_p", "top_k") if name in body} == sends
    assert call({"model": SAMPLES, **request_}).anthropic_version == "2023-06-01"


def test_without_sampling_the_api_version_is_current() -> None:
    assert call({"model": SAMPLES}).anthropic_version == "2026-10-21"


def test_the_default_of_top_p_is_not_missed() -> None:
    assert ignored({"model": SAMPLES, "temperature": 0.5, "top_p": 1}) == ()


@pytest.mark.parametrize("request_", [{"model": "claude-opus-5-5"}, {"model": SAMPLES, "reasoning_effort": "low"}])
def test_sampling_is_reported_where_it_is_not_taken(request_: dict[str, Any]) -> None:
    sampled = {**request_, "temperature": 0.2, "top_p": 0.5, "top_k": 3}
    assert ignored(sampled) == ("temperature", "top_p", "top_k")
    assert not {"temperature", "top_p", "top_k"} & set(sent(sampled))
    assert call(sampled).anthropic_version == "2026-10-21"


def test_defaults_of_sampling_are_not_reported() -> None:
    assert ignored({"temperature": 1, "top_p": 1.0}) == ()


@pytest.mark.parametrize(
    ("name", "value"),
    [("temperature", -0.1), ("temperature", 2.1), ("top_p", -1), ("top_p", 1.1), ("top_k", 0), ("top_k", 10**30)],
)
def test_sampling_out_of_range_is_refused(name: str, value: float) -> None:
    error = refusal({name: value})
    assert (error.param, error.code) == (name, "invalid_value")


# Stop, n, tiers


@pytest.mark.parametrize(
    ("stop", "sends", "reported"),
    [
        ("END", ["END"], ()),
        (["a", " ", "b", ""], ["a", "b"], ("stop[1]", "stop[3]")),
        (" ", None, ("stop",)),
        ([], None, ()),
    ],
)
def test_stop_sequences(stop: Any, sends: Any, reported: tuple[str, ...]) -> None:
    assert sent({"stop": stop}).get("stop_sequences") == sends
    assert ignored({"stop": stop}) == reported


def test_five_stop_sequences_are_too_many() -> None:
    assert refusal({"stop": list("abcde")}).param == "stop"


@pytest.mark.parametrize(("n", "count"), [(None, 1), (1, 1), (8, 8)])
def test_up_to_eight_answers(n: int | None, count: int) -> None:
    assert call({"n": n}).n == count


@pytest.mark.parametrize("n", [0, -1, 9, 10**30])
def test_other_numbers_of_answers_are_refused(n: int) -> None:
    error = refusal({"n": n})
    assert (error.param, error.code) == ("n", "unsupported_value")


@pytest.mark.parametrize(
    ("tier", "sends", "reported"),
    [
        ("auto", "auto", ()),
        ("default", "standard_only", ()),
        ("priority", "auto", ()),
        ("flex", None, ("service_tier",)),
        ("scale", None, ("service_tier",)),
        ("fast", None, ("service_tier",)),
    ],
)
def test_service_tiers(tier: str, sends: str | None, reported: tuple[str, ...]) -> None:
    assert sent({"service_tier": tier}).get("service_tier") == sends
    assert ignored({"service_tier": tier}) == reported


def test_fast_mode_is_asked_for_where_the_operator_allows_it() -> None:
    assert sent({"service_tier": "fast"}, fast_mode=True)["speed"] == "fast"
    assert call({"service_tier": "fast"}, fast_mode=True).betas == ("fast-mode-2026-02-01",)


# The end user


@pytest.mark.parametrize(
    ("request_", "name"),
    [
        ({"user": "alice"}, "alice"),
        ({"user": "alice", "safety_identifier": "s"}, "s"),
        ({"metadata": {"user_id": "m"}}, "m"),
        ({"user": "", "metadata": {"user_id": "m"}}, "m"),
    ],
)
def test_the_end_user_goes_upstream_as_a_pseudonym(request_: dict[str, Any], name: str) -> None:
    expected = hmac.new(b"salt", name.encode(), hashlib.sha256).hexdigest()
    assert sent(request_, user_salt=b"salt")["metadata"] == {"user_id": expected}


def test_another_name_of_the_end_user_is_reported() -> None:
    names = {"safety_identifier": "s", "user": "alice", "metadata": {"user_id": "u", "other": "o"}}
    assert ignored(names) == ("user", "metadata.user_id")
    assert ignored({**names, "user": "s", "metadata": {"user_id": "s"}}) == ()


def test_nobody_has_no_pseudonym() -> None:
    assert "metadata" not in sent({"metadata": {"team": "x"}})


def test_metadata_and_affinity_stay_in_the_gateway() -> None:
    made = call({"metadata": {"team": "x"}, "prompt_cache_key": "k"})
    assert (made.metadata, made.affinity, made.report.ignored) == ({"team": "x"}, "k", ())
    assert call({"session_id": "s"}).affinity == "s"


# Betas


def test_betas_are_an_allow_list() -> None:
    request = {"betas": ["a-1", "b-2"]}
    assert call(request, allowed_betas=("a-1",)).betas == ("a-1",)
    assert ignored(request, allowed_betas=("a-1",)) == ("betas[1]",)
    assert call(request, allowed_betas=("*",)).betas == ("a-1", "b-2")


@pytest.mark.parametrize("name", ["", "a,b", "a\r\nx: y", "ä"])
def test_a_beta_is_a_name(name: str) -> None:
    assert refusal({"betas": [name]}, allowed_betas=("*",)).param == "betas[0]"


# What Claude has nothing for


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", 0),
        ("logit_bias", {"1": 5}),
        ("presence_penalty", 0.1),
        ("frequency_penalty", -1),
        ("prediction", {"type": "content", "content": "x"}),
        ("logprobs", True),
        ("top_logprobs", 3),
        ("verbosity", "low"),
        ("store", True),
        ("audio", {"voice": "ash", "format": "wav"}),
        ("moderation", {"model": "m"}),
        ("moderation", {"policy": {"input": {"mode": "score"}, "output": None}}),
        ("stream_options", {"include_usage": True}),
        ("anthropic", {"x": 1}),
    ],
)
def test_it_is_reported(name: str, value: Any) -> None:
    assert ignored({name: value}) == (name,)


@pytest.mark.parametrize(
    "request_",
    [
        {"logit_bias": {}, "presence_penalty": 0, "frequency_penalty": 0.0, "logprobs": False, "top_logprobs": 0},
        {"store": False, "verbosity": "medium", "modalities": ["text"], "prediction": None, "audio": None},
        {"stream": True, "stream_options": {"include_usage": True, "include_obfuscation": True}},
        {"stream_options": {"include_usage": False}, "parallel_tool_calls": True, "response_format": {"type": "text"}},
    ],
)
def test_values_that_ask_for_nothing_are_not_reported(request_: dict[str, Any]) -> None:
    made = call(request_)
    assert (made.report.ignored, made.report.adjusted) == ((), ())


def test_audio_answers_are_refused() -> None:
    error = refusal({"modalities": ["text", "audio"]})
    assert (error.param, error.code) == ("modalities", "unsupported_value")


@pytest.mark.parametrize("side", ["input", "output"])
def test_a_safety_control_is_not_left_out_silently(side: str) -> None:
    error = refusal({"moderation": {"policy": {side: {"mode": "block"}}}})
    assert (error.param, error.code) == (f"moderation.policy.{side}.mode", "unsupported_value")
