"""What makes two requests the same: every field shapes the answer, or is known not to."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.schemas.openai_chat import ChatRequest
from app.translate.answer_identity import IN_BODY, NOT_SHAPING, request_fingerprint, same_answer_key
from app.translate.chat_decoding import decode_chat_request
from app.translate.chat_to_messages import TranslationSettings, to_messages
from tests.support.chat_requests import HELLO, MODELS, WEATHER
from tests.support.chat_strategies import chat_requests

TOOLS = {"tools": [WEATHER]}
OTHER_TOOL = {"type": "function", "function": {"name": "now"}}

#: Two values of every field, and what else has to be there for the request to be valid. A new field has to be added.
VALUES: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "model": ("claude-opus-5", "claude-opus-4-8", {}),
    "messages": (HELLO, [{"role": "user", "content": "Hello!"}], {}),
    "audio": ({"voice": "ash"}, {"voice": "sage"}, {}),
    "frequency_penalty": (0.5, 0.6, {}),
    "function_call": ("auto", "none", {"functions": [WEATHER["function"]]}),
    "functions": ([WEATHER["function"]], [OTHER_TOOL["function"]], {}),
    "logit_bias": ({"1": 1}, {"1": 2}, {}),
    "logprobs": (True, False, {}),
    "max_completion_tokens": (100, 101, {}),
    "max_tokens": (100, 101, {}),
    "metadata": ({"a": "b"}, {"a": "c"}, {}),
    "modalities": (["text"], ["text", "text"], {}),
    "moderation": ({"model": "a"}, {"model": "b"}, {}),
    "n": (1, 2, {}),
    "parallel_tool_calls": (True, False, TOOLS),
    "prediction": ({"content": "a"}, {"content": "b"}, {}),
    "presence_penalty": (0.5, 0.6, {}),
    "prompt_cache_key": ("a", "b", {}),
    "prompt_cache_options": ({"mode": "implicit"}, {"mode": "explicit"}, {}),
    "prompt_cache_retention": ("in_memory", "24h", {}),
    "reasoning_effort": ("low", "high", {}),
    "response_format": ({"type": "text"}, {"type": "json_object"}, {}),
    "safety_identifier": ("a", "b", {}),
    "seed": (1, 2, {}),
    "service_tier": ("auto", "default", {}),
    "stop": ("a", "b", {}),
    "store": (True, False, {}),
    "stream": (True, False, {}),
    "stream_options": ({"include_usage": True}, {"include_usage": False}, {"stream": True}),
    "temperature": (0.5, 0.6, {}),
    "tool_choice": ("auto", "none", TOOLS),
    "tools": ([WEATHER], [OTHER_TOOL], {}),
    "top_logprobs": (1, 2, {}),
    "top_p": (0.5, 0.6, {}),
    "user": ("a", "b", {}),
    "verbosity": ("low", "high", {}),
    "web_search_options": ({}, {"search_context_size": "low"}, {}),
    "anthropic": ({"x": 1}, {"x": 2}, {}),
    "betas": (["a"], ["b"], {}),
    "cache_control": ({"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}, {}),
    "include_reasoning": (True, "details", {}),
    "inference_geo": ("us", "eu", {}),
    "output_config": ({"effort": "low"}, {"effort": "high"}, {}),
    "prewarm": (True, False, {}),
    "session_id": ("a", "b", {}),
    "thinking": ({"type": "adaptive"}, {"type": "disabled"}, {}),
    "top_k": (1, 2, {}),
}


def key(request: dict[str, Any], thinking_tokens: int | None = None, **chosen: Any) -> bytes:
    chat = decode_chat_request(json.dumps({"model": "claude-opus-5", "messages": HELLO, **request}).encode())
    options = TranslationSettings(**{"auto_cache": "off", **chosen})
    call = to_messages(chat, MODELS, options, thinking_tokens=thinking_tokens)
    return same_answer_key(chat, call, thinking_tokens=thinking_tokens)


def fingerprint(request: dict[str, Any], thinking_tokens: int | None = None) -> bytes:
    body = json.dumps({"model": "claude-opus-5", "messages": HELLO, **request}).encode()
    return request_fingerprint(decode_chat_request(body), thinking_tokens)


def test_every_field_is_classified() -> None:
    assert set(VALUES) == set(ChatRequest.__struct_fields__)
    assert not IN_BODY & NOT_SHAPING


@pytest.mark.parametrize("name", sorted(set(VALUES) - NOT_SHAPING))
@pytest.mark.parametrize("model", ["claude-opus-5", "claude-haiku-4-5"])
def test_a_field_that_shapes_the_answer_makes_another_key(name: str, model: str) -> None:
    one, other, rest = VALUES[name]
    fields = {"model": model, **rest}
    assert key({**fields, name: one}) != key({**fields, name: other})


@pytest.mark.parametrize("name", sorted(set(VALUES) - NOT_SHAPING - IN_BODY))
def test_a_field_that_is_left_out_makes_another_key(name: str) -> None:
    one, _, rest = VALUES[name]
    assert key({**rest, name: one}) != key(rest) or name == "n"


@pytest.mark.parametrize("name", sorted(NOT_SHAPING - {"prompt_cache_options"}))
def test_a_field_that_shapes_nothing_makes_no_other_key(name: str) -> None:
    one, other, rest = VALUES[name]
    assert key({**rest, name: one}) == key({**rest, name: other}) == key(rest)


@pytest.mark.parametrize("fields", [{}, {"max_tokens": 30_000}, {"max_tokens": 100}, {"stream_options": {}}])
def test_a_plain_request_and_a_streamed_one_share_an_answer(fields: dict[str, Any]) -> None:
    assert key({**fields, "stream": True}) == key(fields)


def test_a_default_bound_is_not_the_same_as_a_given_one() -> None:
    assert key({}) != key({"max_tokens": 16_000})
    assert key({}) == key({}, default_max_tokens=5000)


def test_the_words_of_the_prompt_are_never_mistaken_for_the_fields_of_the_body() -> None:
    said = '"max_tokens":5,"stream":true,'
    body = key({"messages": [{"role": "user", "content": said}], "stream": True})
    assert json.dumps(said).encode() in body


def test_headers_that_shape_the_answer_make_another_key() -> None:
    assert len({key({}), key({}, 0), key({}, 2000), key({}, 2001)}) == 4


def test_order_of_what_has_none_does_not_matter() -> None:
    assert key({"logit_bias": {"1": 1, "2": 2}}) == key({"logit_bias": {"2": 2, "1": 1}})
    shells = [{"type": "custom", "custom": {"name": name}} for name in ("abc", "bcd", "cde")]
    assert key({"tools": shells}) == key({"tools": shells})


@settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=60)
@given(chat_requests(), st.booleans())
def test_equal_requests_have_equal_keys_however_they_are_delivered(request: dict[str, Any], is_stream: bool) -> None:
    bounded = {**request, "max_tokens": 5000, "max_completion_tokens": None}
    other = {**dict(reversed(bounded.items())), "stream": is_stream, "stream_options": None, "store": True}
    assert key(bounded) == key(other)


@pytest.mark.parametrize("name", sorted(set(VALUES) - {"stream", "stream_options"}))
def test_a_request_that_is_sent_again_with_a_change_is_another(name: str) -> None:
    one, other, rest = VALUES[name]
    assert fingerprint({**rest, name: one}) != fingerprint({**rest, name: other})


def test_a_request_that_is_sent_again_is_the_same_plain_or_streamed() -> None:
    assert fingerprint({"stream": True, "stream_options": {"include_usage": True}}) == fingerprint({})
    assert len(fingerprint({})) == 32
    assert fingerprint({}, 5) != fingerprint({})
    assert fingerprint({"unheard_of": 1}) != fingerprint({})
