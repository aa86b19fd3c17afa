"""Room for cached answers, with a store that says how full it is as the test wants it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from app.errors import StateError, StateUnavailable
from app.state import connect
from app.state.cache_room import ENTRY_BYTES, CacheRoom
from app.state.connection import StateConnection, StoreStatus

MIB = 1024**2
KIB = 1024
REFUSED = StateError("The state store does not let its user do this (NOPERM).")
AWAY = StateUnavailable("The state store is not available: it does not answer.")


def info(used: int, most: int) -> bytes:
    return (
        f"# Memory\r\nused_memory:{used}\r\nused_memory_peak:9\r\nmaxmemory:{most}\r\nmaxmemory_policy:volatile-ttl\r\n"
    ).encode()


class Store:
    """Says what it was told to, and counts how often it was asked.

    Attributes:
        says: its next answers; the last one stays.
    """

    status = StoreStatus(kind="redis", available=True, connected=True)

    def __init__(self, *says: Any) -> None:
        self.says = list(says)
        self.asked = 0
        self.at_once = 0

    async def call(self, *words: Any, large: bool = False) -> Any:
        assert words == ("INFO", "memory")
        self.asked += 1
        self.at_once += 1
        assert self.at_once == 1
        await asyncio.sleep(0)
        self.at_once -= 1
        said = self.says.pop(0) if len(self.says) > 1 else self.says[0]
        if isinstance(said, Exception):
            raise said
        return said


class Room:
    """A room with a clock."""

    def __init__(self, *says: Any) -> None:
        self.store = Store(*says)
        self.now = 100.0
        self._room = CacheRoom(cast("StateConnection", self.store), monotonic=lambda: self.now)

    async def has(self, size_bytes: int, workers: int = 1) -> bool:
        return await self._room.has_room(size_bytes, workers)


@pytest.fixture
async def memory() -> AsyncIterator[StateConnection]:
    connection = connect("memory://")
    yield connection
    await connection.close()


async def test_below_four_fifths_there_is_room() -> None:
    assert await Room(info(79 * MIB, 100 * MIB)).has(KIB)


async def test_above_four_fifths_there_is_none() -> None:
    assert not await Room(info(80 * MIB, 100 * MIB)).has(KIB)


async def test_the_answer_itself_has_to_fit() -> None:
    room = Room(info(70 * MIB, 100 * MIB))
    assert not await room.has(11 * MIB)
    assert await room.has(9 * MIB)


async def test_a_store_without_a_bound_always_has_room() -> None:
    assert await Room(info(1000 * MIB, 0)).has(64 * MIB)


async def test_a_store_in_this_process_always_has_room(memory: StateConnection) -> None:
    assert await CacheRoom(memory, monotonic=lambda: 0.0).has_room(64 * MIB, 1)


async def test_what_was_let_in_since_the_reading_counts() -> None:
    room = Room(info(79 * MIB, 100 * MIB))
    let_in = 0
    while await room.has(KIB):
        let_in += 1
    assert let_in == MIB // (KIB + ENTRY_BYTES)
    assert room.store.asked == 1


async def test_every_other_worker_is_taken_to_store_as_much() -> None:
    room = Room(info(79 * MIB, 100 * MIB))
    let_in = 0
    while await room.has(KIB, workers=4):
        let_in += 1
    assert let_in == MIB // 4 // (KIB + ENTRY_BYTES)


async def test_what_was_refused_does_not_count() -> None:
    room = Room(info(79 * MIB, 100 * MIB))
    assert not await room.has(2 * MIB)
    assert await room.has(MIB - ENTRY_BYTES)


async def test_the_store_is_asked_once_a_second() -> None:
    room = Room(info(10 * MIB, 100 * MIB), info(90 * MIB, 100 * MIB))
    assert await room.has(KIB)
    room.now += 0.9
    assert await room.has(KIB)
    assert room.store.asked == 1
    room.now += 0.2
    assert not await room.has(KIB)
    assert room.store.asked == 2


async def test_many_at_once_ask_once() -> None:
    room = Room(info(10 * MIB, 100 * MIB))
    assert all(await asyncio.gather(*(room.has(KIB) for _ in range(100))))
    assert room.store.asked == 1


async def test_an_asking_that_is_cancelled_is_done_by_the_next() -> None:
    room = Room(info(10 * MIB, 100 * MIB))
    first = asyncio.create_task(room.has(KIB))
    await asyncio.sleep(0)
    second = asyncio.create_task(room.has(KIB))
    await asyncio.sleep(0)
    room.store.at_once = 0
    first.cancel()
    assert await second


@pytest.mark.parametrize("said", [AWAY, REFUSED, b"", b"used_memory:5\r\n", None, b"used_memory:x\r\nmaxmemory:0\r\n"])
async def test_a_store_that_does_not_say_has_no_room_until_it_does(said: Any) -> None:
    room = Room(said, info(10 * MIB, 100 * MIB))
    assert not await room.has(KIB)
    assert not await room.has(KIB)
    assert room.store.asked == 1
    room.now += 1.0
    assert await room.has(KIB)


async def test_a_store_that_never_says_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    room = Room(REFUSED)
    for _ in range(3):
        assert not await room.has(KIB)
        room.now += 1.0
    assert len(caplog.records) == 1
    assert "INFO" in caplog.text


async def test_a_store_that_is_away_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="app"):
        assert not await Room(AWAY).has(KIB)
    assert not caplog.records
