"""Who was active lately, on both stores: the newest are kept, and an account tells the budgets it had last."""

from __future__ import annotations

import pytest

from app.domain.limits import Limits
from app.state import keys, watched
from app.state.connection import StateConnection
from app.state.limits import TENANT
from app.state.watched import WatchedAccount, seated, seated_commands, watch_commands

NOW = 1_800_000_000.0
BUDGETS = Limits(budget_day_nano=5, budget_total_nano=7)


async def watch(state: StateConnection, accounts: dict[tuple[str, str], Limits], now: float = NOW) -> None:
    await state.pipeline(watch_commands(accounts, now))


async def test_an_account_comes_back_with_its_budgets(state: StateConnection) -> None:
    limits = Limits(requests_per_minute=9, budget_day_nano=5, budget_total_nano=7)
    await watch(state, {("acme", "key1"): limits})
    assert await watched.watched(state) == [WatchedAccount(tenant="acme", key_id="key1", budgets=BUDGETS)]


async def test_accounts_without_a_budget_are_not_watched(state: StateConnection) -> None:
    assert watch_commands({("acme", "key1"): Limits(requests_per_minute=9)}, NOW) == []
    assert await watched.watched(state) == []


async def test_an_account_is_watched_once_with_the_budgets_it_had_last(state: StateConnection) -> None:
    await watch(state, {("acme", "key1"): BUDGETS, ("acme", TENANT): BUDGETS})
    await watch(state, {("acme", "key1"): Limits(budget_month_nano=3)}, NOW + 5)
    found = await watched.watched(state)
    assert [(account.key_id, account.budgets) for account in found] == [
        ("key1", Limits(budget_month_nano=3)),
        (TENANT, BUDGETS),
    ]


async def test_the_newest_are_kept(state: StateConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched, "MOST_WATCHED", 3)
    for number in range(5):
        await watch(state, {("acme", f"key{number}"): BUDGETS}, NOW + number)
    assert [account.key_id for account in await watched.watched(state)] == ["key4", "key3", "key2"]


async def test_who_was_not_used_for_two_days_is_forgotten(state: StateConnection) -> None:
    await watch(state, {("acme", "old"): BUDGETS})
    await watch(state, {("acme", "new"): BUDGETS}, NOW + keys.WATCHED_TTL_S + 1)
    assert [account.key_id for account in await watched.watched(state)] == ["new"]


async def test_entries_of_another_release_are_left_out(state: StateConnection) -> None:
    await watch(state, {("acme", "key1"): BUDGETS})
    await state.call("ZADD", keys.WATCHED, NOW + 1, b"acme key2 \xff")
    assert [account.key_id for account in await watched.watched(state)] == ["key1"]


async def test_tenants_with_sessions_come_newest_first(state: StateConnection) -> None:
    await state.pipeline(seated_commands(["a", "b"], NOW))
    await state.pipeline(seated_commands(["c"], NOW + 1))
    await state.pipeline(seated_commands(["a"], NOW + 2))
    assert await seated(state) == ["a", "c", "b"]


async def test_where_nobody_was_active_nothing_is_written(state: StateConnection) -> None:
    assert seated_commands([], NOW) == []
    assert await seated(state) == []
