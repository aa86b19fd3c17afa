"""An answer as frames while it comes: what is noted of it, and what is closed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.domain.calls import Usage
from app.domain.recording import RecordedReply
from app.errors import UpstreamStatus, UpstreamUnreachable
from app.gateway.flights import Tape
from app.gateway.live_answer import LiveAnswer
from tests.support.corridor import Corridor, said_in
from tests.support.fake_upstream import FakeReply, event, stream

REFUSED = 'tool_choice: type "tool" and "any" are not supported for this model.'
FORCED: dict[str, Any] = {
    "model": "claude-next-9",
    "tools": [{"type": "function", "function": {"name": "now"}}],
    "tool_choice": "required",
}


async def live(corridor: Corridor, tape: Tape | None = None, **request: Any) -> LiveAnswer:
    entry = corridor.entry(stream=True, **request)
    await entry.let_in()
    return LiveAnswer(corridor.services, entry, await entry.ready(), created=5, tape=tape)


async def heard(answer: LiveAnswer) -> bytes:
    frames = b""
    while not answer.stopped:
        frames += await answer.next()
    await answer.finish()
    frames += answer.closing()
    await answer.close()
    return frames


async def test_the_tape_has_the_events_as_they_came() -> None:
    events, tape = stream("Hel", "lo."), Tape(5)
    answer = await live(Corridor(FakeReply(*events, headers={"request-id": "req_1"})), tape)
    await answer.open()
    assert said_in(await heard(answer)) == "Hello."
    assert tape.recording().choices == ((RecordedReply(True, b"".join(events)),),)
    assert tape.recording().headers == {"request-id": "req_1"}


async def test_a_refused_tool_choice_is_noted_and_asked_differently() -> None:
    tape = Tape(5)
    refusal = UpstreamStatus(REFUSED, status=400, error_type="invalid_request_error")
    answer = await live(Corridor(refusal, FakeReply(*stream("No."))), tape, **FORCED)
    await answer.open()
    assert tape.forced_tool_refused
    assert ("tool_choice", "auto") in answer.call.report.adjusted
    await answer.close()


async def test_another_refusal_is_raised() -> None:
    answer = await live(Corridor(UpstreamStatus("too long", status=400, error_type="invalid_request_error")))
    with pytest.raises(UpstreamStatus, match="too long"):
        await answer.open()


async def test_before_it_is_opened_nothing_was_used_and_nothing_is_open() -> None:
    answer = await live(Corridor())
    assert answer.usage == Usage()
    await answer.close()


async def test_when_one_of_several_calls_fails_the_others_are_closed() -> None:
    opened = FakeReply(...)
    answer = await live(Corridor(opened, UpstreamUnreachable("gone")), n=2)
    with pytest.raises(UpstreamUnreachable):
        await answer.open()
    assert opened.closed


async def test_it_is_settled_before_its_last_frames() -> None:
    corridor = Corridor(FakeReply(*stream("Hello.")))
    answer = await live(corridor)
    await answer.open()
    while not answer.stopped:
        assert corridor.services.ledger.open_permits == 1
        await answer.next()
    await answer.finish()
    assert corridor.services.ledger.open_permits == 0
    await answer.close()


async def test_an_error_among_the_events_comes_after_what_was_said() -> None:
    error = event("error", error={"type": "overloaded_error", "message": "Overloaded"})
    answer = await live(Corridor(FakeReply(b"".join([*stream("Hel")[:3], error]), headers={"request-id": "req_1"})))
    await answer.open()
    assert said_in(await answer.next()) == "Hel"
    for _ in range(2):
        with pytest.raises(UpstreamStatus) as caught:
            await answer.next()
        assert caught.value.request_id == "req_1"
    await answer.close()


async def test_nothing_is_read_before_it_is_asked_for() -> None:
    reply = FakeReply(*stream("a", "b", "c"))
    answer = await live(Corridor(reply))
    await answer.open()
    await answer.next()
    assert reply.taken == 1
    await answer.close()
    assert reply.closed


async def test_a_client_that_leaves_closes_all_calls() -> None:
    replies = [FakeReply(*stream("a")[:2], ...), FakeReply(*stream("b")[:2], ...)]
    corridor = Corridor(*replies)
    answer = await live(corridor, n=2)
    await answer.open()
    reading = asyncio.ensure_future(heard(answer))
    await asyncio.gather(*(reply.begun.wait() for reply in replies))
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await answer.close()
    assert all(reply.closed for reply in replies)
