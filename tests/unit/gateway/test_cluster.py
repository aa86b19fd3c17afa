"""What all replicas share, as one process knows it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from app.domain import minutes
from app.errors import StateError
from app.gateway.cluster import RETRY_S, SAMPLE_EVERY_S, ClusterBook, ClusterSample, memory_shares, peaks_of
from app.state import connect, keys
from app.state.connection import StateConnection, StoreStatus
from app.state.figures import WorkerFigures
from app.state.store_memory import StoreMemory
from app.state.watched import seated_commands
from tests.support.services import StateAway

SAMPLE = ClusterSample(
    sessions=7,
    fullest_sessions=5,
    fullest_tag="a",
    max_sessions=10,
    tenants=2,
    store_memory=StoreMemory(used_bytes=750, most_bytes=1000),
)


class FullServer:
    """A store like a server that says how full it is, or does not let us ask.

    Args:
        state: keeps everything else.
        says: to ``INFO memory``.
    """

    status = StoreStatus(kind="redis", available=True, connected=True)

    def __init__(self, state: StateConnection, says: bytes | StateError) -> None:
        self._state = state
        self._says = says
        self.asked = 0
        self.pipeline = state.pipeline

    async def call(self, *words: Any, large: bool = False) -> Any:
        if words != ("INFO", "memory"):
            return await self._state.call(*words, large=large)
        self.asked += 1
        if isinstance(self._says, StateError):
            raise self._says
        return self._says


@pytest.fixture
async def state() -> AsyncIterator[StateConnection]:
    connection = connect("memory://")
    yield connection
    await connection.close()


class Store:
    """A store that can go away and come back.

    Args:
        state: the store that is asked.
    """

    def __init__(self, state: StateConnection) -> None:
        self.state = state

    def __getattr__(self, name: str) -> Any:
        return getattr(self.state, name)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def book_of(state: object, clock: Clock | None = None) -> ClusterBook:
    return ClusterBook(cast("StateConnection", state), max_sessions=10, monotonic=clock or Clock())


async def seat(state: StateConnection, tag: str, sessions: int) -> None:
    expiry_us = int((time.time() + 3600) * 1e6)
    for number in range(sessions):
        await state.call("ZADD", keys.sessions(tag), expiry_us, f"key1 s{number}")
    await state.pipeline(seated_commands([tag], time.time()))


def worker(host: str, **figures: Any) -> WorkerFigures:
    return WorkerFigures(worker_id=f"{host}{figures}", host=host, pid=1, started_at=1.0, version="1.0", **figures)


async def test_sessions_of_all_tenants_and_of_the_fullest(state: StateConnection) -> None:
    await seat(state, "a", 2)
    await seat(state, "b", 5)
    sample = await book_of(state).sample()
    assert sample is not None
    assert (sample.sessions, sample.fullest_sessions, sample.fullest_tag, sample.tenants) == (7, 5, "b", 2)
    assert sample.sessions_share == 0.5
    assert sample.store_memory is None


async def test_without_any_session_nobody_is_full(state: StateConnection) -> None:
    sample = await book_of(state).sample()
    assert sample is not None
    assert (sample.sessions, sample.fullest_tag, sample.sessions_share) == (0, "", 0.0)


async def test_the_memory_of_a_server_is_among_it(state: StateConnection) -> None:
    sample = await book_of(FullServer(state, b"used_memory:750\r\nmaxmemory:1000\r\n")).sample()
    assert sample is not None
    assert sample.store_memory == StoreMemory(used_bytes=750, most_bytes=1000)


async def test_a_server_that_does_not_say_how_full_it_is_still_tells_its_sessions(state: StateConnection) -> None:
    await seat(state, "a", 2)
    sample = await book_of(FullServer(state, StateError("The state store does not let its user do this."))).sample()
    assert sample is not None
    assert (sample.sessions, sample.store_memory) == (2, None)


async def test_a_sample_counts_for_ten_seconds_however_many_ask(state: StateConnection) -> None:
    server, clock = FullServer(state, b"used_memory:750\r\nmaxmemory:1000\r\n"), Clock()
    book = book_of(server, clock)
    first = await asyncio.gather(*(book.sample() for _ in range(20)))
    assert server.asked == 1
    assert len(set(map(id, first))) == 1
    clock.now += SAMPLE_EVERY_S - 1
    await book.sample()
    assert server.asked == 1
    clock.now += 1
    await book.sample()
    assert server.asked == 2


async def test_while_the_store_is_away_there_is_none_and_it_is_asked_again_soon(state: StateConnection) -> None:
    store, clock = Store(StateAway()), Clock()
    book = book_of(store, clock)
    assert await book.sample() is None
    store.state = state
    assert await book.sample() is None
    clock.now += RETRY_S
    assert await book.sample() is not None


def test_the_memory_of_a_host_is_that_of_its_workers_together() -> None:
    workers = [
        worker("a", rss_bytes=100, memory_limit_bytes=1000),
        worker("a", rss_bytes=200, memory_limit_bytes=1000),
        worker("b", rss_bytes=10, memory_limit_bytes=100),
        worker("of an older release", rss_bytes=10),
    ]
    assert memory_shares(workers) == {"a": 0.3, "b": 0.1}


def test_peaks_are_counts_and_thousandths() -> None:
    workers = [worker("a", rss_bytes=100, memory_limit_bytes=1000), worker("b", rss_bytes=3, memory_limit_bytes=9)]
    assert peaks_of(SAMPLE, workers) == {
        minutes.REPLICAS: 2,
        minutes.MEMORY_SHARE: 333,
        minutes.SESSIONS_LIVE: 7,
        minutes.SESSIONS_SHARE: 500,
        minutes.STORE_MEMORY_SHARE: 750,
    }


def test_what_is_not_known_is_no_peak() -> None:
    assert peaks_of(None, [worker("a")]) == {minutes.REPLICAS: 1}
    no_bound = ClusterSample(
        sessions=0, fullest_sessions=0, fullest_tag="", max_sessions=10, tenants=0, store_memory=None
    )
    assert minutes.STORE_MEMORY_SHARE not in peaks_of(no_bound, [])
