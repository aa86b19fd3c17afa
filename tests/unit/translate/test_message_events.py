"""A plain message as the stream that it would have been."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from app.errors import BadUpstreamReply
from app.translate.message_accumulator import MessageAccumulator
from app.translate.message_events import message_events
from tests.unit.translate.test_reply_properties import custom_blocks, few, messages, shown_blocks


def accumulated(body: bytes) -> Any:
    accumulator = MessageAccumulator()
    accumulator.feed(message_events(body))
    return json.loads(accumulator.message())


def of(*blocks: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"id": "msg_1", "model": "m", "content": list(blocks), "usage": {"output_tokens": 2}, **fields}


@few
@given(messages(shown_blocks | custom_blocks))
def test_the_stream_of_a_message_is_the_message(message: dict[str, Any]) -> None:
    assert accumulated(json.dumps(message, indent=1, ensure_ascii=False).replace("\n", "\r\n").encode()) == message


def test_every_block_has_one_delta_of_its_text() -> None:
    text = {"type": "text", "text": "Hi", "citations": [{"url": "x"}, {"url": "y"}]}
    events = message_events(json.dumps(of(text, stop_reason="end_turn")).encode())
    names = [line.removeprefix("event: ") for line in events.decode().split("\n") if line.startswith("event: ")]
    deltas = ["content_block_delta"] * 3
    assert names == [
        "message_start",
        "content_block_start",
        *deltas,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


@pytest.mark.parametrize("block", [{"type": "hologram", "light": [1]}, {"type": "server_tool_use", "id": "s"}])
def test_blocks_of_other_kinds_stand_in_their_start(block: dict[str, Any]) -> None:
    assert accumulated(json.dumps(of(block)).encode())["content"] == [block]


def test_a_call_that_was_cut_off_comes_as_it_came() -> None:
    call = {"type": "tool_use", "id": "t", "name": "n", "input": {"_raw_arguments": '{"city": "Ro'}}
    message = of(call, stop_reason="max_tokens")
    events = message_events(json.dumps(message).encode())
    assert json.dumps('{"city": "Ro').encode() in events
    assert accumulated(json.dumps(message).encode())["content"] == [call]


@pytest.mark.parametrize("body", [b"", b"{}", b"\xff", b'{"id":"a","model":"m","content":[1]}'])
def test_what_is_not_a_message_is_the_upstreams_fault(body: bytes) -> None:
    with pytest.raises(BadUpstreamReply):
        message_events(body)
