"""The content of an answer as it can stand in a later request."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.domain.calls import ReplyPlan
from app.errors import BadUpstreamReply
from app.translate.answer_content import content_to_keep
from app.translate.chat_stream import ChatStream
from app.translate.messages_to_chat import answer_content
from tests.support.anthropic_stream import (
    MESSAGE_STOP,
    block_delta,
    block_start,
    block_stop,
    events_of,
    message_delta,
    message_start,
    stream,
    text_block,
    text_stream,
)
from tests.support.talks import raws

SIGNED = {"type": "thinking", "thinking": "Hm", "signature": "S"}
SAID = {"type": "text", "text": "Yes", "citations": [{"url": "x"}]}
BLANK = {"type": "text", "text": " \n"}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Rome"}}
SEARCH = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [{"title": "é"}]}
UNKNOWN = {"type": "hologram", "light": 1}
STRUCTURED = ReplyPlan(structured_tool="weather")


def kept(*blocks: dict[str, Any], plan: ReplyPlan | None = None) -> list[Any]:
    content = content_to_keep(raws(*blocks), plan or ReplyPlan(), call_id="call_1")
    return [json.loads(bytes(raw)) for raw in content]


def message(*blocks: dict[str, Any], stop_reason: str = "end_turn") -> dict[str, Any]:
    return {
        "id": "msg_1",
        "model": "m",
        "content": list(blocks),
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }


def test_blocks_stay_as_they_came() -> None:
    blocks = [SIGNED, SAID, SEARCH, FOUND, UNKNOWN, CALL]
    assert kept(*blocks) == blocks


def test_what_a_request_may_not_hold_is_left_out() -> None:
    unsigned = {**SIGNED, "signature": ""}
    unfinished = {**SEARCH, "id": "srvtoolu_2"}
    assert kept(SIGNED, BLANK, SEARCH, FOUND, unsigned, SAID, unfinished) == [SIGNED, SEARCH, FOUND, SAID]


def test_a_client_of_the_legacy_form_knows_only_the_first_call() -> None:
    legacy = ReplyPlan(function_call=True)
    assert kept(SAID, CALL, {**CALL, "id": "toolu_2"}, SIGNED, plan=legacy) == [SAID, CALL, SIGNED]


@pytest.mark.parametrize(
    ("texts", "input_"),
    [
        (['{"city": ', '"Rome"}'], {"city": "Rome"}),
        (["[1]"], {"_raw_arguments": "[1]"}),
        (["{"], {"_raw_arguments": "{"}),
    ],
)
def test_a_structured_answer_is_the_call_that_the_client_was_told_of(texts: list[str], input_: Any) -> None:
    blocks = [{"type": "text", "text": text} for text in texts]
    call = {"type": "tool_use", "id": "call_1", "name": "weather", "input": input_}
    assert kept(SIGNED, *blocks, UNKNOWN, plan=STRUCTURED) == [SIGNED, call, UNKNOWN]


def test_a_structured_answer_without_text_is_no_call() -> None:
    assert kept(SIGNED, plan=STRUCTURED) == [SIGNED]


@pytest.mark.parametrize("plan", [ReplyPlan(), STRUCTURED, ReplyPlan(function_call=True)])
def test_plain_and_streamed_answers_keep_the_same(plan: ReplyPlan) -> None:
    blocks = [SIGNED, {"type": "text", "text": "{}"}, BLANK, CALL, SEARCH, FOUND, {**CALL, "id": "toolu_2"}]
    chat = ChatStream(plan, created=1, keep_content=True)
    chat.feed(stream(events_of(message(*blocks), [2])))
    plain = answer_content([json.dumps(message(*blocks)).encode()], plan)
    assert [json.loads(bytes(raw)) for raw in chat.content] == [json.loads(bytes(raw)) for raw in plain]


def test_a_chain_of_paused_messages_is_one_answer() -> None:
    first, last = message(SIGNED, SEARCH, stop_reason="pause_turn"), message(FOUND, SAID)
    chat = ChatStream(ReplyPlan(), created=1, continue_pauses=True)
    chat.feed(stream(events_of(first, [2])))
    chat.resume()
    chat.feed(stream(events_of(last, [2])))
    expected = [SIGNED, SEARCH, FOUND, SAID]
    assert [json.loads(bytes(raw)) for raw in chat.content] == expected
    bodies = [json.dumps(part).encode() for part in (first, last)]
    assert [json.loads(bytes(raw)) for raw in answer_content(bodies)] == expected


def test_nothing_is_kept_where_nobody_asked() -> None:
    chat = ChatStream(ReplyPlan(), created=1)
    chat.feed(text_stream("Hi"))
    assert chat.content == []


def test_the_content_so_far_is_told_before_the_end() -> None:
    chat = ChatStream(ReplyPlan(), created=1, keep_content=True)
    chat.feed(stream([message_start(), *text_block(0, "Hi")]))
    assert [json.loads(bytes(raw)) for raw in chat.content] == [{"type": "text", "text": "Hi"}]


def test_parts_that_do_not_fit_together_are_the_upstreams_fault() -> None:
    chat = ChatStream(ReplyPlan(), created=1, keep_content=True)
    odd = [block_start(0, {"type": "hologram", "text": 5}), block_delta(0, "text_delta", text="x"), block_stop(0)]
    chat.feed(stream([message_start(), *odd, message_delta(), MESSAGE_STOP]))
    assert chat.stopped
    with pytest.raises(BadUpstreamReply):
        _ = chat.content
    with pytest.raises(BadUpstreamReply):
        answer_content([b"[]"])
