"""What accounts have spent, on both stores: as the next admission would see it."""

from __future__ import annotations

import itertools

import pytest

from app.domain.limits import Limits, Use
from app.state import keys, spends
from app.state.connection import StateConnection
from app.state.limits import TENANT, Account
from app.state.spends import Spend, read_spends
from tests.support.ledger_model import DAY_US
from tests.support.limiter import TAG, Limiter
from tests.support.server_clock import ClockedState

BUDGETS = Limits(budget_total_nano=10_000)

_numbers = itertools.count()


async def read(state: StateConnection | ClockedState, *key_ids: str) -> list[Spend | None]:
    return await read_spends(
        state,  # type: ignore[arg-type]
        [Account(TAG, key_id) for key_id in key_ids],
        new_id=lambda: f"call-{next(_numbers)}",
    )


async def spend(state: StateConnection | ClockedState, nano: int) -> None:
    limiter = Limiter(state, own=BUDGETS, tenant=BUDGETS)  # type: ignore[arg-type]
    request_id = f"r{next(_numbers)}"
    assert (await limiter.admit(request_id)).admitted
    assert await limiter.settle(request_id, Use(nano=nano))


async def test_key_and_tenant_come_with_what_they_have_spent(state: StateConnection) -> None:
    await spend(state, 52)
    spent = Spend(day_nano=52, month_nano=52, total_nano=52)
    nothing = Spend(day_nano=0, month_nano=0, total_nano=0)
    assert await read(state, "jwt-abc", TENANT, "unused") == [spent, spent, nothing]


async def test_a_day_that_is_over_counts_for_its_month_and_in_all(state: StateConnection) -> None:
    clock = ClockedState(state)
    await spend(clock, 52)
    clock.now_us += DAY_US
    assert await read(clock, "jwt-abc") == [Spend(day_nano=0, month_nano=52, total_nano=52)]
    clock.now_us += 31 * DAY_US
    assert await read(clock, "jwt-abc") == [Spend(day_nano=0, month_nano=0, total_nano=52)]


async def test_a_stored_key_comes_with_its_record(state: StateConnection) -> None:
    await Limiter(state).stored_key("key1", limits=BUDGETS)
    (found,) = await read(state, "key1")
    assert found is not None
    assert found.record is not None
    assert found.record.limits == BUDGETS


async def test_what_cannot_be_read_is_nothing_and_keeps_nobody_from_the_rest(
    state: StateConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spends, "_AT_ONCE", 2)
    await state.call("HSET", keys.api_key(TAG, "damaged"), "doc", "{")
    await state.call("SET", keys.api_key(TAG, "other"), "x")
    await spend(state, 3)
    damaged, other, good = await read(state, "damaged", "other", "jwt-abc")
    assert (damaged, other) == (None, None)
    assert good is not None
    assert good.total_nano == 3


async def test_nothing_is_written(state: StateConnection) -> None:
    await read(state, "unused", TENANT)
    assert [name for name in await state.call("KEYS", "*") if name != keys.PROBE.encode()] == []
