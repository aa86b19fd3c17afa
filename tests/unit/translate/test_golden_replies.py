"""The golden cases about replies, streams and errors, as the specification has them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.domain.calls import ReplyPlan
from app.errors import UpstreamStatus
from app.translate.chat_stream import ChatStream
from app.translate.error_bodies import openai_error, openai_error_frame
from app.translate.messages_to_chat import to_chat
from app.upstream.errors import status_error
from tests.support.anthropic_stream import events_of, stream
from tests.support.chat_frames import deltas, frames
from tests.support.golden import golden

CREATED = 1795000000

RESPONSE = golden(8)
STOP_REASONS = golden(9)["cases"]
STREAM = golden(10)
MID_ERROR = golden(11)
ERRORS = golden(15)["cases"]


def name_of_stop(case: dict[str, Any]) -> str:
    return f"{case['in']['stop_reason']}-{case['finish_reason']}"


def name_of_error(case: dict[str, Any]) -> str:
    return f"{case['in']['status']}-{case['in']['body']['error']['message']}"


def test_08_thinking_text_and_tools_in_a_plain_answer() -> None:
    plan = ReplyPlan(include_reasoning=True, custom_tools=frozenset(RESPONSE["config"]["custom_tools"]))
    reply = to_chat([[json.dumps(RESPONSE["in"]).encode()]], plan, created=CREATED)
    assert json.loads(reply.body) == RESPONSE["out"]


def test_08_without_reasoning_shows_none() -> None:
    plan = ReplyPlan(custom_tools=frozenset(RESPONSE["config"]["custom_tools"]))
    reply = to_chat([[json.dumps(RESPONSE["in"]).encode()]], plan, created=CREATED)
    message = RESPONSE["out"]["choices"][0]["message"]
    hidden = ("reasoning_content", "thinking_blocks")
    expected = {key: value for key, value in message.items() if key not in hidden}
    assert json.loads(reply.body)["choices"][0]["message"] == expected


@pytest.mark.parametrize("case", STOP_REASONS, ids=name_of_stop)
def test_09_stop_reasons_in_a_plain_answer(case: dict[str, Any]) -> None:
    reply = to_chat([[json.dumps(case["in"]).encode()]], ReplyPlan(server_tools=True), created=CREATED)
    choice = json.loads(reply.body)["choices"][0]
    assert choice["finish_reason"] == case["finish_reason"]
    assert choice["message"]["content"] == case["content"]
    assert choice["message"]["refusal"] == case["refusal"]
    assert reply.finish_reasons == (case["finish_reason"],)


@pytest.mark.parametrize("case", STOP_REASONS, ids=name_of_stop)
def test_09_stop_reasons_in_a_stream(case: dict[str, Any]) -> None:
    chat = ChatStream(ReplyPlan(), created=CREATED)
    sent = chat.feed(stream(events_of(case["in"], [3])))
    assert chat.stopped
    assert frames(sent)[-1]["choices"][0]["finish_reason"] == case["finish_reason"]
    assert "".join(delta.get("content", "") for delta in deltas(sent)) == (case["content"] or "")
    assert [delta["refusal"] for delta in deltas(sent) if "refusal" in delta] == [case["refusal"]] * bool(
        case["refusal"]
    )


def test_10_thinking_text_and_tools_in_a_stream() -> None:
    chat = ChatStream(ReplyPlan(include_reasoning=True, include_usage=True), created=CREATED)
    sent = chat.feed(b"".join(f"event: {e['event']}\ndata: {json.dumps(e['data'])}\n\n".encode() for e in STREAM["in"]))
    expected = [": ping" if "comment" in frame else "[DONE]" if "done" in frame else frame for frame in STREAM["out"]]
    assert frames(sent + chat.closing(chat.usage)) == expected


def test_10_without_a_usage_chunk_no_chunk_speaks_of_usage() -> None:
    chat = ChatStream(ReplyPlan(include_reasoning=True), created=CREATED)
    sent = chat.feed(b"".join(f"event: {e['event']}\ndata: {json.dumps(e['data'])}\n\n".encode() for e in STREAM["in"]))
    expected = [
        {key: value for key, value in frame.items() if key != "usage"}
        for frame in STREAM["out"]
        if "id" in frame and frame["choices"]
    ]
    assert [frame for frame in frames(sent + chat.closing()) if isinstance(frame, dict)] == expected


def test_11_an_error_in_the_middle_of_a_stream() -> None:
    chat = ChatStream(ReplyPlan(), created=CREATED)
    sent = chat.feed(
        b"".join(f"event: {e['event']}\ndata: {json.dumps(e['data'])}\n\n".encode() for e in MID_ERROR["in"])
    )
    assert isinstance(chat.error, UpstreamStatus)
    assert chat.error.status == 529
    assert frames(sent + openai_error_frame(chat.error)) == MID_ERROR["chat_out"]


@pytest.mark.parametrize("case", ERRORS, ids=name_of_error)
def test_15_error_replies(case: dict[str, Any]) -> None:
    error = status_error(case["in"]["status"], case["in"]["headers"], json.dumps(case["in"]["body"]).encode())
    reply = openai_error(error)
    assert reply.status == case["out"]["status"]
    assert json.loads(reply.body) == case["out"]["body"]
    assert reply.headers.items() >= case["out"]["headers"].items()
    assert reply.headers["request-id"] == "req_1"
