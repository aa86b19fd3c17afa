"""What the openai SDK makes of our replies can be sent back as history: nothing of it is refused or reported."""

import json
from typing import Any

import pytest
from openai.lib._parsing import parse_chat_completion
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel

from app.domain.calls import ReplyPlan
from app.translate.chat_stream import ChatStream
from app.translate.messages_to_chat import to_chat
from tests.support.anthropic_stream import events_of, stream
from tests.support.chat_frames import frames
from tests.support.chat_requests import HELLO, call, sent

PAGE = {"type": "web_search_result_location", "url": "https://a.test", "title": "A", "cited_text": "x"}
PLACE = {"type": "char_location", "cited_text": "x", "document_index": 0, "start_char_index": 0, "end_char_index": 1}
THOUGHTS: list[dict[str, Any]] = [
    {"type": "thinking", "thinking": "Hm.", "signature": "s1"},
    {"type": "redacted_thinking", "data": "zzz"},
    {"type": "thinking", "thinking": "So.", "signature": "s2"},
]
TEXT = '{"city": "Rome"}'
TEXTS: list[dict[str, Any]] = [
    {"type": "text", "text": TEXT, "citations": [PAGE, PLACE]},
    {"type": "text", "text": " ", "citations": [PAGE, PLACE, PAGE]},
]
CALLS: list[dict[str, Any]] = [
    {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Rome"}},
    {"type": "tool_use", "id": "toolu_2", "name": "weather", "input": {"city": "Oslo"}},
]
PLANS = [
    ReplyPlan(include_reasoning=True),
    ReplyPlan(include_reasoning=True, reasoning_details=True),
    ReplyPlan(),
]
STRICT_WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


class Place(BaseModel):
    city: str


def answer(*content: dict[str, Any], stop_reason: str = "end_turn") -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-opus-5-5",
        "content": list(content),
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }


def created(message: dict[str, Any], plan: ReplyPlan) -> BaseModel:
    """As ``create`` gives it."""
    body = to_chat([[json.dumps(message).encode()]], plan, created=1).body
    return ChatCompletion.model_validate_json(body).choices[0].message


def parsed(message: dict[str, Any], plan: ReplyPlan) -> BaseModel:
    """As ``parse`` gives it."""
    completion = ChatCompletion.model_validate_json(to_chat([[json.dumps(message).encode()]], plan, created=1).body)
    return (
        parse_chat_completion(response_format=Place, input_tools=[STRICT_WEATHER], chat_completion=completion)
        .choices[0]
        .message
    )


def streamed(message: dict[str, Any], plan: ReplyPlan) -> BaseModel:
    """As ``.stream()`` gives it in the end."""
    state: Any = ChatCompletionStreamState(response_format=Place, input_tools=[STRICT_WEATHER])
    for frame in frames(ChatStream(plan, created=1).feed(stream(events_of(message, [3])))):
        if isinstance(frame, dict):
            state.handle_chunk(ChatCompletionChunk.model_validate(frame))
    final: BaseModel = state.get_final_completion().choices[0].message
    return final


WAYS = [created, parsed, streamed]


def replayed(message: BaseModel, *, exclude_none: bool) -> dict[str, Any]:
    """The request that goes on after a reply."""
    said = message.model_dump(exclude_none=exclude_none, warnings=False)  # of the type of `parsed`
    results: list[Any] = [
        {"role": "tool", "tool_call_id": call["id"], "content": "1"} for call in said.get("tool_calls") or ()
    ]
    if said.get("function_call"):
        results.append({"role": "function", "name": said["function_call"]["name"], "content": "1"})
    return {"messages": [*HELLO, said, *results, *HELLO], "tools": [STRICT_WEATHER]}


@pytest.mark.parametrize("exclude_none", [False, True])
@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("way", WAYS)
def test_an_answer_is_replayed_without_a_report(way: Any, plan: ReplyPlan, exclude_none: bool) -> None:
    request = replayed(way(answer(*THOUGHTS, *TEXTS), plan), exclude_none=exclude_none)
    report = call(request, strict=True).report
    assert (report.ignored, report.adjusted) == ((), ())
    thoughts = THOUGHTS if plan.include_reasoning else []
    assert sent(request)["messages"][1]["content"] == [*thoughts, {"type": "text", "text": TEXT + " "}]


@pytest.mark.parametrize("exclude_none", [False, True])
@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("way", WAYS)
def test_calls_are_replayed_without_a_report(way: Any, plan: ReplyPlan, exclude_none: bool) -> None:
    request = replayed(way(answer(*THOUGHTS, *CALLS, stop_reason="tool_use"), plan), exclude_none=exclude_none)
    report = call(request, strict=True).report
    assert (report.ignored, report.adjusted) == ((), ())
    assert sent(request)["messages"][1]["content"][-2:] == CALLS


@pytest.mark.parametrize("exclude_none", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_a_legacy_call_is_replayed_without_a_report(way: Any, exclude_none: bool) -> None:
    plan = ReplyPlan(function_call=True)
    request = replayed(way(answer(CALLS[0], stop_reason="tool_use"), plan), exclude_none=exclude_none)
    report = call(request, strict=True).report
    assert (report.ignored, report.adjusted) == ((), ())
    assert sent(request)["messages"][1]["content"] == [{**CALLS[0], "id": "fn_1"}]


@pytest.mark.parametrize("exclude_none", [False, True])
def test_a_custom_call_and_a_refusal_are_replayed_without_a_report(exclude_none: bool) -> None:
    custom_call = {**CALLS[0], "input": {"input": "x"}}
    plan = ReplyPlan(custom_tools=frozenset({"weather"}))
    for message in (answer(custom_call, stop_reason="tool_use"), answer(stop_reason="refusal")):
        report = call(replayed(created(message, plan), exclude_none=exclude_none), strict=True).report
        assert (report.ignored, report.adjusted) == ((), ())
