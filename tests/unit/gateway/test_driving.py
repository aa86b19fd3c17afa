"""Retries of a session's turn under an ``Idempotency-Key``: the turn is made once, whatever was lost on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from app.domain.sessions import SessionName
from app.errors import StateUnavailable
from app.gateway.wants import Wants
from app.state.cache_room import CacheRoom
from app.state.sessions import read_session
from tests.support.corridor import ANN, Corridor, frames_of, text_of
from tests.support.fake_upstream import FakeReply, message, stream, text
from tests.support.steered_state import SteeredState

TURN = Wants(session="trip", idempotency_key="order 66")
NAME = SessionName(ANN.tag, ANN.key_id, "trip")


@pytest.fixture
async def state() -> AsyncIterator[SteeredState]:
    steered = SteeredState()
    yield steered
    await steered.close()


def hello(number: int) -> FakeReply:
    return FakeReply(message(text(f"Hello {number}.")))


async def turns_of(state: SteeredState) -> int:
    history = await read_session(state, NAME)
    return 0 if history is None else len(history.turns)


@pytest.mark.parametrize("fault", ["lost", "refused"])
async def test_a_turn_that_may_have_been_made_is_not_made_again(state: SteeredState, fault: str) -> None:
    corridor, other = Corridor(hello(1), state=state), Corridor(state=state)
    getattr(state, fault)["commit_turn"] = 2  # the commit, and its repetition
    with pytest.raises(StateUnavailable):
        await corridor.ask(wants=TURN)
    again = await asyncio.wait_for(other.ask(wants=TURN), 20)
    assert text_of(again) == "Hello 1."
    assert await turns_of(state) == 1
    assert other.upstream.requests == []


async def test_a_turn_whose_client_leaves_while_it_is_being_made_is_there_for_the_retry(state: SteeredState) -> None:
    corridor, other = Corridor(hello(1), state=state), Corridor(state=state)
    held = state.hold("commit_turn")
    asking = asyncio.ensure_future(corridor.ask(wants=TURN))
    await held.reached.wait()
    asking.cancel()
    with suppress(asyncio.CancelledError):
        await asking
    state.free()
    assert text_of(await asyncio.wait_for(other.ask(wants=TURN), 20)) == "Hello 1."
    assert await turns_of(state) == 1


async def test_a_streamed_turn_that_may_have_been_made_ends_in_an_error_and_is_there_for_the_retry(
    state: SteeredState,
) -> None:
    corridor, other = Corridor(FakeReply(*stream("Hello 1.")), state=state), Corridor(state=state)
    state.lost["commit_turn"] = 2
    events = corridor.events(wants=TURN)
    with pytest.raises(StateUnavailable):
        await frames_of(events)
    await events.close()
    assert text_of(await asyncio.wait_for(other.ask(wants=TURN), 20)) == "Hello 1."
    assert await turns_of(state) == 1


async def test_a_store_that_is_nearly_full_is_promised_nothing(
    state: SteeredState, monkeypatch: pytest.MonkeyPatch
) -> None:
    corridor = Corridor(hello(1), state=state)
    monkeypatch.setattr(CacheRoom, "is_full", True)
    with pytest.raises(StateUnavailable, match="nearly full"):
        await corridor.ask(wants=Wants(idempotency_key="order 66"))
    assert corridor.upstream.requests == []
    assert await corridor.leftovers() == {}


async def test_who_may_lead_without_having_been_told_gives_it_back(state: SteeredState) -> None:
    corridor, other = Corridor(hello(1), state=state), Corridor(hello(2), state=state)
    state.lost["join_flight"] = 1
    with suppress(StateUnavailable):
        await corridor.ask(wants=Wants(idempotency_key="order 66"))
    await corridor.settled()
    await asyncio.wait_for(other.ask(wants=Wants(idempotency_key="order 66")), 5)
    assert await other.leftovers() == {}
