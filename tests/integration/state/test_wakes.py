"""Wakes between workers: from a flight that lands on one of them to a request that waits on another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.state import connect, keys
from app.state.answers import Follow, Hit, Join, Lead, Slot, join_flight, land_flight, read_join
from app.state.connection import StateConnection
from app.state.key_memory import KeyMemory
from app.state.key_pushes import KeyPushes
from app.state.pushes import PushListener
from app.state.wakes import Wakes
from tests.integration.state.test_pushes import until
from tests.support.redis import RedisServer

SLOT = Slot("answer", "tag", "ab12")
LONG_S = 20.0


@asynccontextmanager
async def listening(state: StateConnection, worker_id: str) -> AsyncIterator[Wakes]:
    """The wakes of a worker that has subscribed."""
    wakes = Wakes(worker_id)
    task = asyncio.create_task(PushListener(state, wakes.ear).run())
    with wakes.expect("subscribed") as wake:
        assert await wake.wait(LONG_S)
    yield wakes
    task.cancel()
    await asyncio.wait([task])


@asynccontextmanager
async def worker(url: str, worker_id: str) -> AsyncIterator[tuple[StateConnection, Wakes]]:
    state = connect(url, timeout_s=5.0)
    async with listening(state, worker_id) as wakes:
        yield state, wakes
    await state.close()


async def join(state: StateConnection, request_id: str, channel: str) -> Join:
    call = join_flight(SLOT, request_id, channel=channel, fingerprint=b"", max_age_s=None)
    (reply,) = await state.pipeline([call])
    return read_join(reply)


async def land(state: StateConnection, leader: str, value: bytes | None) -> None:
    await land_flight(state, SLOT, leader, value=value, fingerprint=b"", ttl_s=60)


async def answered(state: StateConnection, wakes: Wakes, request_id: str) -> Join:
    """What a follower has in the end: it waits for as long as somebody else leads."""
    with wakes.expect(SLOT.digest) as wake:
        while isinstance(joined := await join(state, request_id, wakes.channel), Follow):
            assert await wake.wait(LONG_S)
    return joined


async def test_a_wake_is_heard_on_both_stores(state: StateConnection) -> None:
    async with listening(state, "w1") as wakes:
        with wakes.expect("a") as wake:
            await state.call("PUBLISH", wakes.channel, "wake a")
            assert await wake.wait(LONG_S)
            await state.call("PUBLISH", keys.wake_channel("w2"), "wake a")
            assert not await wake.wait(0.05)


async def test_followers_on_other_workers_have_the_answer_when_it_lands(server: RedisServer) -> None:
    async with worker(server.url, "w1") as (one, first), worker(server.url, "w2") as (two, second):
        assert await join(one, "leader", first.channel) == Lead()
        followers = [
            asyncio.create_task(answered(state, wakes, f"f{number}-{wakes.channel}"))
            for state, wakes in ((one, first), (two, second))
            for number in range(50)
        ]
        await until(lambda: len(waiting(server)) == 2)
        await land(one, "leader", b"answer")
        async with asyncio.timeout(LONG_S):
            joined = await asyncio.gather(*followers)
        assert all(isinstance(one, Hit) and one.value == b"answer" for one in joined)


def waiting(server: RedisServer) -> list[bytes]:
    """The channels on which somebody waits for the flight."""
    fields = server.ask("HKEYS", SLOT.flight_key)
    assert isinstance(fields, list)
    return [field for field in fields if field.startswith(b"wake ")]


async def test_when_a_leader_gives_up_one_of_its_followers_leads_at_a_time(server: RedisServer) -> None:
    async with worker(server.url, "w1") as (one, first), worker(server.url, "w2") as (two, second):
        assert await join(one, "leader", first.channel) == Lead()
        led: list[str] = []

        async def try_and_fail(state: StateConnection, wakes: Wakes, request_id: str) -> None:
            assert await answered(state, wakes, request_id) == Lead()
            led.append(request_id)
            await asyncio.sleep(0)
            assert led[-1] == request_id
            await land(state, request_id, None)

        followers = [
            asyncio.create_task(try_and_fail(state, wakes, f"f{number}-{wakes.channel}"))
            for state, wakes in ((one, first), (two, second))
            for number in range(10)
        ]
        await until(lambda: len(waiting(server)) == 2)
        await land(one, "leader", None)
        async with asyncio.timeout(LONG_S):
            await asyncio.gather(*followers)
        assert len(set(led)) == 20


async def test_a_wake_that_was_lost_with_the_subscription_is_made_good(server: RedisServer) -> None:
    async with worker(server.url, "w1") as (_, wakes):
        with wakes.expect("a") as wake:
            server.ask("CLIENT", "KILL", "TYPE", "pubsub")
            server.ask("PUBLISH", wakes.channel, "wake a")  # perhaps nobody hears it
            assert await wake.wait(LONG_S)


async def test_keys_and_wakes_are_heard_over_one_connection(server: RedisServer) -> None:
    state = connect(server.url, timeout_s=5.0)
    wakes, pushes = Wakes("w1"), KeyPushes(state, KeyMemory(now=lambda: 0.0), now=lambda: 0.0)
    task = asyncio.create_task(PushListener(state, pushes.ear, wakes.ear).run())
    with wakes.expect("a") as wake:
        assert await wake.wait(LONG_S)
        assert str(server.ask("CLIENT", "LIST", "TYPE", "pubsub")).count("sub=2") == 1
        assert server.ask("PUBLISH", keys.PUSH_CHANNEL, "key tag id") == 1
        assert server.ask("PUBLISH", wakes.channel, "wake a") == 1
        assert await wake.wait(LONG_S)
    task.cancel()
    await asyncio.wait([task])
    await state.close()
