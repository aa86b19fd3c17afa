"""Figures and secret on both stores: what only a server's clock and a second connection can show."""

from __future__ import annotations

import asyncio
import time

from app.state import connect, keys
from app.state.connection import StateConnection
from app.state.figures import WorkerFigures, read_all, withdraw
from app.state.secret import shared_secret
from tests.support.redis import RedisServer
from tests.support.worker_figures import publish


def figures(worker_id: str) -> WorkerFigures:
    return WorkerFigures(worker_id=worker_id, host="host", pid=1, started_at=1.0, version="1.0")


async def test_what_is_published_is_read(state: StateConnection) -> None:
    await publish(state, figures("a"))
    await publish(state, figures("b"))
    assert await read_all(state) == [figures("a"), figures("b")]


async def test_a_worker_that_stops_publishing_disappears(state: StateConnection) -> None:
    await publish(state, figures("killed"))
    await publish(state, figures("alive"))
    await state.call("PEXPIRE", keys.worker("killed"), 1)
    deadline = time.monotonic() + 5
    while await read_all(state) != [figures("alive")]:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_a_withdrawn_worker_is_gone(state: StateConnection) -> None:
    await publish(state, figures("a"))
    await withdraw(state, "a")
    assert await read_all(state) == []


async def test_every_key_has_a_time_to_live(state: StateConnection) -> None:
    await publish(state, figures("a"))
    await shared_secret(state)
    names = await state.call("KEYS", "*")
    assert {keys.worker("a").encode(), keys.WORKERS.encode(), keys.SECRET.encode()} <= set(names)
    assert all([await state.call("TTL", name) > 0 for name in names])


async def test_replicas_see_each_others_workers_and_share_the_secret(server: RedisServer) -> None:
    replicas = [connect(server.url, timeout_s=5.0) for _ in range(4)]
    await asyncio.gather(*(publish(replica, figures(str(number))) for number, replica in enumerate(replicas)))
    assert [len(await read_all(replica)) for replica in replicas] == [4, 4, 4, 4]
    assert len(set(await asyncio.gather(*(shared_secret(replica) for replica in replicas)))) == 1
    await asyncio.gather(*(replica.close() for replica in replicas))
