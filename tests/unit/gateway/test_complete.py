"""Plain chat completions: one call, several, continued ones, streamed ones, refused ones."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from app.domain.auth import ANONYMOUS
from app.errors import BadUpstreamReply, UpstreamStatus, UpstreamUnreachable
from app.gateway.chat import MAX_CONTINUATIONS, read_chat
from app.gateway.complete import Completed, complete
from app.observability.record import RequestRecord
from tests.support.fake_upstream import FakeReply, FakeUpstream, message, stream, text
from tests.support.services import NOW, make_services


async def answer(upstream: FakeUpstream, **request: Any) -> Completed:
    body = {"model": "claude-opus-5-5", "messages": [{"role": "user", "content": "Hi"}], **request}
    bundle = make_services(upstream=upstream)
    record = RequestRecord("r1", "POST", "/v1/chat/completions")
    completed = await complete(bundle, read_chat(bundle, msgspec.json.encode(body)), record, ANONYMOUS)
    assert record.attempts == len(upstream.requests)
    return completed


def decoded(completed: Completed) -> Any:
    return msgspec.json.decode(completed.body)


async def test_a_plain_call_is_translated_there_and_back() -> None:
    upstream = FakeUpstream(FakeReply(message(text("Hello.")), headers={"request-id": "req_1"}))
    completed = await answer(upstream, user="alice")
    reply = decoded(completed)
    assert reply["choices"][0]["message"]["content"] == "Hello."
    assert reply["created"] == int(NOW)
    assert completed.headers["request-id"] == "req_1"
    assert completed.usage.output_tokens == 3
    assert upstream.sent(0)["messages"] == [{"role": "user", "content": [text("Hi")]}]
    assert upstream.requests[0].headers["anthropic-version"] == "2026-10-21"
    assert not upstream.requests[0].stream


async def test_the_reply_is_closed() -> None:
    reply = FakeReply(message(text("Hello.")))
    await answer(FakeUpstream(reply))
    assert reply.closed


async def test_several_choices_are_several_calls_with_their_usage_summed() -> None:
    upstream = FakeUpstream(*(FakeReply(message(text(f"{i}"), id_=f"msg_{i}")) for i in range(3)))
    completed = await answer(upstream, n=3)
    choices = decoded(completed)["choices"]
    assert [choice["index"] for choice in choices] == [0, 1, 2]
    assert sorted(choice["message"]["content"] for choice in choices) == ["0", "1", "2"]
    assert decoded(completed)["usage"]["completion_tokens"] == 9


async def test_the_first_failure_of_several_calls_cancels_the_others() -> None:
    upstream = FakeUpstream(..., UpstreamUnreachable("gone"), ...)
    with pytest.raises(UpstreamUnreachable):
        await answer(upstream, n=3)
    assert upstream.cancelled == 2


async def test_a_call_too_long_to_be_plain_runs_as_a_stream_and_is_answered_plain() -> None:
    reply = FakeReply(*stream("Hel", "lo."))
    upstream = FakeUpstream(reply)
    completed = await answer(upstream, max_tokens=64_000)
    assert upstream.requests[0].stream
    assert upstream.sent(0)["stream"] is True
    assert decoded(completed)["choices"][0]["message"]["content"] == "Hello."
    assert reply.closed


async def test_a_stream_that_breaks_off_is_no_answer() -> None:
    with pytest.raises(UpstreamUnreachable):
        await answer(FakeUpstream(FakeReply(*stream("Hel")[:3], UpstreamUnreachable("broken"))), max_tokens=64_000)


async def test_nonsense_is_a_bad_reply() -> None:
    with pytest.raises(BadUpstreamReply):
        await answer(FakeUpstream(FakeReply(b"<html>")))


async def test_a_paused_turn_is_continued_with_what_claude_has_said() -> None:
    search = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}}
    upstream = FakeUpstream(
        FakeReply(message(search, stop_reason="pause_turn")), FakeReply(message(text("Found."), id_="msg_2"))
    )
    completed = await answer(upstream, web_search_options={})
    assert upstream.sent(1)["messages"][-1] == {"role": "assistant", "content": [search]}
    reply = decoded(completed)
    assert reply["choices"][0]["message"]["content"] == "Found."
    assert reply["choices"][0]["finish_reason"] == "stop"
    assert reply["usage"]["completion_tokens"] == 6


async def test_a_turn_that_pauses_for_ever_ends_as_too_long() -> None:
    search = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}
    paused = [FakeReply(message(search, stop_reason="pause_turn")) for _ in range(MAX_CONTINUATIONS + 1)]
    upstream = FakeUpstream(*paused)
    completed = await answer(upstream, web_search_options={})
    assert decoded(completed)["choices"][0]["finish_reason"] == "length"
    assert len(upstream.requests) == MAX_CONTINUATIONS + 1


TOOL = {"type": "function", "function": {"name": "now"}}
REFUSED = 'tool_choice: type "tool" and "any" are not supported for this model.'


async def test_a_forced_tool_that_an_unknown_model_refuses_is_downgraded_and_reported() -> None:
    upstream = FakeUpstream(
        UpstreamStatus(REFUSED, status=400, error_type="invalid_request_error"), FakeReply(message(text("No.")))
    )
    completed = await answer(upstream, model="claude-next-9", tools=[TOOL], tool_choice="required")
    assert upstream.sent(0)["tool_choice"]["type"] == "any"
    assert upstream.sent(1)["tool_choice"]["type"] == "auto"
    assert ("tool_choice", "auto") in completed.report.adjusted


async def test_another_refusal_is_not_tried_again() -> None:
    upstream = FakeUpstream(UpstreamStatus("messages: too long", status=400, error_type="invalid_request_error"))
    with pytest.raises(UpstreamStatus):
        await answer(upstream)
    assert len(upstream.requests) == 1


async def test_cancelling_closes_what_is_open() -> None:
    reply = FakeReply(...)
    task = asyncio.create_task(answer(FakeUpstream(reply)))
    await reply.begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert reply.closed
