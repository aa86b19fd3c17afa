"""A full cache on a small server: what must not be lost is still there, whether or not the cache minds the room."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from app.domain.limits import Limits
from app.schemas.admin import NewKey
from app.state import api_keys, connect, keys
from app.state.answers import Slot, jittered_ttl, land_flight
from app.state.cache_room import SHARE, CacheRoom
from app.state.connection import StateConnection
from app.state.kept_answers import keep_command
from tests.support.limiter import TAG, Limiter
from tests.support.redis import RedisServer, RedisServers

MOST_BYTES = 24 * 1024**2
ENTRIES = 100_000
ENTRY = random.Random(4).randbytes(1000)
AT_ONCE = 500
#: Of everything that must not be lost, this many.
GUARDED = 20
SESSION_TTL_S = 3600
BUDGETS = Limits(
    requests_per_minute=1000, concurrency=100, budget_day_nano=10**9, budget_month_nano=10**9, budget_total_nano=10**9
)

Ask = Callable[[int, int], Awaitable[bool]]


@pytest.fixture
def small_server(redis_servers: RedisServers) -> RedisServer:
    return redis_servers("--maxmemory", str(MOST_BYTES), "--maxmemory-policy", "volatile-ttl")


@pytest.fixture
async def small(small_server: RedisServer) -> AsyncIterator[StateConnection]:
    connection = connect(small_server.url, timeout_s=30.0)
    yield connection
    await connection.close()


async def write_what_must_not_be_lost(state: StateConnection) -> None:
    """API keys, budgets and leases of requests that run, sessions, and kept answers."""
    limiter = Limiter(state, own=BUDGETS, tenant=BUDGETS)
    for number in range(GUARDED):
        await api_keys.create(state, NewKey(tenant="acme"), actor="test:1", now=time.time())
        caller = await limiter.stored_key(f"key{number}")
        assert (await limiter.admit(f"running-{number}", caller=caller)).admitted
        assert (await limiter.admit(f"settled-{number}", caller=caller)).admitted
        assert await limiter.settle(f"settled-{number}", key_id=f"key{number}")
        head, turns, seat = (name(TAG, f"s{number}") for name in (keys.session, keys.turns, keys.seat))
        await state.pipeline(
            [
                ("HSET", head, "seq", "1"),
                ("RPUSH", turns, ENTRY),
                ("SET", seat, "10 20 2 1", "EX", SESSION_TTL_S),
                ("ZADD", keys.sessions(TAG), 1, f"* s{number}"),
                *(("EXPIRE", name, SESSION_TTL_S) for name in (head, turns, keys.sessions(TAG))),
                keep_command(TAG, f"toolu_{number}", ENTRY),
            ]
        )


async def offer(state: StateConnection, entries: int, has_room: Ask) -> int:
    """Offers answers to the cache, many at a time; how many were stored."""
    chance = random.Random(5)

    async def store(number: int) -> bool:
        if not await has_room(len(ENTRY), 1):
            return False
        ttl_s = jittered_ttl(300, chance.random)
        slot = Slot("answer", TAG, f"{number:x}")
        await land_flight(state, slot, f"r{number}", value=ENTRY, fingerprint=b"", ttl_s=ttl_s)
        return True

    stored = 0
    for first in range(0, entries, AT_ONCE):
        stored += sum(await asyncio.gather(*(store(first + number) for number in range(AT_ONCE))))
    return stored


async def figures(state: StateConnection) -> dict[bytes, int]:
    """Numbers of ``INFO``."""
    text: bytes = await state.call("INFO")
    pairs = [line.split(b":") for line in text.splitlines() if line.count(b":") == 1]
    return {name: int(value) for name, value in pairs if value.isdigit()}


async def not_cached(state: StateConnection) -> dict[bytes, bytes]:
    """Everything but cached answers and the probe of the connection, as the server keeps it."""
    names = await state.call("KEYS", "*", large=True)
    guarded = [name for name in names if b":answer:v1" not in name and name != keys.PROBE.encode()]
    return dict(zip(guarded, await state.pipeline([("DUMP", name) for name in guarded]), strict=True))


async def test_after_100_000_entries_nothing_else_is_gone_and_nothing_was_evicted(small: StateConnection) -> None:
    await write_what_must_not_be_lost(small)
    before = await not_cached(small)
    room = CacheRoom(small, monotonic=time.monotonic)
    stored = await offer(small, ENTRIES, room.has_room)
    now = await figures(small)
    assert len(before) > 10 * GUARDED
    assert await not_cached(small) == before
    assert now[b"evicted_keys"] == 0
    assert 5_000 < stored < ENTRIES
    assert now[b"used_memory"] < (SHARE + 0.05) * MOST_BYTES


async def test_a_cache_that_minds_no_room_evicts_cached_answers_and_nothing_else(small: StateConnection) -> None:
    await write_what_must_not_be_lost(small)
    before = await not_cached(small)

    async def always(_: int, __: int) -> bool:
        return True

    await offer(small, ENTRIES, always)
    assert (await figures(small))[b"evicted_keys"] > ENTRIES // 2
    assert await not_cached(small) == before


async def test_room_comes_back_when_entries_expire(small: StateConnection, small_server: RedisServer) -> None:
    now = 100.0
    room = CacheRoom(small, monotonic=lambda: now)
    for number in range(21):
        assert small_server.ask("SET", f"cw:{{_}}:filler:v1:{number}", b"x" * 1024**2, "EX", 60) == b"OK"
    assert not await room.has_room(1000, 1)
    small_server.ask("FLUSHALL", "SYNC")  # else the memory is freed a little later
    assert not await room.has_room(1000, 1)
    now += 1.0
    assert await room.has_room(1000, 1)


async def test_a_server_without_a_bound_has_room(server: RedisServer) -> None:
    state = connect(server.url, timeout_s=5.0)
    assert await CacheRoom(state, monotonic=time.monotonic).has_room(1024**3, 100)
    await state.close()
