from __future__ import annotations

import json

import pytest

from app.domain.calls import Usage
from app.domain.output_meter import MessageUsage
from app.errors import BadUpstreamReply, UpstreamStatus, UpstreamUnreachable
from app.translate.message_accumulator import MessageAccumulator
from tests.support.anthropic_stream import (
    MESSAGE_STOP,
    block_delta,
    block_start,
    event,
    message_delta,
    message_start,
    stream,
    text_block,
    text_stream,
    tool_block,
)


def accumulated(data: bytes) -> MessageAccumulator:
    accumulator = MessageAccumulator()
    accumulator.feed(data)
    return accumulator


def test_a_stream_becomes_the_message_it_stands_for() -> None:
    start = message_start(usage={"input_tokens": 12, "output_tokens": 1, "service_tier": "standard"}, container=None)
    ending = message_delta(
        "stop_sequence",
        usage={"input_tokens": None, "output_tokens": 77, "server_tool_use": {"web_search_requests": 1}},
        stop_sequence="END",
        container={"id": "c"},
    )
    content = [*text_block(0, "a", "b"), *tool_block(1, "now", '{"a":', "1}")]
    message = json.loads(accumulated(stream([start, *content, ending, MESSAGE_STOP])).message())
    assert message == {
        "id": "msg_01",
        "type": "message",
        "role": "assistant",
        "model": "claude-opus-5-5",
        "content": [
            {"type": "text", "text": "ab"},
            {"type": "tool_use", "id": "toolu_1", "name": "now", "input": {"a": 1}},
        ],
        "stop_reason": "stop_sequence",
        "stop_sequence": "END",
        "container": {"id": "c"},
        "usage": {
            "input_tokens": 12,
            "output_tokens": 77,
            "service_tier": "standard",
            "server_tool_use": {"web_search_requests": 1},
        },
    }


@pytest.mark.parametrize("usage", [{"usage": None}, {}])
def test_usage_may_be_missing(usage: dict[str, object]) -> None:
    start = message_start(**usage)
    if not usage:
        del start["message"]["usage"]
    ending = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": None}
    assert json.loads(accumulated(stream([start, ending, MESSAGE_STOP])).message())["usage"] == {}


def test_an_error_event_is_raised() -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    with pytest.raises(UpstreamStatus, match="Overloaded"):
        accumulated(stream([message_start()]) + event(error))


@pytest.mark.parametrize(
    "nonsense",
    [
        b"data: nonsense\n\n",
        event({"type": "message_start", "message": 7}),
        event(block_start(0, {"type": "text", "text": ""}) | {"content_block": 7}),
        event({"type": "message_delta", "delta": 7}),
        event(block_delta(4, "text_delta", text="a")),
    ],
)
def test_nonsense_is_raised(nonsense: bytes) -> None:
    start = b"" if b"message_start" in nonsense else stream([message_start()])
    with pytest.raises(BadUpstreamReply):
        accumulated(start + nonsense)


def test_parts_that_do_not_fit_together_are_an_error() -> None:
    block = [block_start(0, {"type": "hologram", "text": 7}), block_delta(0, "text_delta", text="a")]
    with pytest.raises(BadUpstreamReply):
        accumulated(stream([message_start(), *block, MESSAGE_STOP])).message()


def test_a_stream_that_broke_off_has_no_message() -> None:
    with pytest.raises(UpstreamUnreachable):
        accumulated(text_stream("a")[:-10]).message()


def test_a_body_that_is_no_stream_has_no_message() -> None:
    with pytest.raises(BadUpstreamReply):
        accumulated(b"<html></html>").message()


def test_a_complete_message_has_used_what_anthropic_says() -> None:
    used = accumulated(text_stream("a")).meter.usage_so_far()
    assert used == MessageUsage(usage=Usage(input_tokens=10, output_tokens=5), estimated=False)


def test_a_message_that_broke_off_is_estimated_by_what_has_come() -> None:
    events = [message_start(usage=None), *tool_block(0, "now", '{"a":1}'), message_delta(usage={"input_tokens": 7})]
    used = accumulated(stream(events)).meter.usage_so_far()
    assert used == MessageUsage(usage=Usage(input_tokens=7, output_tokens=3), estimated=True)


def test_before_a_message_has_begun_nothing_is_known_of_it() -> None:
    assert not MessageAccumulator().meter.begun
