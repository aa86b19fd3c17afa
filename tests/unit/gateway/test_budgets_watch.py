"""How much of their budgets the accounts have spent that were used lately."""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator

import pytest

from app.domain.auth import tenant_tag
from app.domain.limits import Limits, Use
from app.errors import StateUnavailable
from app.gateway.budgets_watch import BudgetShare, budget_shares
from app.state import connect, keys
from app.state.connection import StateConnection
from app.state.exhausted import ExhaustedBudget, exhausted_commands
from app.state.limits import TENANT
from app.state.watched import watch_commands
from tests.support.limiter import TENANT_NAME, Limiter
from tests.support.services import StateAway

NOW = 1_800_000_000.0
DAY = Limits(budget_day_nano=100)

#: The store goes by its own clock, which cannot be set.
LATER = time.time() + 3600


@pytest.fixture
async def state() -> AsyncIterator[StateConnection]:
    connection = connect("memory://")
    yield connection
    await connection.close()


async def shares(state: StateConnection) -> list[BudgetShare]:
    numbers = itertools.count()
    return await budget_shares(state, new_id=lambda: f"call-{next(numbers)}")


async def watch(state: StateConnection, key_id: str, budgets: Limits, now: float = NOW) -> None:
    await state.pipeline(watch_commands({(TENANT_NAME, key_id): budgets}, now))


async def spend(state: StateConnection, nano: int) -> None:
    await Limiter(state, tenant=DAY).settle("r1", Use(nano=nano), admitted=False)


async def test_key_and_tenant_have_budgets_of_their_own(state: StateConnection) -> None:
    await spend(state, 80)
    await watch(state, "jwt-abc", Limits(budget_day_nano=160, budget_month_nano=800, budget_total_nano=80))
    await watch(state, TENANT, DAY, NOW - 1)
    found = await shares(state)
    assert [(one.tenant, one.key_id, one.period, one.share) for one in found] == [
        (TENANT_NAME, "jwt-abc", "day", 0.5),
        (TENANT_NAME, "jwt-abc", "month", 0.1),
        (TENANT_NAME, "jwt-abc", "total", 1.0),
        (TENANT_NAME, None, "day", 0.8),
    ]
    assert (found[0].spent_nano, found[0].budget_nano) == (80, 160)


async def test_a_budget_that_was_raised_since_counts_at_once(state: StateConnection) -> None:
    await watch(state, "key1", Limits(budget_day_nano=100, budget_month_nano=500))
    await Limiter(state).stored_key("key1", limits=Limits(budget_day_nano=200))
    assert [(one.period, one.budget_nano) for one in await shares(state)] == [("day", 200), ("month", 500)]


async def test_a_revoked_key_has_no_budget(state: StateConnection) -> None:
    await watch(state, "key1", DAY)
    await Limiter(state).stored_key("key1", revoked_at=5.0)
    assert await shares(state) == []


async def test_a_budget_of_nothing_is_meant_to_lock_somebody_out(state: StateConnection) -> None:
    await watch(state, "key1", Limits(budget_day_nano=0))
    assert await shares(state) == []


async def refuse(state: StateConnection, key_id: str, budget_nano: int, until: float) -> None:
    refused = ExhaustedBudget(tenant=TENANT_NAME, key_id=key_id, period="day", budget_nano=budget_nano)
    await state.pipeline(exhausted_commands({refused: until}, time.time() - 10))


async def test_a_budget_that_has_refused_is_used_up_though_less_is_spent(state: StateConnection) -> None:
    await spend(state, 60)
    await watch(state, "jwt-abc", DAY)
    await watch(state, TENANT, DAY, NOW - 1)
    await refuse(state, TENANT, 100, LATER)
    found = await shares(state)
    assert [(one.key_id, one.share, one.spent_nano, one.has_refused) for one in found] == [
        ("jwt-abc", 0.6, 60, False),
        (None, 1.0, 60, True),
    ]


async def test_a_budget_that_was_overrun_and_refuses_is_as_full_as_it_is(state: StateConnection) -> None:
    await spend(state, 120)
    await watch(state, TENANT, DAY)
    await refuse(state, TENANT, 100, LATER)
    assert [one.share for one in await shares(state)] == [1.2]


async def test_a_budget_that_was_raised_since_has_not_refused(state: StateConnection) -> None:
    await watch(state, "key1", DAY)
    await refuse(state, "key1", 100, LATER)
    await Limiter(state).stored_key("key1", limits=Limits(budget_day_nano=200))
    assert [(one.budget_nano, one.share) for one in await shares(state)] == [(200, 0.0)]


async def test_a_budget_that_has_started_anew_has_not_refused(state: StateConnection) -> None:
    await watch(state, TENANT, DAY)
    await refuse(state, TENANT, 100, until=time.time() - 1)
    assert [one.share for one in await shares(state)] == [0.0]


async def test_what_cannot_be_read_is_left_out(state: StateConnection) -> None:
    await watch(state, "key1", DAY)
    await watch(state, "key2", DAY, NOW - 1)
    await state.call("HSET", keys.api_key(tenant_tag(TENANT_NAME), "key1"), "doc", "{")
    assert [one.key_id for one in await shares(state)] == ["key2"]


async def test_nobody_watched_costs_one_look(state: StateConnection) -> None:
    assert await shares(state) == []


async def test_while_the_store_is_away_it_says_so() -> None:
    with pytest.raises(StateUnavailable):
        await shares(StateAway())
