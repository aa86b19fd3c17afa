"""What a worker remembers of keys stays true: by the push, and by reading again when a push may have been lost."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from app.domain.auth import ApiKey
from app.errors import StateUnavailable
from app.state import connect, keys
from app.state.connection import StateConnection
from app.state.key_memory import KeyMemory
from app.state.key_pushes import KeyPushes
from app.state.pushes import PushListener
from tests.support.redis import RedisServer

TAG = "tag"
SECRET = hashlib.sha256(b"the key").digest()


class Worker:
    """The memory of one worker and what keeps it true."""

    def __init__(self, state: StateConnection, revalidate_s: float) -> None:
        self._memory = KeyMemory(now=time.time)
        self.pushes = KeyPushes(state, self._memory, now=time.time, revalidate_s=revalidate_s)

    def learn(self, *key_ids: str) -> None:
        for key_id in key_ids:
            key = ApiKey(id=key_id, tenant="acme", name="", secret_hash=SECRET.hex())
            self._memory.remember(TAG, key, asked_at=time.time())

    def knows(self, key_id: str) -> bool:
        return self._memory.recall(TAG, key_id, SECRET) is not None


@asynccontextmanager
async def running(state: StateConnection, *, revalidate_s: float = 30.0) -> AsyncIterator[Worker]:
    """A worker that hears, and has read the changes."""
    worker = Worker(state, revalidate_s)
    worker.learn("probe")
    tasks = [
        asyncio.create_task(PushListener(state, worker.pushes.ear).run()),
        asyncio.create_task(worker.pushes.keep_valid()),
    ]
    async with asyncio.timeout(5):
        while worker.knows("probe"):
            await state.call("PUBLISH", keys.PUSH_CHANNEL, f"key {TAG} probe")
            await asyncio.sleep(0.005)
    yield worker
    for task in tasks:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def until(condition: Callable[[], bool], limit_s: float = 5.0) -> float:
    started_at = time.monotonic()
    while not condition():
        assert time.monotonic() - started_at < limit_s, "it never came about"
        await asyncio.sleep(0.005)
    return time.monotonic() - started_at


def change(key_id: str, at: float) -> tuple[str | int, ...]:
    """A change that is kept, and not pushed."""
    return ("ZADD", keys.REVOKED, round(at * 1e6), f"{TAG} {key_id}")


async def test_a_pushed_change_is_forgotten_within_half_a_second(state: StateConnection) -> None:
    async with running(state) as worker:
        worker.learn("changed", "other")
        await state.call("PUBLISH", keys.PUSH_CHANNEL, f"key {TAG} changed")
        assert await until(lambda: not worker.knows("changed")) < 0.5
        assert worker.knows("other")


@pytest.mark.parametrize("message", [b"", b"key", b"key \xff", b"other tag id", b"key a b c"])
async def test_a_message_of_another_release_does_no_harm(state: StateConnection, message: bytes) -> None:
    async with running(state) as worker:
        worker.learn("changed", "other")
        await state.call("PUBLISH", keys.PUSH_CHANNEL, message)
        await state.call("PUBLISH", keys.PUSH_CHANNEL, f"key {TAG} changed")
        await until(lambda: not worker.knows("changed"))
        assert worker.knows("other")


async def test_a_change_whose_push_was_lost_is_found_by_the_next_reading(state: StateConnection) -> None:
    async with running(state, revalidate_s=0.1) as worker:
        worker.learn("changed", "other")
        await state.call(*change("changed", time.time()))
        await until(lambda: not worker.knows("changed"))
        assert worker.knows("other")


async def test_an_old_change_does_not_make_a_key_forgotten_again(state: StateConnection) -> None:
    worker = Worker(state, 30.0)
    await state.call(*change("changed", time.time() - 600))
    await worker.pushes.revalidate()
    worker.learn("changed")
    await worker.pushes.revalidate()
    assert worker.knows("changed")


async def test_a_change_dated_by_a_clock_that_is_behind_is_found(state: StateConnection) -> None:
    worker = Worker(state, 30.0)
    await worker.pushes.revalidate()
    worker.learn("changed")
    await state.call(*change("changed", time.time() - 50))
    await worker.pushes.revalidate()
    assert not worker.knows("changed")


async def test_what_changed_while_the_server_was_away_is_forgotten_when_it_is_back(server: RedisServer) -> None:
    state = connect(server.url)
    async with running(state) as worker:
        worker.learn("changed", "other")
        server.kill()
        await until(lambda: not state.available)
        assert worker.knows("changed")
        server.start()
        server.ask(*change("changed", time.time()))  # lost on its way, as nobody had subscribed again
        await until(lambda: not worker.knows("changed"))
        assert worker.knows("other")
    await state.close()


async def test_a_frozen_server_is_read_again_when_it_thaws(server: RedisServer) -> None:
    state = connect(server.url)
    async with running(state) as worker:
        worker.learn("changed")
        server.freeze()
        await asyncio.sleep(3.0)
        assert worker.knows("changed")
        with pytest.raises(StateUnavailable):
            await worker.pushes.revalidate()
        server.thaw()
        server.ask(*change("changed", time.time()))
        await until(lambda: not worker.knows("changed"))
    await state.close()
