"""Hypothesis strategies for chat completions requests: plausible ones, and ones with something broken in them."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import strategies as st

from tests.support.chat_requests import MODELS

TEXT = st.text(max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
MODEL_NAMES = st.sampled_from(
    [*(facts.id for facts in MODELS.all()), "opus", "sonnet@low", "claude-3-5-sonnet-20241022", "claude-next-1"]
)
TOOL_NAMES = st.sampled_from(["weather", "get-time", "shell"])
MARKER = st.sampled_from([{"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}])
BREAKPOINT = st.sampled_from(
    [{"mode": "explicit"}, {"mode": "explicit", "ttl": "30m"}, {"mode": "explicit", "ttl": "12h"}]
)
ARGUMENTS = st.sampled_from(["", "{}", '{"city":"Rome"}', '{"city":', "[1]", "null", '"x"'])


def _with(required: dict[str, Any], **optional: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(required, optional=optional)


def _maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


TEXT_PART = _with({"type": st.just("text"), "text": TEXT}, cache_control=MARKER, prompt_cache_breakpoint=BREAKPOINT)
IMAGE_URL = st.sampled_from(["data:image/png;base64,iVBORw0KGgo=", "https://example.com/a.png"])
IMAGE_PART = _with(
    {"type": st.just("image_url"), "image_url": _with({"url": IMAGE_URL}, detail=st.sampled_from(["auto", "low"]))},
    cache_control=MARKER,
)
FILE_PART = st.sampled_from(
    [
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0xLjQK"}},
        {"type": "file", "file": {"file_data": "data:text/plain;base64,aGk="}},
        {"type": "file", "file": {"file_id": "file_1"}},
    ]
)
TEXTS = TEXT | st.lists(TEXT_PART, max_size=3)
NAMED = {"name": TEXT, "cache_control": MARKER}

SYSTEM = _with({"role": st.sampled_from(["system", "developer"]), "content": TEXTS}, **NAMED)
USER = _with(
    {"role": st.just("user"), "content": TEXT | st.lists(TEXT_PART | IMAGE_PART | FILE_PART, max_size=3)}, **NAMED
)
THINKING = st.sampled_from(
    [
        {"type": "thinking", "thinking": "hm", "signature": "S"},
        {"type": "thinking", "thinking": "unsigned"},
        {"type": "redacted_thinking", "data": "R"},
    ]
)
DETAIL = st.sampled_from([{"type": "reasoning.text", "text": "hm", "signature": "S"}, {"type": "reasoning.summary"}])
ASSISTANT = _with(
    {"role": st.just("assistant"), "content": _maybe(TEXTS)},
    refusal=_maybe(TEXT),
    thinking_blocks=_maybe(st.lists(THINKING, max_size=2)),
    reasoning_details=st.lists(DETAIL, max_size=2),
    reasoning_content=_maybe(TEXT),
    annotations=st.just([]),
    **NAMED,
)


@st.composite
def _tool_exchange(draw: st.DrawFn) -> list[dict[str, Any]]:
    """An assistant message with calls, and the answers, in any order and with instructions in between."""
    assistant = draw(ASSISTANT)
    if draw(st.booleans()):
        assistant["function_call"] = {"name": draw(TOOL_NAMES), "arguments": draw(ARGUMENTS)}
        return [
            assistant,
            {"role": "function", "name": assistant["function_call"]["name"], "content": draw(_maybe(TEXT))},
        ]
    ids = draw(st.lists(st.sampled_from(["a", "b-1", "c.2", "d|é"]), min_size=1, max_size=3, unique=True))
    assistant["tool_calls"] = [
        {"id": id_, "type": "custom", "custom": {"name": draw(TOOL_NAMES), "input": draw(TEXT)}}
        if draw(st.booleans())
        else {"id": id_, "type": "function", "function": {"name": draw(TOOL_NAMES), "arguments": draw(ARGUMENTS)}}
        for id_ in ids
    ]
    content = TEXT | st.lists(TEXT_PART | IMAGE_PART, max_size=2)
    answers = [
        draw(_with({"role": st.just("tool"), "tool_call_id": st.just(id_), "content": content}, is_error=st.booleans()))
        for id_ in draw(st.permutations(ids))
    ]
    between = draw(st.lists(SYSTEM, max_size=1))
    return [assistant, *between, *answers]


@st.composite
def conversations(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Messages that pair calls and results, and end with something to answer."""
    single = (SYSTEM | USER | ASSISTANT).map(lambda message: [message])
    groups = draw(st.lists(single | _tool_exchange(), max_size=5))
    return [*(message for group in groups for message in group), {"role": "user", "content": "go on"}]


SCHEMA = st.sampled_from(
    [
        {"type": "object", "properties": {"city": {"type": "string", "minLength": 1}}, "required": ["city"]},
        {"type": "object", "properties": {"city": {"type": ["string", "null"]}}},
        {"properties": {"city": {}}},
        {},
    ]
)
FUNCTION = _with({"name": TOOL_NAMES}, description=TEXT, parameters=SCHEMA, strict=st.booleans())
TOOL = _with({"type": st.just("function"), "function": FUNCTION}, cache_control=MARKER) | _with(
    {"type": st.just("custom"), "custom": _with({"name": TOOL_NAMES}, description=TEXT)}
)
TOOLS = st.lists(TOOL, max_size=3, unique_by=lambda tool: tool[tool["type"]]["name"])


@st.composite
def chat_requests(draw: st.DrawFn) -> dict[str, Any]:
    """A request that a client may well send; every part of it is of the right type."""
    request = draw(
        _with(
            {"model": MODEL_NAMES, "messages": conversations()},
            max_tokens=st.integers(1, 200_000),
            max_completion_tokens=_maybe(st.integers(1, 200_000)),
            temperature=_maybe(st.floats(0, 2)),
            top_p=st.floats(0, 1),
            top_k=st.integers(1, 100),
            stop=_maybe(TEXT | st.lists(TEXT, max_size=4)),
            n=_maybe(st.integers(1, 8)),
            stream=_maybe(st.booleans()),
            stream_options=st.sampled_from([None, {"include_usage": True}]),
            tools=_maybe(TOOLS),
            parallel_tool_calls=st.booleans(),
            reasoning_effort=_maybe(st.sampled_from(["none", "minimal", "low", "medium", "high", "xhigh", "max"])),
            include_reasoning=st.sampled_from([True, False, "details"]),
            response_format=st.sampled_from([{"type": "text"}, {"type": "json_object"}])
            | SCHEMA.map(lambda schema: {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}),
            user=_maybe(TEXT),
            seed=_maybe(st.integers()),
            service_tier=st.sampled_from([None, "auto", "default", "flex", "priority", "fast"]),
            prompt_cache_options=_maybe(st.sampled_from([{"mode": "explicit"}, {"mode": "implicit", "ttl": "30m"}])),
            cache_control=MARKER,
            web_search_options=_maybe(st.sampled_from([{}, {"search_context_size": "low"}])),
            metadata=_maybe(st.dictionaries(TEXT, TEXT, max_size=2)),
            nobody_knows=JSON,
        )
    )
    if request.get("tools"):
        tool = draw(st.sampled_from(request["tools"]))
        named = {"type": tool["type"], tool["type"]: {"name": tool[tool["type"]]["name"]}}
        allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [named]}}
        request["tool_choice"] = draw(st.sampled_from([None, "auto", "none", "required", named, allowed]))
    return request


@st.composite
def broken_requests(draw: st.DrawFn) -> dict[str, Any]:
    """A plausible request in which one value somewhere is replaced by any JSON."""
    request = copy.deepcopy(draw(chat_requests()))
    here: Any = request
    while True:
        keys = list(here) if isinstance(here, dict) else list(range(len(here)))
        if not keys:
            return request
        key = draw(st.sampled_from(keys))
        if not isinstance(here[key], dict | list) or draw(st.booleans()):
            here[key] = draw(JSON)
            return request
        here = here[key]
