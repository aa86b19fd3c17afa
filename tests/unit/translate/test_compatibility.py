import json
from typing import Any

import msgspec
import pytest

from app.schemas.openai_chat import ChatRequest
from app.translate.chat_to_messages import TranslationSettings, decode_chat_request
from app.translate.compatibility import _MEANING, Compatibility, compatibility
from tests.support.chat_requests import HELLO, MODELS, WEATHER


def report(
    request: dict[str, Any],
    *,
    thinking_tokens: int | None = None,
    by_request: bool | None = None,
    ignored_headers: tuple[str, ...] = (),
    **settings: Any,
) -> Compatibility:
    chat = decode_chat_request(json.dumps({"model": "claude-opus-5-5", "messages": HELLO, **request}).encode())
    return compatibility(
        chat,
        MODELS,
        TranslationSettings(**settings),
        thinking_tokens=thinking_tokens,
        strict=by_request,
        ignored_headers=ignored_headers,
    )


def statuses(*args: Any, **kwargs: Any) -> dict[str, str]:
    return {finding.param: finding.status for finding in report(*args, **kwargs).parameters}


def test_what_keeps_its_effect_is_mapped() -> None:
    assert statuses({"max_tokens": 5, "stream": True}) == {
        "model": "mapped",
        "messages": "mapped",
        "max_tokens": "mapped",
        "stream": "mapped",
    }
    said = report({"max_tokens": 5})
    assert (said.accepted, said.faithful, said.model) == (True, True, "claude-opus-5-5")


@pytest.mark.parametrize("name", ["", "a b", "stats"])
def test_a_session_is_named_as_sessions_are(name: str) -> None:
    assert statuses({"session_id": "trip"})["session_id"] == "mapped"
    said = report({"session_id": name})
    (refused,) = [finding for finding in said.parameters if finding.status == "refused"]
    assert (said.accepted, refused.param, refused.code) == (False, "session_id", "invalid_value")


def test_what_is_ignored_or_adjusted_says_why() -> None:
    said = report({"seed": 1, "max_tokens": 10**9, "stop": ["a", ""]})
    findings = {finding.param: finding for finding in said.parameters}
    assert (findings["seed"].status, findings["max_tokens"].status) == ("ignored", "adjusted")
    assert findings["max_tokens"].value == "128000"
    assert (findings["stop"].status, findings["stop[1]"].status) == ("mapped", "ignored")
    assert all(finding.reason for finding in said.parameters)
    assert (said.accepted, said.faithful) == (True, False)


@pytest.mark.parametrize(
    ("strict", "by_request", "accepted"),
    [(False, None, True), (True, None, False), (False, True, False), (True, False, True)],
)
@pytest.mark.parametrize("lost", [{"request": {"seed": 1}}, {"request": {}, "ignored_headers": ("header.x-claude-a",)}])
def test_in_strict_mode_what_is_ignored_is_not_accepted(
    lost: dict[str, Any], strict: bool, by_request: bool | None, accepted: bool
) -> None:
    said = report(**lost, strict=strict, by_request=by_request)
    assert (said.accepted, said.faithful) == (accepted, False)
    assert [finding.status for finding in said.parameters].count("ignored") == 1


@pytest.mark.parametrize("by_request", [None, True])
def test_what_is_kept_to_the_letter_is_accepted_in_strict_mode(by_request: bool | None) -> None:
    assert report({"max_tokens": 5}, by_request=by_request, strict=True).accepted


def test_every_refusal_is_listed_at_once() -> None:
    request = {
        "n": 99,
        "modalities": ["audio"],
        "temperature": 9,
        "messages": [*HELLO, {"role": "tool", "tool_call_id": "x", "content": ""}],
        "seed": 1,
        "max_tokens": 5,
    }
    said = statuses(request)
    assert {param for param, status in said.items() if status == "refused"} == {
        "n",
        "modalities",
        "temperature",
        "messages[1]",
    }
    assert (said["seed"], said["max_tokens"]) == ("ignored", "mapped")
    assert not report(request).accepted


def test_what_hangs_on_a_refused_parameter_is_not_blamed() -> None:
    request = {
        "tools": [{"type": "function", "function": {"name": "a b"}}],
        "tool_choice": {"type": "function", "function": {"name": "a b"}},
    }
    assert statuses(request)["tools[0].function.name"] == "refused"
    assert statuses(request)["tool_choice"] == "mapped"


@pytest.mark.parametrize("field", ["function_call", "tool_choice"])
def test_what_hangs_on_refused_functions_is_not_blamed(field: str) -> None:
    choice: Any = {"name": "a b"} if field == "function_call" else {"type": "function", "function": {"name": "a b"}}
    said = statuses({"functions": [{"name": "a b"}], field: choice})
    assert (said["functions[0].name"], said[field]) == ("refused", "mapped")


def test_the_choice_that_does_not_count_is_ignored() -> None:
    said = statuses({"functions": [{"name": "f"}], "function_call": "none", "tool_choice": "auto"})
    assert (said["function_call"], said["tool_choice"]) == ("mapped", "ignored")


def test_an_unknown_model_ends_the_report() -> None:
    said = report({"model": "gpt-4o"})
    assert [(finding.param, finding.status, finding.code) for finding in said.parameters] == [
        ("model", "refused", "model_not_found")
    ]
    assert (said.model, said.anthropic_version, said.requested_model) == (None, None, "gpt-4o")


def test_the_header_is_a_parameter() -> None:
    header = "x-claude-max-thinking-tokens"
    assert statuses({"model": "claude-haiku-4-5"}, thinking_tokens=2000)[header] == "mapped"
    assert statuses({}, thinking_tokens=2000)[header] == "adjusted"
    assert statuses({}, thinking_tokens=-1)[header] == "refused"


def test_strict_does_not_change_the_report() -> None:
    assert statuses({"seed": 1}, strict=True)["seed"] == "ignored"


def test_unknown_fields_are_ignored() -> None:
    assert statuses({"foo": 1})["foo"] == "ignored"


def test_a_refusal_that_nothing_can_take_out_ends_the_report() -> None:
    aliases = {"a": "opus"}
    request = {
        "model": "a",
        "messages": [{"role": "user", "content": "hi"}],
        "tools": [WEATHER],
        "tool_choice": "required",
    }
    said = report(request, aliases=aliases, forced_tool_fallback="error")
    assert [finding.param for finding in said.parameters if finding.status == "refused"] == ["tool_choice"]


def test_it_can_be_encoded() -> None:
    body = json.loads(msgspec.json.encode(report({"seed": 1})))
    assert body["object"] == "compatibility"
    assert body["parameters"][0] == {
        "param": "seed",
        "status": "ignored",
        "reason": "Claude does not sample deterministically",
    }


@pytest.mark.parametrize("name", sorted(_MEANING))
def test_the_meanings_are_of_real_parameters(name: str) -> None:
    assert name in ChatRequest.__struct_fields__
