"""Budgets that have refused, on both stores: they count until they start anew, and the list is bounded."""

from __future__ import annotations

import time

import pytest

from app.errors import StateError
from app.state import exhausted as room
from app.state import keys
from app.state.connection import StateConnection
from app.state.exhausted import ExhaustedBudget, exhausted, exhausted_commands
from app.state.limits import TENANT

#: The server goes by its own clock, which cannot be set.
NOW = time.time()
LATER = NOW + 3600

DAY = ExhaustedBudget(tenant="acme", key_id="key1", period="day", budget_nano=5)
TOTAL = ExhaustedBudget(tenant="acme", key_id=TENANT, period="total", budget_nano=10**15)


async def note(state: StateConnection, *budgets: ExhaustedBudget, until: float = LATER, now: float = NOW) -> None:
    await state.pipeline(exhausted_commands(dict.fromkeys(budgets, until), now))


async def test_budgets_that_have_refused_come_back_as_they_were(state: StateConnection) -> None:
    await note(state, DAY, TOTAL)
    assert await exhausted(state) == {DAY, TOTAL}


async def test_a_budget_that_refuses_again_is_noted_once(state: StateConnection) -> None:
    await note(state, DAY)
    await note(state, DAY, until=LATER + 5)
    assert await exhausted(state) == {DAY}
    assert await state.call("ZCARD", keys.EXHAUSTED) == 1


async def test_a_budget_counts_until_it_starts_anew(state: StateConnection) -> None:
    await note(state, DAY, until=NOW - 1, now=NOW - 100)
    await note(state, TOTAL, now=NOW - 100)
    assert await exhausted(state) == {TOTAL}


async def test_what_has_started_anew_is_not_kept(state: StateConnection) -> None:
    await note(state, DAY, until=NOW - 1, now=NOW - 100)
    await note(state, TOTAL)
    assert await state.call("ZCARD", keys.EXHAUSTED) == 1


async def test_those_that_last_are_kept(state: StateConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MOST_EXHAUSTED", 2)
    budgets = [ExhaustedBudget(tenant="acme", key_id=f"k{n}", period="day", budget_nano=5) for n in range(4)]
    for number, budget in enumerate(budgets):
        await note(state, budget, until=LATER + number)
    assert await exhausted(state) == set(budgets[2:])


async def test_entries_of_another_release_are_left_out(state: StateConnection) -> None:
    await note(state, DAY)
    await state.call("ZADD", keys.EXHAUSTED, int(LATER), b"acme key2 week 5", int(LATER), b"\xff")
    assert await exhausted(state) == {DAY}


async def test_where_nothing_has_refused_nothing_is_written(state: StateConnection) -> None:
    assert exhausted_commands({}, NOW) == []
    assert await exhausted(state) == set()


async def test_what_is_no_list_is_said(state: StateConnection) -> None:
    await state.call("SET", keys.EXHAUSTED, "no sorted set", "EX", 60)
    with pytest.raises(StateError):
        await exhausted(state)
