"""Wrong keys by client address on both stores: one count over all workers, and its window."""

from __future__ import annotations

import asyncio
import time

from app.state import connect, keys
from app.state.connection import StateConnection
from app.state.guesses import GuessBook
from tests.support.redis import RedisServer

GROUP = "203.0.113.5"


async def test_workers_count_together(state: StateConnection) -> None:
    one, other = (GuessBook(state, per_minute=4) for _ in range(2))
    blocked = [await book.wrong(GROUP, 0.0) > 0 for book in (one, other) * 3]
    assert blocked == [False, False, False, True, True, True]


async def test_the_window_is_counted_from_the_first_guess(state: StateConnection) -> None:
    book = GuessBook(state, per_minute=1)
    await book.wrong(GROUP, 0.0)
    await state.call("EXPIRE", keys.guesses(GROUP), 10)
    assert 0 < await book.wrong(GROUP, 0.0) <= 10
    assert 0 < await state.call("TTL", keys.guesses(GROUP)) <= 10


async def test_a_window_that_ended_in_the_store_frees_the_group(state: StateConnection) -> None:
    book = GuessBook(state, per_minute=2)
    await book.wrong(GROUP, 0.0)
    await state.call("PEXPIRE", keys.guesses(GROUP), 1)
    deadline = time.monotonic() + 5
    while await state.call("EXISTS", keys.guesses(GROUP)):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    assert await book.wrong(GROUP, 0.0) == 0


async def test_a_count_without_a_time_to_live_gets_one(state: StateConnection) -> None:
    await state.call("SET", keys.guesses(GROUP), 5)
    await GuessBook(state, per_minute=1).wrong(GROUP, 0.0)
    assert 0 < await state.call("TTL", keys.guesses(GROUP)) <= keys.GUESSES_TTL_S


async def test_no_guess_of_several_replicas_at_once_is_lost(server: RedisServer) -> None:
    replicas = [connect(server.url, timeout_s=5.0) for _ in range(4)]
    books = [GuessBook(replica, per_minute=50) for replica in replicas]
    blocked = await asyncio.gather(*(book.wrong(GROUP, 0.0) for book in books * 15))
    assert sum(seconds > 0 for seconds in blocked) == 11
    assert await replicas[0].call("GET", keys.guesses(GROUP)) == b"60"
    await asyncio.gather(*(replica.close() for replica in replicas))


async def test_guessing_stays_slowed_when_the_server_dies(server: RedisServer) -> None:
    state = connect(server.url, timeout_s=1.0)
    book = GuessBook(state, per_minute=2)
    await book.wrong(GROUP, 0.0)
    server.kill()
    assert [await book.wrong(GROUP, 0.0) > 0 for _ in range(3)] == [True, True, True]
    await state.close()
