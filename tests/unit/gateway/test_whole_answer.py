"""A whole answer: what is asked, what is noted of it, and what is settled before anybody has it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.domain.recording import RecordedReply
from app.errors import BadUpstreamReply, UpstreamStatus, UpstreamUnreachable
from app.gateway.flights import Tape
from app.gateway.whole_answer import WholeAnswer, answer_whole
from tests.support.corridor import Corridor
from tests.support.fake_upstream import FakeReply, message, stream, text

REFUSED = 'tool_choice: type "tool" and "any" are not supported for this model.'
FORCED: dict[str, Any] = {
    "model": "claude-next-9",
    "tools": [{"type": "function", "function": {"name": "now"}}],
    "tool_choice": "required",
}


async def answered(corridor: Corridor, tape: Tape | None = None, **request: Any) -> WholeAnswer:
    entry = corridor.entry(**request)
    await entry.let_in()
    try:
        return await answer_whole(corridor.services, entry, await entry.ready(), created=5, tape=tape)
    finally:
        entry.close()


async def test_the_tape_has_the_message_as_it_came() -> None:
    said, tape = message(text("Hello.")), Tape(5)
    await answered(Corridor(FakeReply(said, headers={"request-id": "req_1"})), tape)
    assert tape.recording().choices == ((RecordedReply(False, said),),)
    assert tape.recording().headers == {"request-id": "req_1"}


async def test_the_tape_has_the_events_of_a_call_that_runs_as_a_stream() -> None:
    events, tape = stream("Hel", "lo."), Tape(5)
    await answered(Corridor(FakeReply(*events)), tape, max_tokens=64_000)
    assert tape.recording().choices == ((RecordedReply(True, b"".join(events)),),)


async def test_the_tape_has_each_choice_and_each_continuation() -> None:
    search = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}
    pause, end, tape = message(search, stop_reason="pause_turn"), message(text("Found.")), Tape(5)
    corridor = Corridor(FakeReply(pause), FakeReply(end), FakeReply(end))
    await answered(corridor, tape, web_search_options={}, n=2)
    chains = sorted([[reply.body for reply in chain] for chain in tape.recording().choices], key=len)
    assert chains == [[end], [pause, end]]


async def test_a_refused_tool_choice_is_noted_and_asked_differently() -> None:
    tape = Tape(5)
    refusal = UpstreamStatus(REFUSED, status=400, error_type="invalid_request_error")
    whole = await answered(Corridor(refusal, FakeReply(message(text("No.")))), tape, **FORCED)
    assert tape.forced_tool_refused
    assert ("tool_choice", "auto") in whole.call.report.adjusted


async def test_nonsense_tells_the_id_of_its_call() -> None:
    with pytest.raises(BadUpstreamReply) as caught:
        await answered(Corridor(FakeReply(b"<html>", headers={"request-id": "req_1"})))
    assert caught.value.request_id == "req_1"


@pytest.mark.parametrize("parts", [[UpstreamUnreachable("gone")], [b"<html>"]])
async def test_a_reply_is_closed_however_it_ends(parts: list[Any]) -> None:
    reply = FakeReply(*parts)
    with pytest.raises((UpstreamUnreachable, BadUpstreamReply)):
        await answered(Corridor(reply))
    assert reply.closed


async def test_a_client_that_leaves_closes_all_calls() -> None:
    replies = [FakeReply(...), FakeReply(...)]
    corridor = Corridor(*replies)
    asked = asyncio.ensure_future(answered(corridor, n=2))
    await asyncio.gather(*(reply.begun.wait() for reply in replies))
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert all(reply.closed for reply in replies)
    assert await corridor.leftovers() == {}
