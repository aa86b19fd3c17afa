"""Streamed chat completions: order, ends, errors, several choices, pauses, and what is closed."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from app.domain.auth import ANONYMOUS
from app.errors import GatewayError, UpstreamStatus, UpstreamUnreachable
from app.gateway.chat import MAX_CONTINUATIONS, read_chat
from app.gateway.stream import ChatEvents
from app.observability.record import RequestRecord
from tests.support.corridor import frames_of, said_in
from tests.support.fake_upstream import FakeReply, FakeUpstream, data_frames, event, message, stream
from tests.support.services import make_services


def events_of(upstream: FakeUpstream, **request: Any) -> ChatEvents:
    body = {"model": "claude-opus-5-5", "messages": [{"role": "user", "content": "Hi"}], "stream": True, **request}
    bundle = make_services(upstream=upstream)
    record = RequestRecord("r1", "POST", "/")
    return ChatEvents(bundle, read_chat(bundle, msgspec.json.encode(body)), record, ANONYMOUS)


async def test_each_upstream_event_becomes_a_frame_at_once() -> None:
    events = events_of(FakeUpstream(FakeReply(*stream("a", "b"))))
    frames = [await events.next() for _ in range(3)]
    assert [said_in(frame) for frame in frames] == ["", "a", "b"]


async def test_a_stream_ends_with_done() -> None:
    frames = await frames_of(events_of(FakeUpstream(FakeReply(*stream("Hello.")))))
    assert said_in(frames) == "Hello."
    assert data_frames(frames)[-1] == "[DONE]"


async def test_events_that_arrive_together_leave_together() -> None:
    events = events_of(FakeUpstream(FakeReply(b"".join(stream("a", "b", "c")))))
    frames = await events.next()
    assert said_in(frames) == "abc"
    assert events.finished


async def test_headers_are_known_after_the_first_frame() -> None:
    events = events_of(FakeUpstream(FakeReply(*stream("a"), headers={"request-id": "req_7"})))
    await events.next()
    assert events.headers["request-id"] == "req_7"


@pytest.mark.parametrize("together", [True, False])
async def test_a_comment_before_the_message_is_held_back(together: bool) -> None:
    error = {"type": "overloaded_error", "message": "Overloaded"}
    parts = [event("ping"), event("error", error=error)]
    parts = [b"".join(parts)] if together else parts
    events = events_of(FakeUpstream(FakeReply(*parts)))
    with pytest.raises(UpstreamStatus) as caught:
        await events.next()
    assert caught.value.status == 529


async def test_frames_before_an_error_are_handed_out_first() -> None:
    head = stream("Par")[:3]
    error = event("error", error={"type": "overloaded_error", "message": "Overloaded"})
    events = events_of(FakeUpstream(FakeReply(b"".join(head) + error)))
    assert said_in(await events.next()) == "Par"
    with pytest.raises(UpstreamStatus):
        await events.next()
    assert not events.finished


async def test_a_stream_that_ends_too_early_is_an_error() -> None:
    events = events_of(FakeUpstream(FakeReply(*stream("Par")[:3])))
    await events.next()
    await events.next()
    with pytest.raises(GatewayError):
        await events.next()


async def test_the_upstream_is_read_to_its_end_so_that_its_connection_is_kept() -> None:
    reply = FakeReply(*stream("a"), b"")
    events = events_of(FakeUpstream(reply))
    await frames_of(events)
    assert reply.taken == len(reply.parts)
    assert reply.closed


async def test_an_upstream_that_never_ends_its_body_does_not_hold_up_the_end() -> None:
    reply = FakeReply(*stream("a"), ...)
    await frames_of(events_of(FakeUpstream(reply)))
    assert reply.closed


async def test_closing_early_closes_the_upstream() -> None:
    reply = FakeReply(*stream("a"), ...)
    events = events_of(FakeUpstream(reply))
    await events.next()
    await events.close()
    assert reply.closed


async def test_several_choices_share_one_stream_with_one_end() -> None:
    upstream = FakeUpstream(*(FakeReply(*stream(f"{i}", "!", id_=f"msg_{i}")) for i in range(3)))
    frames = await frames_of(events_of(upstream, n=3, stream_options={"include_usage": True}))
    assert sorted(said_in(frames, index) for index in range(3)) == ["0!", "1!", "2!"]
    parsed = data_frames(frames)
    assert parsed.count("[DONE]") == 1
    assert parsed[-2]["usage"]["completion_tokens"] == 9
    assert {frame["id"] for frame in parsed[:-1]} == {"chatcmpl-r1"}


async def test_one_choice_that_fails_to_open_fails_all_and_closes_the_others() -> None:
    opened = FakeReply(*stream("a"))
    upstream = FakeUpstream(opened, UpstreamUnreachable("gone"), ...)
    events = events_of(upstream, n=3)
    with pytest.raises(UpstreamUnreachable):
        await events.next()
    await events.close()
    assert upstream.cancelled == 1
    assert opened.closed


async def test_one_choice_that_breaks_ends_the_stream() -> None:
    upstream = FakeUpstream(FakeReply(*stream("a")[:2], UpstreamUnreachable("broken")), FakeReply(..., headers={}))
    events = events_of(upstream, n=2)
    with pytest.raises(UpstreamUnreachable):
        await frames_of(events)
    await events.close()


async def test_a_client_that_leaves_ends_every_choice() -> None:
    replies = [FakeReply(*stream("a")[:3], ...) for _ in range(3)]
    events = events_of(FakeUpstream(*replies), n=3)
    await events.next()
    task = asyncio.create_task(frames_of(events))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await events.close()
    assert all(reply.closed for reply in replies)


def paused_stream() -> list[bytes]:
    search = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}}
    return [
        event("message_start", message=msgspec.json.decode(message())),
        event("content_block_start", index=0, content_block=search),
        event("content_block_stop", index=0),
        event("message_delta", delta={"stop_reason": "pause_turn"}, usage={"output_tokens": 3}),
        event("message_stop"),
    ]


async def test_a_paused_turn_is_continued_in_the_same_stream() -> None:
    upstream = FakeUpstream(FakeReply(*paused_stream()), FakeReply(*stream("Found.", id_="msg_2")))
    frames = await frames_of(events_of(upstream, web_search_options={}, stream_options={"include_usage": True}))
    parsed = data_frames(frames)
    assert said_in(frames) == "Found."
    assert upstream.sent(1)["messages"][-1]["role"] == "assistant"
    assert [frame["choices"][0]["delta"] for frame in parsed[:-2]].count({"role": "assistant", "content": ""}) == 1
    assert parsed[-2]["usage"]["completion_tokens"] == 6


async def test_a_turn_that_pauses_for_ever_ends_as_too_long() -> None:
    upstream = FakeUpstream(*(FakeReply(*paused_stream()) for _ in range(MAX_CONTINUATIONS + 1)))
    frames = await frames_of(events_of(upstream, web_search_options={}))
    parsed = data_frames(frames)
    assert parsed[-2]["choices"][0]["finish_reason"] == "length"
    assert parsed[-1] == "[DONE]"


TOOL = {"type": "function", "function": {"name": "now"}}
REFUSED = 'tool_choice: type "tool" and "any" are not supported for this model.'


async def test_a_forced_tool_that_an_unknown_model_refuses_is_downgraded() -> None:
    upstream = FakeUpstream(
        UpstreamStatus(REFUSED, status=400, error_type="invalid_request_error"), FakeReply(*stream("No."))
    )
    events = events_of(upstream, model="claude-next-9", tools=[TOOL], tool_choice="required")
    await frames_of(events)
    assert ("tool_choice", "auto") in events.call.report.adjusted


async def test_text_blocks_are_never_lost_between_two_choices_that_end_together() -> None:
    upstream = FakeUpstream(*(FakeReply(b"".join(stream(f"{i}"))) for i in range(8)))
    frames = await frames_of(events_of(upstream, n=8))
    assert sorted(said_in(frames, index) for index in range(8)) == [str(i) for i in range(8)]
