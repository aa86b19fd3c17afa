"""What holds for every chat request: no crash, an unchanged input, and a body that Anthropic's types accept."""

import collections.abc
import json
from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec
import pytest
from anthropic.types.beta.message_create_params import MessageCreateParams
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from app.errors import RequestError
from app.translate.chat_to_messages import TranslationSettings, decode_chat_request, to_messages
from app.translate.compatibility import compatibility
from tests.support.chat_requests import MODELS
from tests.support.chat_strategies import JSON, broken_requests, chat_requests
from workers.simulator.prompt import pieces_of, total_tokens
from workers.simulator.validation import check_request
from workers.simulator.wire import MessagesRequest

SETTINGS = st.builds(
    TranslationSettings,
    auto_cache=st.sampled_from(["off", "auto", "always"]),
    forced_tool_fallback=st.sampled_from(["auto_instruction", "structured_output"]),
    allowed_tools=st.sampled_from(["instruction", "filter"]),
    later_system=st.sampled_from(["inline", "hoist"]),
    include_reasoning=st.booleans(),
    fast_mode=st.booleans(),
)
LARGE = settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None, max_examples=60
)


@cache
def anthropic_types() -> TypeAdapter[Any]:
    return TypeAdapter(MessageCreateParams)


def exhausted(value: Any) -> Any:
    """Fields typed as ``Iterable`` validate lazily: walks them, so that every element is validated."""
    if isinstance(value, dict):
        return {key: exhausted(item) for key, item in value.items()}
    if isinstance(value, str | bytes) or not isinstance(value, collections.abc.Iterable):
        return value
    return [exhausted(item) for item in value]


def lost(given_: Any, kept: Any, path: str = "") -> list[str]:
    """Paths of what the types do not know."""
    if isinstance(given_, dict) and isinstance(kept, dict):
        return [
            p
            for key in given_
            for p in (lost(given_[key], kept[key], f"{path}.{key}") if key in kept else [f"{path}.{key}"])
        ]
    if isinstance(given_, list) and isinstance(kept, list) and len(given_) == len(kept):
        return [
            p
            for at, (one, other) in enumerate(zip(given_, kept, strict=True))
            for p in lost(one, other, f"{path}[{at}]")
        ]
    return [] if given_ == kept else [path]


def body_of(request: dict[str, Any], chosen: TranslationSettings) -> dict[str, Any]:
    chat = decode_chat_request(json.dumps(request).encode())
    body: dict[str, Any] = json.loads(to_messages(chat, MODELS, chosen).body)
    return body


@LARGE
@given(chat_requests(), SETTINGS)
def test_translation_is_deterministic_and_leaves_its_input_alone(request: Any, chosen: TranslationSettings) -> None:
    chat = decode_chat_request(json.dumps(request).encode())
    before = msgspec.json.encode(chat)
    first, second = to_messages(chat, MODELS, chosen), to_messages(chat, MODELS, chosen)
    assert first == second
    assert msgspec.json.encode(chat) == before


@LARGE
@given(chat_requests(), SETTINGS)
def test_the_body_is_one_that_anthropics_types_know_entirely(request: Any, chosen: TranslationSettings) -> None:
    body = body_of(request, chosen)
    unknown = lost(body, exhausted(anthropic_types().validate_python(body)))
    free_form = (".input_schema.", ".temperature", ".top_p", ".top_k")  # sampling: of the older API version
    assert [path for path in unknown if not any(name in path for name in free_form)] == []


@LARGE
@given(chat_requests(), SETTINGS)
def test_the_simulator_finds_nothing_wrong_with_it(request: Any, chosen: TranslationSettings) -> None:
    """The simulator refuses what Anthropic refuses, from its own reading of the rules."""
    call = to_messages(decode_chat_request(json.dumps(request).encode()), MODELS, chosen)
    facts = MODELS.resolve(call.model).facts
    upstream_request = msgspec.json.decode(call.body, type=MessagesRequest)
    check_request(upstream_request, facts, call.anthropic_version, call.betas, call.body)


@LARGE
@given(chat_requests(), SETTINGS)
def test_no_prompt_is_longer_than_its_bound(request: Any, chosen: TranslationSettings) -> None:
    call = to_messages(decode_chat_request(json.dumps(request).encode()), MODELS, chosen)
    pieces = pieces_of(msgspec.json.decode(call.body, type=MessagesRequest))
    assert total_tokens(pieces) <= call.size.most_tokens
    assert call.size.expected_tokens <= call.size.most_tokens
    assert (call.size.cache_lifetime == "") == (b'"cache_control":' not in call.body)
    assert any(piece.ttl == "1h" for piece in pieces) <= (call.size.cache_lifetime == "1h")
    assert call.least_tokens <= call.max_tokens


@LARGE
@given(chat_requests(), SETTINGS)
def test_turns_follow_anthropics_rules(request: Any, chosen: TranslationSettings) -> None:
    turns = body_of(request, chosen)["messages"]
    roles = [turn["role"] for turn in turns]
    assert (roles[0], roles[-1] in ("user", "system")) == ("user", True)
    for at, turn in enumerate(turns):
        assert turn["content"]
        if turn["role"] == "system":
            assert roles[at - 1] == "user"
            assert at + 1 == len(turns) or roles[at + 1] == "assistant"
        called = [block["id"] for block in turn["content"] if block["type"] == "tool_use"]
        if called:
            answered = [block["tool_use_id"] for block in turns[at + 1]["content"] if block["type"] == "tool_result"]
            assert answered == called


@LARGE
@given(chat_requests(), SETTINGS)
def test_there_are_never_more_than_four_cache_markers(request: Any, chosen: TranslationSettings) -> None:
    assert json.dumps(body_of(request, chosen)).count('"cache_control"') <= 4


@LARGE
@given(chat_requests(), SETTINGS)
def test_strict_mode_serves_exactly_what_is_not_reported(request: Any, chosen: TranslationSettings) -> None:
    chat = decode_chat_request(json.dumps(request).encode())
    report = to_messages(chat, MODELS, chosen, kept={}).report
    if report.ignored or report.adjusted:
        with pytest.raises(RequestError) as caught:
            to_messages(chat, MODELS, chosen, kept={}, strict=True)
        assert caught.value.param in {*report.ignored, *dict(report.adjusted)}
    else:
        to_messages(chat, MODELS, chosen, kept={}, strict=True)


def served_or_refused(function: Callable[[], object]) -> bool:
    """Whether a call returned, or raised an error that is made for the client to read."""
    try:
        function()
    except RequestError as error:
        return 0 < len(error.message) < 1000
    return True


@LARGE
@given(broken_requests(), SETTINGS)
def test_a_request_with_something_broken_is_served_or_refused(request: Any, chosen: TranslationSettings) -> None:
    assert served_or_refused(lambda: body_of(request, chosen))


@LARGE
@given(broken_requests())
def test_a_compatibility_report_lists_refusals(request: Any) -> None:
    try:
        chat = decode_chat_request(json.dumps(request).encode())
    except RequestError:
        return
    report = compatibility(chat, MODELS, TranslationSettings())
    assert report.accepted == all(finding.status != "refused" for finding in report.parameters)


@LARGE
@given(JSON)
def test_any_json_is_served_or_refused(value: Any) -> None:
    assert served_or_refused(lambda: body_of(value, TranslationSettings()))


@LARGE
@given(st.binary(max_size=60))
def test_any_bytes_are_served_or_refused(body: bytes) -> None:
    assert served_or_refused(lambda: decode_chat_request(body))
