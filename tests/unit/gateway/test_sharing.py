"""Equal requests share one answer: who makes it, who gets it, and what becomes of it when one of them is gone."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from msgspec.structs import replace

from app.domain.caching import CacheControl
from app.domain.limits import Limits
from app.errors import (
    IdempotencyKeyReused,
    InternalError,
    RateLimited,
    StateUnavailable,
    UpstreamStatus,
    UpstreamUnreachable,
)
from app.gateway import driving
from app.gateway.complete import Completed
from app.gateway.entrance import CACHE_HEADER as CACHE
from app.gateway.flights import Flight
from app.gateway.sharing import Part
from app.gateway.stream import ChatEvents
from app.gateway.wants import Wants
from app.state import codec
from tests.support.corridor import ANN, CACHED, TRIP, Corridor, answer_of, caller, frames_of, said_in, soon, text_of
from tests.support.fake_upstream import FakeReply, message, stream, text
from tests.support.steered_state import ALWAYS, SteeredState

RETRIED = Wants(idempotency_key="order 66")
FRESH = Wants(cache=CacheControl(no_cache=True, max_age_s=60))
BOB = caller("bob")

#: Too long to travel with an admission, packed, too.
LONG = "".join(f"{at} " for at in range(100_000))


def hello(number: int = 1, *before: Any) -> FakeReply:
    return FakeReply(*before, message(text(f"Hello {number}."), id_=f"msg_{number}"))


def cache_word(completed: Completed) -> str:
    return completed.headers["x-claude-wrapper-cache"]


async def hits(corridor: Corridor) -> int:
    """Answers without a call of their own, as counted in the store."""
    await corridor.settled()
    counts = [await corridor.state.call("HGETALL", name) for name in await corridor.state.call("KEYS", "cw:*:usage:*")]
    return sum(int(row[at + 1]) for row in counts for at in range(0, len(row), 2) if row[at].endswith(b" hits"))


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody hears wakes here: whoever waits for another worker asks again soon."""
    monkeypatch.setattr(driving, "ASK_AGAIN_S", 0.01)


@pytest.fixture
async def gate() -> asyncio.Event:
    """Opens when the upstream may answer."""
    return asyncio.Event()


async def together(corridor: Corridor, *requests: Any, gate: asyncio.Event, calls: int = 1) -> list[Any]:
    """The answers of requests that all run before the upstream gives one."""
    tasks = [asyncio.ensure_future(request) for request in requests]
    await corridor.upstream_called(calls)
    await soon()
    gate.set()
    return await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 20)


# One call


@pytest.mark.parametrize(
    ("wants", "ways"),
    [(CACHED, ["MISS"] + ["JOINED"] * 19), (RETRIED, ["BYPASS"] * 20)],
    ids=["cache", "Idempotency-Key"],
)
async def test_equal_requests_make_one_call_and_get_one_answer(
    gate: asyncio.Event, wants: Wants, ways: list[str]
) -> None:
    corridor = Corridor(hello(1, gate))
    answers = await together(corridor, *(corridor.ask(wants=wants) for _ in range(20)), gate=gate)
    assert {text_of(answer) for answer in answers} == {"Hello 1."}
    assert len({answer_of(answer)["id"] for answer in answers}) == 1
    assert list(map(cache_word, answers)) == ways
    assert len(corridor.upstream.requests) == 1
    assert await hits(corridor) == 19
    assert await corridor.leftovers() == {}


async def test_streamed_and_plain_requests_share(gate: asyncio.Event) -> None:
    corridor = Corridor(FakeReply(gate, *stream("Hel", "lo.")))
    first, second, plain = await together(
        corridor, corridor.listen(wants=CACHED), corridor.listen(wants=CACHED), corridor.ask(wants=CACHED), gate=gate
    )
    assert said_in(first) == said_in(second) == text_of(plain) == "Hello."
    assert await corridor.leftovers() == {}


async def test_a_stream_joins_a_plain_request(gate: asyncio.Event) -> None:
    corridor = Corridor(hello(1, gate))
    plain, streamed = await together(corridor, corridor.ask(wants=CACHED), corridor.listen(wants=CACHED), gate=gate)
    assert text_of(plain) == said_in(streamed) == "Hello 1."


async def test_requests_that_want_nothing_do_not_share(gate: asyncio.Event) -> None:
    corridor = Corridor(hello(1, gate), hello(2))
    answers = await together(corridor, corridor.ask(), corridor.ask(), gate=gate, calls=2)
    assert {text_of(answer) for answer in answers} == {"Hello 1.", "Hello 2."}


async def test_several_choices_are_shared_as_one_answer(gate: asyncio.Event) -> None:
    corridor = Corridor(hello(1, gate), hello(2, gate))
    one, other = await together(
        corridor, corridor.ask(wants=CACHED, n=2), corridor.ask(wants=CACHED, n=2), gate=gate, calls=2
    )
    assert answer_of(one)["choices"] == answer_of(other)["choices"]
    assert len(corridor.upstream.requests) == 2


async def test_who_comes_while_the_first_is_being_let_in_joins_it() -> None:
    corridor = Corridor(hello())
    held = corridor.state.hold("admit")
    asked = [asyncio.ensure_future(corridor.ask(wants=CACHED)) for _ in range(3)]
    await held.reached.wait()
    held.let_go()
    assert sorted(map(cache_word, await asyncio.gather(*asked))) == ["JOINED", "JOINED", "MISS"]
    assert len(corridor.upstream.requests) == 1


# Kept


async def test_a_kept_answer_is_given_again_and_costs_nothing() -> None:
    corridor = Corridor(hello())
    first = await corridor.ask(wants=CACHED)
    await corridor.settled()
    again = await corridor.ask(wants=CACHED)
    assert (cache_word(first), cache_word(again)) == ("MISS", "HIT")
    assert again.headers["age"] == "0"
    assert "age" not in first.headers
    assert answer_of(again)["id"] == answer_of(first)["id"]
    assert answer_of(again)["usage"]["response_cache"] == "hit"
    assert await hits(corridor) == 1


async def test_a_hit_is_one_question() -> None:
    corridor = Corridor(hello())
    await corridor.ask(wants=CACHED)
    await corridor.settled()
    corridor.state.steps.clear()
    await corridor.ask(wants=CACHED)
    assert corridor.state.steps[:2] == ["admit", "join_flight"]
    await corridor.settled()
    assert corridor.state.steps[2:] == ["settle"]


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(FakeReply(message(text("Hel"), stop_reason="max_tokens")), id="cut off"),
        pytest.param(FakeReply(message(text("No."), stop_reason="refusal")), id="refused"),
    ],
)
async def test_an_answer_that_is_no_good_for_others_is_not_kept(reply: FakeReply) -> None:
    corridor = Corridor(reply, hello(2))
    await corridor.ask(wants=CACHED)
    await corridor.settled()
    assert text_of(await corridor.ask(wants=CACHED)) == "Hello 2."


async def test_what_a_request_wants_fresh_is_made_anew_and_kept() -> None:
    corridor = Corridor(hello(1), hello(2))
    await corridor.ask(wants=CACHED)
    await corridor.settled()
    assert text_of(await corridor.ask(wants=FRESH)) == "Hello 2."
    await corridor.settled()
    assert text_of(await corridor.ask(wants=CACHED)) == "Hello 2."
    assert await corridor.leftovers() == {}


async def test_too_large_an_answer_is_not_kept() -> None:
    corridor = Corridor(hello(1), hello(2), cache_max_entry_bytes=10)
    await corridor.ask(wants=CACHED)
    await corridor.settled()
    assert text_of(await corridor.ask(wants=CACHED)) == "Hello 2."


async def test_a_large_answer_is_read_by_itself() -> None:
    corridor = Corridor(FakeReply(message(text(LONG))))
    first = await corridor.ask(wants=CACHED)
    await corridor.settled()
    again = await corridor.ask(wants=CACHED)
    assert (cache_word(again), text_of(again)) == ("HIT", text_of(first))
    assert "GET" in corridor.state.steps


async def test_a_large_answer_that_the_store_cannot_give_is_made_anew() -> None:
    corridor = Corridor(FakeReply(message(text(LONG))), hello(2))
    await corridor.ask(wants=CACHED)
    await corridor.settled()
    corridor.state.refused["GET"] = ALWAYS
    assert text_of(await asyncio.wait_for(corridor.ask(wants=CACHED), 20)) == "Hello 2."
    assert await corridor.leftovers() == {}


async def test_a_kept_answer_that_cannot_be_read_is_made_anew() -> None:
    corridor = Corridor(hello(1), hello(2))
    await corridor.ask(wants=CACHED)
    await corridor.settled()
    (name,) = await corridor.state.call("KEYS", "cw:*:answer:*")
    stored = await corridor.state.call("GET", name)
    await corridor.state.call("SET", name, stored.partition(b"\n")[0] + b"\nnonsense")
    assert text_of(await corridor.ask(wants=CACHED)) == "Hello 2."
    await corridor.settled()
    assert text_of(await corridor.ask(wants=CACHED)) == "Hello 2."


async def test_a_kept_answer_that_is_none_is_deleted_and_made_anew() -> None:
    corridor = Corridor(hello(1), hello(2))
    await corridor.ask(wants=CACHED)
    await corridor.settled()
    (name,) = await corridor.state.call("KEYS", "cw:*:answer:*")
    header = (await corridor.state.call("GET", name)).partition(b"\n")[0]
    await corridor.state.call("SET", name, header + b"\n" + codec.pack(b"nonsense"))
    assert text_of(await asyncio.wait_for(corridor.ask(wants=CACHED), 20)) == "Hello 2."
    assert "DEL" in corridor.state.steps


async def test_an_answer_that_a_budget_has_shortened_is_not_for_others() -> None:
    corridor = Corridor(hello(1), hello(2), share_within="tenant")
    poor = replace(ANN, limits=Limits(budget_total_nano=200_000_000))
    await corridor.ask(wants=CACHED, who=poor, max_tokens=16_000)
    assert corridor.upstream.sent(0)["max_tokens"] < 16_000
    await corridor.settled()
    assert text_of(await corridor.ask(wants=CACHED, who=BOB, max_tokens=16_000)) == "Hello 2."


async def test_an_older_answer_than_is_wanted_is_none(gate: asyncio.Event) -> None:
    corridor = Corridor(hello(1), hello(2))
    await corridor.ask(wants=CACHED)
    await corridor.settled()
    (name,) = await corridor.state.call("KEYS", "cw:*:answer:*")
    header, _, value = (await corridor.state.call("GET", name)).partition(b"\n")
    stored_us, _, fingerprint = header.partition(b" ")
    old = str(int(stored_us) - 30_000_000).encode()
    await corridor.state.call("SET", name, old + b" " + fingerprint + b"\n" + value)
    held = corridor.state.hold("join_flight")
    content = asyncio.ensure_future(corridor.ask(wants=CACHED))
    await held.reached.wait()
    strict = asyncio.ensure_future(corridor.ask(wants=Wants(cache=CacheControl(max_age_s=10))))
    await soon()
    held.let_go()
    assert (text_of(await content), text_of(await strict)) == ("Hello 1.", "Hello 2.")
    assert (await content).headers["age"] == "30"
    assert await corridor.leftovers() == {}


# Failures


async def test_a_failure_is_everybodys_and_is_not_kept(gate: asyncio.Event) -> None:
    corridor = Corridor(FakeReply(gate, UpstreamUnreachable("gone")), hello(2))
    errors = await together(corridor, *(corridor.ask(wants=CACHED) for _ in range(3)), gate=gate)
    assert [type(error) for error in errors] == [UpstreamUnreachable] * 3
    assert await corridor.leftovers() == {}
    assert text_of(await corridor.ask(wants=CACHED)) == "Hello 2."


async def test_a_stream_that_breaks_off_is_no_clean_end_for_anybody(gate: asyncio.Event) -> None:
    begun = stream("Hel", "lo.")[:3]
    corridor = Corridor(FakeReply(*begun, gate, UpstreamUnreachable("gone")))
    errors = await together(corridor, *(corridor.listen(wants=CACHED) for _ in range(3)), gate=gate)
    assert [type(error) for error in errors] == [UpstreamUnreachable] * 3
    assert await corridor.state.call("KEYS", "cw:*:answer:*") == []
    assert await corridor.leftovers() == {}


async def test_a_bug_is_told_and_hangs_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    corridor = Corridor(hello())
    monkeypatch.setattr(driving, "answer_whole", broken)
    with pytest.raises(InternalError):
        await corridor.ask(wants=CACHED)
    assert await corridor.leftovers() == {}


async def test_a_failed_call_of_an_idempotency_key_may_be_repeated() -> None:
    corridor = Corridor(UpstreamStatus("oops", status=500, error_type="api_error"), hello(2))
    with pytest.raises(UpstreamStatus):
        await corridor.ask(wants=RETRIED)
    await corridor.settled()
    assert text_of(await corridor.ask(wants=RETRIED)) == "Hello 2."


# Idempotency-Key


async def test_a_retry_gets_the_first_answer_byte_for_byte() -> None:
    corridor = Corridor(hello())
    first = await corridor.ask(wants=RETRIED)
    again = await corridor.another().ask(wants=RETRIED)
    assert again.body == first.body
    assert (first.headers.get("idempotent-replayed"), again.headers["idempotent-replayed"]) == (None, "true")


async def test_a_retry_has_nothing_to_do_with_the_cache(gate: asyncio.Event) -> None:
    corridor = Corridor(hello(1, gate))
    asked = [corridor.ask(wants=replace(RETRIED, cache=CACHED.cache)) for _ in range(2)]
    replies = [*await together(corridor, *asked, gate=gate), await corridor.another().ask(wants=RETRIED)]
    assert [cache_word(reply) for reply in replies] == ["BYPASS"] * 3
    assert [reply.headers.get("idempotent-replayed") for reply in replies] == [None, "true", "true"]
    assert not any("age" in reply.headers for reply in replies)


async def test_a_streamed_retry_gets_the_first_frames() -> None:
    corridor = Corridor(FakeReply(*stream("Hel", "lo.")))
    first = await corridor.listen(wants=RETRIED)
    assert await corridor.another().listen(wants=RETRIED) == first


async def test_a_key_that_was_used_for_another_request_is_refused() -> None:
    corridor = Corridor(hello())
    await corridor.ask("Hi", wants=RETRIED)
    with pytest.raises(IdempotencyKeyReused):
        await corridor.another().ask("Ho", wants=RETRIED)
    assert await corridor.leftovers() == {}


async def test_an_answer_that_was_cut_off_is_the_answer_to_its_key() -> None:
    corridor = Corridor(FakeReply(message(text("Hel"), stop_reason="max_tokens")))
    first = await corridor.ask(wants=RETRIED)
    assert (await corridor.ask(wants=RETRIED)).body == first.body


async def test_a_retried_turn_is_committed_once() -> None:
    corridor = Corridor(hello(1), hello(2))
    wants = replace(TRIP, idempotency_key="a")
    first = await corridor.ask(wants=wants)
    assert (await corridor.ask(wants=wants)).body == first.body
    assert (await corridor.ask("And?", wants=TRIP)).headers["x-claude-wrapper-session-messages"] == "2"
    assert await corridor.leftovers() == {}


def of_its_turn(headers: Mapping[str, str]) -> dict[str, str]:
    """What a reply tells of its session and its kept thinking."""
    return {name: value for name, value in headers.items() if name.startswith("x-claude-wrapper-") and name != CACHE}


async def headers_of(events: ChatEvents) -> dict[str, str]:
    """The headers of a stream that is read to its end."""
    await frames_of(events)
    return events.headers


async def test_a_retry_of_a_turn_that_went_on_in_a_copy_names_the_copy(gate: asyncio.Event) -> None:
    corridor = Corridor(hello(1), FakeReply(..., message(text("Never."))), hello(3, gate))
    await corridor.ask("Hi", wants=TRIP)
    holds = asyncio.ensure_future(corridor.ask("Hold", wants=TRIP))
    await corridor.upstream_called(2)
    wants = replace(TRIP, wait_s=0.0, forks=True, idempotency_key="a")
    asked = [corridor.ask("Fork?", wants=wants), corridor.ask("Fork?", wants=wants)]
    first, joined = await together(corridor, *asked, gate=gate, calls=3)
    there = corridor.another()
    told = of_its_turn(first.headers)
    assert told["x-claude-wrapper-session"] != told["x-claude-wrapper-session-forked-from"] == "trip"
    assert of_its_turn(joined.headers) == told
    assert of_its_turn((await there.ask("Fork?", wants=wants)).headers) == told
    assert of_its_turn(await headers_of(there.events("Fork?", wants=wants))) == told
    await left(holds)
    assert await corridor.leftovers() == {}


async def test_a_streamed_retry_of_a_turn_is_told_the_same(gate: asyncio.Event) -> None:
    corridor = Corridor(hello(1), FakeReply(*stream("Hel")[:3], gate, *stream("Hel", "lo.")[3:]))
    await corridor.ask("Hi", wants=TRIP)
    wants = replace(TRIP, idempotency_key="a")
    asked = [headers_of(corridor.events("And?", wants=wants)) for _ in range(2)]
    first, joined = await together(corridor, *asked, gate=gate, calls=2)
    again = await headers_of(corridor.another().events("And?", wants=wants))
    assert of_its_turn(first) == {"x-claude-wrapper-session": "trip", "x-claude-wrapper-session-messages": "2"}
    assert of_its_turn(joined) == of_its_turn(again) == of_its_turn(first)


async def test_a_retry_is_told_what_the_first_was_and_not_what_a_new_turn_would_be() -> None:
    """Its session was deleted meanwhile: a turn would begin it anew, and another session would have to go for it."""
    corridor = Corridor(hello(1), hello(2), max_sessions=1)
    wants = replace(TRIP, idempotency_key="a")
    first = await corridor.ask(wants=wants)
    await corridor.settled()
    await corridor.ask(wants=Wants(session="next"))
    await corridor.settled()
    again = await corridor.ask(wants=wants)
    assert of_its_turn(again.headers) == of_its_turn(first.headers)
    assert await corridor.leftovers() == {}


TOOLS = [{"type": "function", "function": {"name": "now", "parameters": {"type": "object"}}}]
NOW_CALL = {"id": "toolu_1", "type": "function", "function": {"name": "now", "arguments": "{}"}}
#: Says of an answer with a tool call only what Chat Completions can carry.
CALLED = [
    {"role": "user", "content": "What time is it?"},
    {"role": "assistant", "tool_calls": [NOW_CALL]},
    {"role": "tool", "tool_call_id": "toolu_1", "content": "noon"},
]


@pytest.mark.parametrize(("wants", "told"), [(RETRIED, "restored=0, lost=1"), (CACHED, None)], ids=["once", "cache"])
async def test_what_became_of_its_thinking_is_told_with_a_retry_and_never_with_a_cached_answer(
    wants: Wants, told: str | None
) -> None:
    corridor = Corridor(hello())
    request: dict[str, Any] = {"tools": TOOLS, "reasoning_effort": "high", "wants": wants}
    first = await corridor.ask(CALLED, **request)
    await corridor.settled()
    again = await corridor.ask(CALLED, **request)
    assert first.headers["x-claude-wrapper-thinking"] == "restored=0, lost=1"
    assert again.headers.get("x-claude-wrapper-thinking") == told
    assert len(corridor.upstream.requests) == 1


async def test_a_retry_does_not_hold_the_session_that_its_first_request_waits_for(gate: asyncio.Event) -> None:
    corridor = Corridor(hello(1, gate), hello(2))
    other = asyncio.ensure_future(corridor.ask("First", wants=TRIP))
    await corridor.upstream_called(1)
    wants = replace(TRIP, idempotency_key="a")
    first = asyncio.ensure_future(corridor.ask("Second", wants=wants))
    await soon()
    retry = asyncio.ensure_future(corridor.another().ask("Second", wants=wants))
    await soon()
    gate.set()
    await other
    corridor.services.wakes.ear.gap()
    answers = await asyncio.wait_for(asyncio.gather(first, retry), 5)
    assert answers[0].body == answers[1].body
    assert await corridor.leftovers() == {}


@pytest.mark.parametrize("befalls", ["refused", "lost"])
async def test_an_answer_that_cannot_be_kept_for_its_key_is_none(befalls: str) -> None:
    corridor = Corridor(hello(), hello(2))
    getattr(corridor.state, befalls)["land_flight"] = 1
    with pytest.raises(StateUnavailable) as caught:
        await corridor.ask(wants=RETRIED)
    assert caught.value.retry_after_s
    assert await corridor.leftovers() == {}
    assert text_of(await corridor.ask(wants=RETRIED)) == "Hello 1."  # it was kept after all, as soon as that could be


async def test_without_the_store_there_is_no_promise() -> None:
    corridor = Corridor()
    corridor.state.refused["admit"] = ALWAYS
    with pytest.raises(StateUnavailable):
        await corridor.ask(wants=RETRIED)
    corridor.state.free()
    assert await corridor.leftovers() == {}


# Without the store


@pytest.mark.parametrize("befalls", ["refused", "lost"])
@pytest.mark.parametrize("step", ["admit", "join_flight", "land_flight", "settle"])
async def test_a_cache_that_is_away_is_no_cache(step: str, befalls: str) -> None:
    corridor = Corridor(hello())
    getattr(corridor.state, befalls)[step] = 2
    assert text_of(await corridor.ask(wants=CACHED)) == "Hello 1."
    corridor.state.free()
    assert await corridor.leftovers() == {}


async def test_requests_that_were_let_in_without_the_store_share_all_the_same(gate: asyncio.Event) -> None:
    corridor = Corridor(hello(1, gate))
    corridor.state.dead = True
    answers = await together(corridor, corridor.ask(wants=CACHED), corridor.ask(wants=CACHED), gate=gate)
    assert sorted(map(cache_word, answers)) == ["JOINED", "MISS"]
    corridor.state.dead = False
    assert await corridor.leftovers() == {}


# Who leaves


async def left(task: asyncio.Future[Any]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_when_the_first_leaves_the_others_are_answered(gate: asyncio.Event) -> None:
    corridor = Corridor(hello(1, gate))
    first, *others = [asyncio.ensure_future(corridor.ask(wants=CACHED)) for _ in range(3)]
    await corridor.upstream_called(1)
    await soon()
    await left(first)
    gate.set()
    assert [text_of(answer) for answer in await asyncio.gather(*others)] == ["Hello 1."] * 2
    assert len(corridor.upstream.requests) == 1
    assert await corridor.leftovers() == {}


async def test_when_all_have_left_the_call_is_cancelled() -> None:
    corridor = Corridor(..., hello(2))
    asked = [asyncio.ensure_future(corridor.ask(wants=CACHED)) for _ in range(3)]
    await corridor.upstream_called(1)
    await soon()
    for one in asked:
        await left(one)
    assert corridor.upstream.cancelled == 1
    assert await corridor.leftovers() == {}
    assert text_of(await corridor.ask(wants=CACHED)) == "Hello 2."


async def test_who_is_being_let_in_counts_as_reading(gate: asyncio.Event) -> None:
    corridor = Corridor(hello(1, gate))
    first = asyncio.ensure_future(corridor.ask(wants=CACHED))
    await corridor.upstream_called(1)
    held = corridor.state.hold("admit")
    second = asyncio.ensure_future(corridor.ask(wants=CACHED))
    await held.reached.wait()
    await left(first)
    held.let_go()
    gate.set()
    assert text_of(await second) == "Hello 1."
    assert len(corridor.upstream.requests) == 1
    assert await corridor.leftovers() == {}


async def test_who_is_not_let_in_reads_no_more() -> None:
    corridor = Corridor(...)
    first = asyncio.ensure_future(corridor.ask(wants=CACHED))
    await corridor.upstream_called(1)
    held = corridor.state.hold("admit")
    second = asyncio.ensure_future(corridor.ask(wants=CACHED))
    await held.reached.wait()
    await left(second)
    held.let_go()
    await left(first)
    assert corridor.upstream.cancelled == 1
    assert await corridor.leftovers() == {}


async def test_a_stream_whose_readers_have_left_is_closed() -> None:
    reply = FakeReply(*stream("Hel")[:3], ...)
    corridor = Corridor(reply)
    asked = [asyncio.ensure_future(corridor.listen(wants=CACHED)) for _ in range(2)]
    await reply.begun.wait()
    await soon()
    for one in asked:
        await left(one)
    assert reply.closed
    assert await corridor.leftovers() == {}


async def test_when_the_first_is_not_let_in_another_makes_the_answer() -> None:
    corridor = Corridor(hello())
    held = corridor.state.hold("admit")
    first, *others = [asyncio.ensure_future(corridor.ask(wants=CACHED)) for _ in range(4)]
    await held.reached.wait()
    first.cancel()
    await soon()
    held.let_go()
    answers = await asyncio.wait_for(asyncio.gather(*others), 20)
    assert sorted(map(cache_word, answers)) == ["JOINED", "JOINED", "MISS"]
    assert len(corridor.upstream.requests) == 1
    assert await corridor.leftovers() == {}


async def test_who_takes_over_does_not_read_what_belongs_to_another_request() -> None:
    corridor = Corridor()
    flights = corridor.services.flights
    first, second = corridor.entry(wants=RETRIED), corridor.entry(wants=RETRIED)
    await first.let_in()
    await second.let_in()
    assert first.flight is second.flight is not None
    part = Part(corridor.services, second)
    flights.close(first.flight)
    first.flight.abandon()
    flights.open(Flight(first.flight.slot, b"of another request", 0))
    with pytest.raises(IdempotencyKeyReused):
        await part.begun()
    await part.leave()
    for entry in (first, second):
        entry.close()
    assert corridor.services.ledger.open_permits == 0


async def test_the_limits_of_the_first_are_not_those_of_the_others() -> None:
    corridor = Corridor(hello(1), hello(2), share_within="tenant")
    poor = replace(ANN, limits=Limits(requests_per_minute=1))
    await corridor.ask("Before", who=poor)
    held = corridor.state.hold("admit")
    first = asyncio.ensure_future(corridor.ask(wants=CACHED, who=poor))
    others = [asyncio.ensure_future(corridor.ask(wants=CACHED, who=BOB)) for _ in range(2)]
    await held.reached.wait()
    held.let_go()
    with pytest.raises(RateLimited):
        await first
    assert [text_of(one) for one in await asyncio.wait_for(asyncio.gather(*others), 20)] == ["Hello 2."] * 2
    assert await corridor.leftovers() == {}


async def test_what_the_first_cannot_pay_for_the_others_may() -> None:
    thinking = {"type": "thinking", "thinking": "hm " * 60_000, "signature": "c2ln"}
    thought = message(thinking, {"type": "tool_use", "id": "toolu_1", "name": "now", "input": {}})
    corridor = Corridor(FakeReply(thought), hello(2), share_within="tenant")
    await corridor.ask(CALLED[:1], tools=TOOLS, reasoning_effort="high", who=BOB)
    request: dict[str, Any] = {
        "said": CALLED,
        "tools": TOOLS,
        "reasoning_effort": "high",
        "max_tokens": 4000,
        "wants": CACHED,
    }
    poor = replace(ANN, limits=Limits(budget_total_nano=150_000_000))
    asked = [asyncio.ensure_future(corridor.ask(who=who, **request)) for who in (poor, BOB, BOB)]
    results = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 20)
    assert isinstance(results[0], RateLimited)
    assert results[0].limit == "budget_reserved"  # it was let in
    assert [text_of(result) for result in results[1:] if isinstance(result, Completed)] == ["Hello 2."] * 2
    assert await corridor.leftovers() == {}


#: 0.2 USD, of which an answer of 16,000 tokens would cost more.
POOR = replace(ANN, limits=Limits(budget_total_nano=200_000_000))
LONG_ANSWER: dict[str, Any] = {"wants": CACHED, "max_tokens": 16_000}


def asked_tokens(corridor: Corridor) -> list[bool]:
    """Of each call, whether it asked for as many tokens as the client."""
    sent = [corridor.upstream.sent(at) for at in range(len(corridor.upstream.requests))]
    return [body["max_tokens"] == 16_000 for body in sent]


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "stream"])
async def test_an_answer_that_a_budget_shortens_is_only_for_who_has_that_budget(
    gate: asyncio.Event, streamed: bool
) -> None:
    replies = [FakeReply(gate, *stream(f"Hello {n}.")) if streamed else hello(n, gate) for n in (1, 2)]
    corridor = Corridor(*replies, share_within="tenant")
    ask = corridor.listen if streamed else corridor.ask
    asked = [ask(who=who, **LONG_ANSWER) for who in (POOR, BOB, BOB)]
    poor, *others = await together(corridor, *asked, gate=gate, calls=2)
    said = [said_in(one) if streamed else text_of(one) for one in (poor, *others)]
    assert said == ["Hello 1.", "Hello 2.", "Hello 2."]
    assert asked_tokens(corridor) == [False, True]
    if not streamed:
        assert list(map(cache_word, [poor, *others])) == ["MISS", "MISS", "JOINED"]
    assert await corridor.leftovers() == {}


async def test_who_goes_on_alone_keeps_nobody_on_another_worker_waiting() -> None:
    here = Corridor(..., share_within="tenant")
    there = here.another(hello(2), share_within="tenant")
    poor = asyncio.ensure_future(here.ask(who=POOR, **LONG_ANSWER))
    await here.upstream_called(1)
    async with asyncio.timeout(8):  # a lease lasts 12 s
        assert text_of(await there.ask(who=BOB, **LONG_ANSWER)) == "Hello 2."
    await left(poor)
    assert here.upstream.cancelled == 1
    assert await here.leftovers() == {}


async def test_who_has_left_before_it_would_go_on_alone_makes_no_call() -> None:
    corridor = Corridor(hello(), share_within="tenant")
    request = {"said": CALLED, "tools": TOOLS, "reasoning_effort": "high", **LONG_ANSWER}
    held = corridor.state.hold("GET")
    poor, other = [asyncio.ensure_future(corridor.ask(who=who, **request)) for who in (POOR, BOB)]
    await held.reached.wait()
    await soon()
    await left(poor)
    held.let_go()
    assert text_of(await asyncio.wait_for(other, 20)) == "Hello 1."
    assert asked_tokens(corridor) == [True]
    assert await corridor.leftovers() == {}


async def test_a_retry_gets_the_first_answer_although_a_budget_has_shortened_it(gate: asyncio.Event) -> None:
    corridor = Corridor(hello(1, gate), share_within="tenant")
    asked = [corridor.ask(who=who, wants=RETRIED, max_tokens=16_000) for who in (POOR, BOB)]
    first, again = await together(corridor, *asked, gate=gate)
    assert first.body == again.body
    assert asked_tokens(corridor) == [False]


@pytest.mark.parametrize("wants", [CACHED, RETRIED, FRESH], ids=["cache", "Idempotency-Key", "no-cache"])
@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("step", ["admit", "land_flight"])
async def test_who_leaves_at_any_step_leaves_nothing_and_hangs_nobody(step: str, streamed: bool, wants: Wants) -> None:
    corridor = Corridor(FakeReply(*stream("Hello.")) if streamed else hello(), hello(2))
    held = corridor.state.hold(step)
    ask = corridor.listen if streamed else corridor.ask
    asked = asyncio.ensure_future(ask(wants=wants))
    reached = asyncio.ensure_future(held.reached.wait())
    await asyncio.wait([asked, reached], return_when=asyncio.FIRST_COMPLETED)
    asked.cancel()
    await soon()
    corridor.state.free()
    await asyncio.gather(asked, return_exceptions=True)
    assert await corridor.leftovers() == {}
    corridor.upstream.replies = [hello(3)]
    await asyncio.wait_for(corridor.ask(wants=wants), 20)


# Several workers


@pytest.fixture
async def state() -> AsyncIterator[SteeredState]:
    steered = SteeredState()
    yield steered
    await steered.close()


async def test_a_worker_waits_for_the_one_that_makes_the_answer(state: SteeredState, gate: asyncio.Event) -> None:
    here, there = Corridor(hello(1, gate), state=state), Corridor(state=state)
    first = asyncio.ensure_future(here.ask(wants=CACHED))
    await here.upstream_called(1)
    others = [asyncio.ensure_future(there.ask(wants=CACHED)) for _ in range(3)]
    await soon()
    gate.set()
    assert cache_word(await first) == "MISS"
    assert [cache_word(one) for one in await asyncio.wait_for(asyncio.gather(*others), 20)] == ["JOINED"] * 3
    assert there.upstream.requests == []
    assert await there.leftovers() == {}
    assert await here.leftovers() == {}


async def test_who_waits_goes_on_without_a_cache_that_goes_away(state: SteeredState, gate: asyncio.Event) -> None:
    here, there = Corridor(hello(1, gate), state=state), Corridor(hello(2), state=state)
    first = asyncio.ensure_future(here.ask(wants=CACHED))
    await here.upstream_called(1)
    other = asyncio.ensure_future(there.ask(wants=CACHED))
    await soon()
    state.refused["join_flight"] = ALWAYS
    assert text_of(await asyncio.wait_for(other, 20)) == "Hello 2."
    state.free()
    gate.set()
    assert text_of(await first) == "Hello 1."
    assert await here.leftovers() == {}
    assert await there.leftovers() == {}


async def test_who_waits_with_an_idempotency_key_does_not(state: SteeredState) -> None:
    here, there = Corridor(FakeReply(...), state=state), Corridor(state=state)
    first = asyncio.ensure_future(here.ask(wants=RETRIED))
    await here.upstream_called(1)
    other = asyncio.ensure_future(there.ask(wants=RETRIED))
    await soon()
    state.refused["join_flight"] = ALWAYS
    with pytest.raises(StateUnavailable):
        await asyncio.wait_for(other, 20)
    state.free()
    await left(first)
    assert await here.leftovers() == {}


async def test_a_wake_is_enough(state: SteeredState, gate: asyncio.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driving, "ASK_AGAIN_S", 3600.0)
    here, there = Corridor(hello(1, gate), state=state), Corridor(state=state)
    first = asyncio.ensure_future(here.ask(wants=CACHED))
    await here.upstream_called(1)
    other = asyncio.ensure_future(there.ask(wants=CACHED))
    await soon()
    gate.set()
    await first
    await here.settled()
    (name,) = there.services.wakes._waiting
    there.services.wakes.ear.heard(name)
    assert cache_word(await asyncio.wait_for(other, 20)) == "JOINED"


async def test_when_the_leader_fails_a_follower_leads(state: SteeredState, gate: asyncio.Event) -> None:
    here, there = Corridor(FakeReply(gate, UpstreamUnreachable("gone")), state=state), Corridor(hello(2), state=state)
    first = asyncio.ensure_future(here.ask(wants=CACHED))
    await here.upstream_called(1)
    other = asyncio.ensure_future(there.ask(wants=CACHED))
    await soon()
    gate.set()
    with pytest.raises(UpstreamUnreachable):
        await first
    assert text_of(await asyncio.wait_for(other, 20)) == "Hello 2."
    assert await there.leftovers() == {}


async def test_when_the_leader_has_died_a_follower_leads(state: SteeredState) -> None:
    here, there = Corridor(FakeReply(...), state=state), Corridor(hello(2), state=state)
    dead = asyncio.ensure_future(here.ask(wants=CACHED))
    await here.upstream_called(1)
    other = asyncio.ensure_future(there.ask(wants=CACHED))
    await soon()
    assert not there.upstream.requests
    (flight,) = await state.call("KEYS", "cw:*:flight:*")
    await state.call("HSET", flight, "until_us", "1")
    assert text_of(await asyncio.wait_for(other, 20)) == "Hello 2."
    await left(dead)


async def test_who_leads_in_the_place_of_the_dead_does_not_wait_for_itself(state: SteeredState) -> None:
    here, there = Corridor(FakeReply(...), state=state), Corridor(..., state=state)
    dead = asyncio.ensure_future(here.ask(wants=CACHED))
    await here.upstream_called(1)
    other = asyncio.ensure_future(there.ask(wants=CACHED))
    await soon()
    (flight,) = await state.call("KEYS", "cw:*:flight:*")
    await state.call("HSET", flight, "until_us", "1")
    await there.upstream_called(1)
    await left(other)
    assert there.upstream.cancelled == 1
    await left(dead)
    assert await here.leftovers() == {}


async def test_after_two_leaders_have_failed_nobody_waits_for_a_third(
    state: SteeredState, monkeypatch: pytest.MonkeyPatch
) -> None:
    corridor = Corridor(hello(), state=state)
    leaders = itertools.count()
    monkeypatch.setattr(driving, "read_join", lambda _: driving.Follow(f"leader {next(leaders)}"))
    assert text_of(await asyncio.wait_for(corridor.ask(wants=CACHED), 20)) == "Hello 1."


async def test_a_call_goes_on_for_who_waits_on_another_worker(state: SteeredState, gate: asyncio.Event) -> None:
    here, there = Corridor(hello(1, gate), state=state), Corridor(state=state)
    first = asyncio.ensure_future(here.ask(wants=CACHED))
    await here.upstream_called(1)
    other = asyncio.ensure_future(there.ask(wants=CACHED))
    await soon()
    await left(first)
    gate.set()
    assert text_of(await asyncio.wait_for(other, 20)) == "Hello 1."
    assert await there.leftovers() == {}
    assert await here.leftovers() == {}


async def test_a_call_ends_when_who_waited_on_another_worker_has_left(state: SteeredState) -> None:
    here, there = Corridor(FakeReply(...), state=state), Corridor(state=state)
    first = asyncio.ensure_future(here.ask(wants=CACHED))
    await here.upstream_called(1)
    other = asyncio.ensure_future(there.ask(wants=CACHED))
    await soon()
    await left(first)
    assert here.services.ledger.open_permits == 1
    await left(other)
    await there.settled()
    for permit in here.services.ledger._open.values():
        permit.renewed_at = float("-inf")
    await here.services.ledger._renew()
    assert await here.leftovers() == {}


async def test_an_answer_that_was_made_is_seen_by_every_worker(state: SteeredState) -> None:
    here, there = Corridor(hello(), state=state), Corridor(state=state)
    await here.ask(wants=CACHED)
    await here.settled()
    assert cache_word(await there.ask(wants=CACHED)) == "HIT"


async def test_the_lease_of_a_leader_is_renewed_with_that_of_its_request(state: SteeredState) -> None:
    corridor = Corridor(FakeReply(...), state=state)
    asked = asyncio.ensure_future(corridor.ask(wants=CACHED))
    await corridor.upstream_called(1)
    (flight,) = await state.call("KEYS", "cw:*:flight:*")
    await state.call("HSET", flight, "until_us", "1")
    for permit in corridor.services.ledger._open.values():
        permit.renewed_at = float("-inf")
    await corridor.services.ledger._renew()
    assert int(await state.call("HGET", flight, "until_us")) > 1
    await left(asked)
    assert await corridor.leftovers() == {}


async def test_a_flight_that_has_landed_is_not_put_back_by_a_late_renewal() -> None:
    corridor = Corridor(hello(1, gate := asyncio.Event()))
    asked = asyncio.ensure_future(corridor.ask(wants=CACHED))
    await corridor.upstream_called(1)
    (permit,) = corridor.services.ledger._open.values()
    gate.set()
    await asked
    await corridor.settled()
    for renewal in permit.renewals:
        await renewal()
    assert await corridor.leftovers() == {}


# Downgraded

TOOL = {"type": "function", "function": {"name": "now"}}
REFUSED = 'tool_choice: type "tool" and "any" are not supported for this model.'


async def test_what_was_downgraded_is_told_to_everybody_who_gets_it() -> None:
    corridor = Corridor(
        UpstreamStatus(REFUSED, status=400, error_type="invalid_request_error"), FakeReply(message(text("No.")))
    )
    request: dict[str, Any] = {"model": "claude-next-9", "tools": [TOOL], "tool_choice": "required", "wants": CACHED}
    first = await corridor.ask(**request)
    await corridor.settled()
    again = await corridor.ask(**request)
    assert cache_word(again) == "HIT"
    assert ("tool_choice", "auto") in first.report.adjusted
    assert first.report == again.report


async def test_a_chain_of_pauses_is_shared_whole() -> None:
    search = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}}
    corridor = Corridor(
        FakeReply(message(search, stop_reason="pause_turn")), FakeReply(message(text("Found."), id_="msg_2"))
    )
    first = await corridor.ask(wants=CACHED, web_search_options={})
    await corridor.settled()
    again = await corridor.ask(wants=CACHED, web_search_options={})
    assert json.loads(again.body)["choices"] == json.loads(first.body)["choices"]
