"""Live sessions of many tenants on both stores."""

from __future__ import annotations

import time

import pytest

from app.state import keys, session_counts
from app.state.connection import StateConnection
from app.state.session_counts import count_live_sessions


async def seat(state: StateConnection, tag: str, *, live: int, expired: int = 0) -> None:
    """Puts sessions of a tenant into its index."""
    now_us = int(time.time() * 1e6)
    expiries = [*(now_us + 3600_000_000 for _ in range(live)), *(now_us - 60_000_000 for _ in range(expired))]
    for number, expiry in enumerate(expiries):
        await state.call("ZADD", keys.sessions(tag), expiry, f"key1 s{number}")
    await state.call("EXPIRE", keys.sessions(tag), 3600)


async def test_only_live_sessions_count(state: StateConnection) -> None:
    await seat(state, "a", live=3, expired=2)
    await seat(state, "b", live=0, expired=1)
    assert await count_live_sessions(state, ["a", "b", "gone"]) == {"a": 3, "b": 0, "gone": 0}


async def test_of_nobody_there_are_none(state: StateConnection) -> None:
    assert await count_live_sessions(state, []) == {}


async def test_many_tenants_are_counted_in_several_round_trips(
    state: StateConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_counts, "_AT_ONCE", 2)
    for number in range(5):
        await seat(state, f"t{number}", live=number)
    tags = [f"t{number}" for number in range(5)]
    assert await count_live_sessions(state, tags) == {f"t{number}": number for number in range(5)}


async def test_an_index_that_is_none_counts_as_empty(state: StateConnection) -> None:
    await state.call("SET", keys.sessions("a"), "x", "EX", 60)
    assert await count_live_sessions(state, ["a"]) == {"a": 0}
