"""The frames of a shared answer are those that a stream of its own would have had."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from app.errors import UpstreamError, UpstreamStatus, UpstreamUnreachable
from app.gateway.chat import MAX_CONTINUATIONS
from app.gateway.wants import Wants
from tests.support.corridor import CACHED, Corridor, frames_of, said_in, soon
from tests.support.fake_upstream import FakeReply, data_frames, event, stream

SEARCH = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}}


ERROR = event("error", error={"type": "overloaded_error", "message": "Overloaded"})


@pytest.fixture
async def gate() -> asyncio.Event:
    """Opens when the upstream may go on."""
    return asyncio.Event()


def paused(number: int) -> list[bytes]:
    """A stream that pauses after a search."""
    return [
        *stream("", id_=f"msg_{number}")[:1],
        event("content_block_start", index=0, content_block=SEARCH),
        event("content_block_stop", index=0),
        event("message_delta", delta={"stop_reason": "pause_turn", "stop_sequence": None}, usage={"output_tokens": 1}),
        event("message_stop"),
    ]


ANSWERS: dict[str, tuple[Sequence[Sequence[bytes]], dict[str, Any]]] = {
    "text": ([stream("Hel", "lo.")], {}),
    "with its usage": ([stream("Hel", "lo.")], {"stream_options": {"include_usage": True}}),
    "cut off": ([stream("Hel", stop_reason="max_tokens")], {}),
    "all at once": ([[b"".join(stream("Hel", "lo."))]], {}),
    "a ping first": ([[event("ping"), *stream("Hel", "lo.")]], {}),
    "continued after a pause": ([paused(1), stream("Found.", id_="msg_2")], {"web_search_options": {}}),
    "paused for ever": ([paused(number) for number in range(MAX_CONTINUATIONS + 1)], {"web_search_options": {}}),
}


def told(frames: bytes) -> list[Any]:
    """The frames, without the mark of a cache in their usage."""
    found = list(data_frames(frames))
    for frame in found:
        if isinstance(frame, dict) and frame.get("usage"):
            frame["usage"].pop("response_cache", None)
    return found


@pytest.mark.parametrize(("replies", "request_"), ANSWERS.values(), ids=ANSWERS)
async def test_frame_by_frame_whoever_makes_them(replies: Any, request_: dict[str, Any]) -> None:
    def corridor() -> Corridor:
        return Corridor(*(FakeReply(*reply) for reply in replies))

    alone, shared = corridor(), corridor()
    own = await alone.listen(**request_)
    first = await shared.listen(wants=CACHED, **request_)
    assert told(first) == told(own)
    assert await shared.leftovers() == {}


@pytest.mark.parametrize("name", ["text", "with its usage", "continued after a pause"])
async def test_frame_by_frame_from_what_was_kept(name: str) -> None:
    replies, request = ANSWERS[name]
    corridor = Corridor(*(FakeReply(*reply) for reply in replies))
    first = await corridor.listen(wants=CACHED, **request)
    await corridor.settled()
    assert told(await corridor.listen(wants=CACHED, **request)) == told(first)


async def test_only_the_usage_tells_that_it_was_kept() -> None:
    corridor = Corridor(FakeReply(*stream("Hello.")))
    request: dict[str, Any] = {"wants": CACHED, "stream_options": {"include_usage": True}}
    await corridor.listen(**request)
    await corridor.settled()
    usage = data_frames(await corridor.listen(**request))[-2]["usage"]
    assert usage["response_cache"] == "hit"


async def test_who_joins_gets_what_has_come_at_once_and_then_what_comes(gate: asyncio.Event) -> None:
    begun, rest = stream("Hel", "lo.")[:3], stream("Hel", "lo.")[3:]
    corridor = Corridor(FakeReply(*begun, gate, *rest))
    first = asyncio.ensure_future(corridor.listen(wants=CACHED))
    await corridor.upstream_called(1)
    await soon()
    late = corridor.events(wants=CACHED)
    assert said_in(await late.next()) == "Hel"
    gate.set()
    assert said_in(await frames_of(late)) == "lo."
    assert said_in(await first) == "Hello."


async def test_two_choices_are_told_apart() -> None:
    corridor = Corridor(FakeReply(*stream("a")), FakeReply(*stream("b", id_="msg_2")))
    frames = await corridor.listen(wants=CACHED, n=2)
    assert {said_in(frames, 0), said_in(frames, 1)} == {"a", "b"}
    ids = {frame["id"] for frame in data_frames(frames) if isinstance(frame, dict)}
    assert len(ids) == 1
    assert data_frames(frames).count("[DONE]") == 1


async def test_an_error_before_the_first_frame_is_raised_as_it_is() -> None:
    corridor = Corridor(UpstreamStatus("too long", status=400, error_type="invalid_request_error"))
    events = corridor.events(wants=CACHED)
    with pytest.raises(UpstreamStatus):
        await events.next()
    await events.close()
    assert await corridor.leftovers() == {}


async def test_an_error_among_the_events_ends_it_with_the_id_of_the_call(gate: asyncio.Event) -> None:
    corridor = Corridor(FakeReply(*stream("Hel")[:3], gate, ERROR, headers={"request-id": "req_1"}))
    events = corridor.events(wants=CACHED)
    assert said_in(await events.next()) == "Hel"
    gate.set()
    with pytest.raises(UpstreamError) as caught:
        await events.next()
    assert caught.value.request_id == "req_1"
    assert not events.finished
    await events.close()


async def test_an_error_that_comes_with_the_last_words_does_not_swallow_them(gate: asyncio.Event) -> None:
    begun, last = stream("Hel", "lo.")[:3], stream("Hel", "lo.")[3]
    corridor = Corridor(FakeReply(*begun, gate, last + ERROR))
    events = corridor.events(wants=CACHED)
    assert said_in(await events.next()) == "Hel"
    gate.set()
    assert said_in(await events.next()) == "lo."
    with pytest.raises(UpstreamError):
        await events.next()
    await events.close()


async def test_what_comes_before_the_answer_begins_is_not_shown(gate: asyncio.Event) -> None:
    corridor = Corridor(FakeReply(event("ping"), gate, ERROR))
    events = corridor.events(wants=CACHED)
    first = asyncio.ensure_future(events.next())
    await corridor.upstream_called(1)
    await soon()
    assert not first.done()
    gate.set()
    with pytest.raises(UpstreamError):
        await first
    await events.close()


async def test_a_call_that_breaks_off_later_says_why(gate: asyncio.Event) -> None:
    corridor = Corridor(FakeReply(*stream("Hel")[:3], gate, UpstreamUnreachable("gone")))
    events = corridor.events(wants=CACHED)
    assert said_in(await events.next()) == "Hel"
    gate.set()
    with pytest.raises(UpstreamUnreachable, match="gone"):
        await events.next()
    await events.close()


async def test_when_it_breaks_off_while_it_is_kept_the_stream_does_not_end_well() -> None:
    corridor = Corridor(FakeReply(*stream("Hello.")))
    held = corridor.state.hold("land_flight")
    listening = asyncio.ensure_future(corridor.listen(wants=Wants(idempotency_key="a")))
    await held.reached.wait()
    await soon()
    await corridor.services.flights.end_all()
    with pytest.raises(UpstreamUnreachable, match="broke off"):
        await asyncio.wait_for(listening, 10)
    held.let_go()
    assert await corridor.leftovers() == {}


async def test_a_client_that_has_nothing_yet_gets_the_error_as_its_status() -> None:
    corridor = Corridor(FakeReply(*stream("Hel")[:3], ERROR))
    events = corridor.events(wants=CACHED)
    with pytest.raises(UpstreamError):
        await events.next()
    await events.close()


async def test_a_plain_answer_that_is_none_is_an_error_for_streams_too(gate: asyncio.Event) -> None:
    corridor = Corridor(FakeReply(gate, b"<html>"))
    plain = asyncio.ensure_future(corridor.ask(wants=CACHED))
    await corridor.upstream_called(1)
    streamed = asyncio.ensure_future(corridor.listen(wants=CACHED))
    await soon()
    gate.set()
    results = await asyncio.gather(plain, streamed, return_exceptions=True)
    assert all(isinstance(result, UpstreamError) for result in results)
    assert await corridor.leftovers() == {}


async def test_when_whoever_was_getting_it_is_gone_the_stream_does_not_end_well() -> None:
    corridor = Corridor(FakeReply(*stream("Hel")[:3], ...))
    events = corridor.events(wants=CACHED)
    while not said_in(await events.next()):
        pass
    await corridor.services.flights.end_all()
    with pytest.raises(UpstreamUnreachable, match="broke off"):
        await events.next()
    await events.close()
    assert await corridor.leftovers() == {}


async def test_what_has_come_of_it_counts_as_its_usage() -> None:
    corridor = Corridor(FakeReply(*stream("Hello.", output_tokens=7), headers={"request-id": "req_1"}))
    events = corridor.events(wants=CACHED)
    await frames_of(events)
    assert events.headers["request-id"] == "req_1"
