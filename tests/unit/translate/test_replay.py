"""A recorded answer given again equals what was given the first time, plain and streamed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from app.domain.calls import ReplyPlan
from app.domain.recording import RecordedAnswer, RecordedReply
from app.errors import BadUpstreamReply, UpstreamStatus, UpstreamUnreachable
from app.translate.chat_stream import ChatStream
from app.translate.message_accumulator import MessageAccumulator
from app.translate.messages_to_chat import to_chat
from app.translate.replay import ReplayedChoice, is_storable, is_whole, replay_plain
from tests.support.anthropic_stream import cut, event, events_of, stream, text_stream
from tests.support.chat_frames import frames
from tests.unit.translate.test_reply_properties import (
    comparable,
    custom_blocks,
    few,
    messages,
    plans,
    shown_blocks,
    sizes,
)

CREATED = 1795000000
PLAN = ReplyPlan(include_usage=True, server_tools=True)
TEXT: dict[str, Any] = {"type": "text", "text": "Yes"}


def message(*blocks: dict[str, Any], stop_reason: str | None = "end_turn", **fields: Any) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "model": "m",
        "content": list(blocks or [TEXT]),
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": {"input_tokens": 3, "output_tokens": 1},
        **fields,
    }


def plain_reply(said: dict[str, Any]) -> RecordedReply:
    return RecordedReply(False, json.dumps(said).encode())


def streamed_reply(said: dict[str, Any]) -> RecordedReply:
    return RecordedReply(True, stream(events_of(said, [2])))


def recorded(*choices: list[RecordedReply]) -> RecordedAnswer:
    return RecordedAnswer(created=CREATED, choices=tuple(map(tuple, choices)))


def accumulated(body: bytes) -> bytes:
    accumulator = MessageAccumulator()
    accumulator.feed(body)
    return accumulator.message()


@few
@given(st.lists(messages(shown_blocks | custom_blocks), min_size=1, max_size=2), plans, sizes)
def test_a_recorded_stream_is_the_completion_of_its_message(said: list[Any], plan: ReplyPlan, cuts: list[int]) -> None:
    bodies = [stream(events_of(one, cuts)) for one in said]
    answer = recorded(*([RecordedReply(True, body)] for body in bodies))
    assert replay_plain(answer, plan, mark="") == to_chat(
        [[accumulated(body)] for body in bodies], plan, created=CREATED
    )


@few
@given(messages(shown_blocks | custom_blocks), plans)
def test_a_plain_message_is_replayed_as_it_was_answered(said: dict[str, Any], plan: ReplyPlan) -> None:
    reply = plain_reply(said)
    assert replay_plain(recorded([reply]), plan, mark="") == to_chat([[reply.body]], plan, created=CREATED)


@few
@given(messages(shown_blocks | custom_blocks), plans, sizes, sizes)
def test_a_replayed_stream_is_the_first_one_delta_by_delta(
    said: dict[str, Any], plan: ReplyPlan, cuts: list[int], chunk_sizes: list[int]
) -> None:
    upstream = stream(events_of(said, cuts))
    first = ChatStream(plan, created=CREATED, index=1, id="chatcmpl-1")
    again = ReplayedChoice(plan, created=CREATED, index=1, id="chatcmpl-1")
    sent = first.feed(upstream)
    assert b"".join(again.feed(0, True, piece) for piece in cut(upstream, chunk_sizes)) == sent
    assert (again.stopped, again.started, again.usage, again.report) == (True, True, first.usage, first.report)
    assert again.closing() == first.closing()


@few
@given(messages(shown_blocks), plans)
def test_a_plain_message_replayed_as_a_stream_adds_up_to_its_completion(said: dict[str, Any], plan: ReplyPlan) -> None:
    reply = plain_reply(said)
    again = ReplayedChoice(plan, created=CREATED)
    state: ChatCompletionStreamState[Any] = ChatCompletionStreamState()
    for chunk in frames(again.feed(0, False, reply.body) + again.closing()):
        if isinstance(chunk, dict):
            state.handle_chunk(ChatCompletionChunk.model_validate(chunk))
    assert again.stopped
    expected = json.loads(replay_plain(recorded([reply]), plan, mark="").body)
    assert comparable(state.current_completion_snapshot.to_dict()) == comparable(expected)


@pytest.mark.parametrize("mark", ["hit", "joined"])
def test_the_usage_says_where_an_answer_comes_from_and_nothing_else_does(mark: str) -> None:
    said = streamed_reply(message())
    body = json.loads(replay_plain(recorded([said]), PLAN, mark=mark).body)
    assert body["usage"].pop("response_cache") == mark
    assert body == json.loads(replay_plain(recorded([said]), PLAN, mark="").body)
    marked, unmarked = (ReplayedChoice(PLAN, created=CREATED, mark=one) for one in (mark, ""))
    assert marked.feed(0, True, said.body) == unmarked.feed(0, True, said.body)
    usage = frames(marked.closing(marked.usage))[0]
    assert usage["usage"].pop("response_cache") == mark
    assert usage == frames(unmarked.closing())[0]


@pytest.mark.parametrize("reply", [plain_reply, streamed_reply])
def test_a_chain_of_paused_messages_is_one_choice(reply: Any) -> None:
    chain = [reply(message(stop_reason="pause_turn")), reply(message({"type": "text", "text": " and no"}))]
    again = ReplayedChoice(PLAN, created=CREATED)
    sent = b"".join(again.feed(number, one.is_stream, one.body) for number, one in enumerate(chain))
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in frames(sent))
    assert (text, again.stopped) == ("Yes and no", True)
    completion = json.loads(replay_plain(recorded(chain), PLAN, mark="").body)
    assert completion["choices"][0]["message"]["content"] == "Yes and no"


def test_a_pause_that_nobody_continued_ends_the_choice() -> None:
    again = ReplayedChoice(PLAN, created=CREATED)
    again.feed(0, True, streamed_reply(message(stop_reason="pause_turn")).body)
    assert not again.stopped
    assert frames(again.end())[-1]["choices"][0]["finish_reason"] == "length"
    assert again.stopped


def test_a_recording_that_ends_too_early_is_an_error() -> None:
    again = ReplayedChoice(PLAN, created=CREATED)
    again.feed(0, True, text_stream("Hi")[:-30])
    assert again.end() == b""
    assert isinstance(again.error, UpstreamUnreachable)


def test_a_recorded_error_is_one_again() -> None:
    again = ReplayedChoice(PLAN, created=CREATED)
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    assert again.feed(0, True, event(error)) == b""
    assert isinstance(again.error, UpstreamStatus)


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff", b'{"id":"a","model":"m","usage":null}'])
def test_what_is_not_a_message_is_an_error(body: bytes) -> None:
    again = ReplayedChoice(PLAN, created=CREATED)
    assert again.feed(0, False, body) == b""
    assert isinstance(again.error, BadUpstreamReply)


@pytest.mark.parametrize("reply", [plain_reply, streamed_reply])
@pytest.mark.parametrize(
    ("stop_reason", "storable", "whole"),
    [
        ("end_turn", True, True),
        ("stop_sequence", True, True),
        ("tool_use", True, True),
        ("max_tokens", False, True),
        ("refusal", False, True),
        ("pause_turn", False, True),
        (None, False, False),
    ],
)
def test_what_is_kept_for_others(reply: Any, stop_reason: str | None, storable: bool, whole: bool) -> None:
    last = reply(message(stop_reason=stop_reason))
    for answer in (recorded([last]), recorded([reply(message())], [reply(message(stop_reason="pause_turn")), last])):
        assert (is_storable(answer), is_whole(answer)) == (storable, whole)


@pytest.mark.parametrize(
    "answer",
    [
        recorded(),
        recorded([]),
        recorded([plain_reply(message())], []),
        recorded([RecordedReply(True, text_stream("Hi")[:-30])]),
        recorded([RecordedReply(True, text_stream("Hi").replace(b'"stop_reason": "end_turn"', b'"stop_reason": 5'))]),
        recorded([RecordedReply(False, b"{")]),
    ],
)
def test_what_is_not_whole_is_kept_for_nobody(answer: RecordedAnswer) -> None:
    assert not is_storable(answer)
    assert not is_whole(answer)
