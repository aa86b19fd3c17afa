"""A worker is killed, or told to leave, with 50 streams: its slots come back, and what it used is charged."""

from __future__ import annotations

import asyncio
import itertools
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import psutil
import pytest

from tests.support.bills import bill_of, cost_of
from tests.support.chat_wire import Wire, chat, post
from tests.support.redis import RedisServer, shared_server
from tests.support.replicas import MODEL, Client, Key, Replicas, running_replicas

__all__ = ["shared_server"]

STREAMS = 50
TOKENS_PER_SECOND = 20
#: Other streams, on the other worker, that nothing may happen to.
BYSTANDERS = 10

#: A lease lasts 12 s from its last renewal.
SLOTS_BACK_WITHIN_S = 15.0

LONG = f"[[sim: tokens_per_second={TOKENS_PER_SECOND} output_tokens=2000]]"


@pytest.fixture(scope="module")
def replicas(shared_server: RedisServer) -> Iterator[Replicas]:
    env = {"CLAUDE_WRAPPER_GRACEFUL_TIMEOUT_S": "3"}
    with running_replicas(shared_server, workers=2, env=env) as running:
        yield running


@asynccontextmanager
async def connections_of(worker: psutil.Process, port: int, count: int) -> AsyncIterator[list[Wire]]:
    """So many connections that this worker, and not another one of its gateway, has accepted."""
    wires: list[Wire] = []
    try:
        async with asyncio.timeout(20):
            while (owned := await asyncio.to_thread(accepted_by, worker, wires)) is None or len(owned) < count:
                wires += await asyncio.gather(*(Wire.open(port) for _ in range(count)))
        yield owned[:count]
    finally:
        for wire in wires:
            wire.reset()


def accepted_by(worker: psutil.Process, wires: list[Wire]) -> list[Wire]:
    """Those of some connections that this worker has accepted."""
    ports = {connection.raddr.port for connection in worker.net_connections("tcp4") if connection.raddr}
    return [wire for wire in wires if wire.writer.get_extra_info("sockname")[1] in ports]


async def begin_stream(wire: Wire, key: Key, prompt: str) -> None:
    """Asks for a stream over a connection, and waits for its first piece of text."""
    wire.send(post(chat(prompt, model=MODEL, stream=True), headers=f"authorization: Bearer {key.text}\r\n"))
    status, _ = await wire.head()
    assert status == 200
    await wire.reader.readuntil(b'"delta":{"content":')


async def hold(client: Client, port: int, key: Key, prompt: str, got_it: asyncio.Semaphore, end: asyncio.Event) -> None:
    """Tries until it is let in, tells so, and keeps its stream until the end."""
    while True:
        async with client.open_chat(port, key, prompt, stream=True) as reply:
            if reply.status == 200:
                got_it.release()
                await end.wait()
                return
            assert reply.status == 429
        await asyncio.sleep(0.2)


async def test_a_worker_that_is_killed_with_50_streams_gives_its_slots_back_within_15_s(replicas: Replicas) -> None:
    """Bound: 15 s until 50 others are let in by another replica. What the dead ones had reported is charged, once."""
    victim, survivor = replicas.workers(0)
    key = replicas.create_key("killed", concurrency=STREAMS, budget_total=100)
    bystander = replicas.create_key("killed")
    port, other_port = replicas.ports[:2]
    async with (
        connections_of(victim, port, STREAMS) as doomed,
        connections_of(survivor, port, BYSTANDERS) as spared,
        replicas.client() as client,
    ):
        whole = f"a bystander [[sim: tokens_per_second={TOKENS_PER_SECOND} output_tokens=400]]"
        await asyncio.gather(
            *(begin_stream(wire, key, f"doomed {LONG}") for wire in doomed),
            *(begin_stream(wire, bystander, whole) for wire in spared),
        )
        refused = await client.chat(other_port, key, "a slot too many")
        assert (refused.status, refused.headers["retry-after"]) == (429, "1")
        assert replicas.books.live(key.tag, key.id) == STREAMS
        await asyncio.sleep(6.0)  # every lease has been renewed, with a report

        victim.kill()
        killed_at = time.monotonic()
        got_it, end = asyncio.Semaphore(0), asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for _ in range(STREAMS):
                group.create_task(hold(client, other_port, key, f"successor {LONG}", got_it, end))
            for _ in range(STREAMS):
                await got_it.acquire()
            back_after_s = time.monotonic() - killed_at
            refused = await client.chat(other_port, key, "a slot too many")
            live = replicas.books.live(key.tag, key.id)
            dead = replicas.books.usage(key.tag, key.id)[MODEL]
            end.set()
        rest = await asyncio.gather(*(wire.reader.readuntil(b"0\r\n\r\n") for wire in spared))
    await replicas.settled(key)

    assert 4.0 < back_after_s < SLOTS_BACK_WITHIN_S
    assert (refused.status, live) == (429, STREAMS)
    assert all(b"data: [DONE]" in frames for frames in rest)
    # The dead are charged at their last report, marked; afterwards nothing is held.
    journal = replicas.simulator.journal()
    bill = bill_of(journal, "doomed")[MODEL]
    assert dead["requests"] == STREAMS
    assert dead["input"] == bill["input"]
    assert STREAMS * TOKENS_PER_SECOND * 2 < dead["output"] < bill["output"] * 1.1
    assert dead["estimated"] == dead["cost"] > 0
    used = replicas.books.usage(key.tag, key.id), replicas.books.usage(bystander.tag, bystander.id)
    assert used[0][MODEL]["requests"] == 2 * STREAMS
    assert used[1][MODEL]["cost"] == cost_of(bill_of(journal, "a bystander"))
    spend = replicas.books.spend(key.tag)
    assert (spend.total, spend.reserved) == (sum(map(cost_of, used)), 0)
    assert replicas.books.live(key.tag, key.id) == replicas.books.live(key.tag) == 0


async def test_a_gateway_that_is_told_to_leave_under_load_settles_everything_and_leaves_no_lease(
    replicas: Replicas,
) -> None:
    """50 streams, 20 plain calls and a steady flow of short ones when SIGTERM comes: the books are the invoice."""
    gateway = replicas.gateways[2]
    key = replicas.create_key("leaving", concurrency=1000, budget_total=100)
    statuses: Counter[int | str] = Counter()

    async def ask(tokens: int, *, stream: bool) -> None:
        prompt = f"leaving [[sim: tokens_per_second={TOKENS_PER_SECOND} output_tokens={tokens}]]"
        try:
            statuses[(await client.chat(gateway.port, key, prompt, stream=stream)).status] += 1
        except OSError:
            statuses["cut"] += 1

    async def keep_asking() -> None:
        for tokens in itertools.cycle((3, 6, 12)):
            if not gateway.process.is_running():
                return
            await ask(tokens, stream=False)

    async with replicas.client() as client, asyncio.TaskGroup() as group:
        for number in range(STREAMS + 20):
            group.create_task(ask(2000, stream=number < STREAMS))
        for _ in range(10):
            group.create_task(keep_asking())
        await asyncio.sleep(2.0)
        assert replicas.books.live(key.tag, key.id) >= STREAMS + 20
        gateway.process.send(signal.SIGTERM)
        assert await asyncio.to_thread(gateway.process.wait, within_s=30) == 0

    assert statuses[200] > STREAMS
    assert replicas.books.live(key.tag, key.id) == replicas.books.live(key.tag) == 0
    assert set(replicas.books.leases(key.tag)) == {"S"}
    replicas.simulator.settled_invoice()
    journal = replicas.simulator.journal()
    bill, used = bill_of(journal, "leaving")[MODEL], replicas.books.usage(key.tag, key.id)[MODEL]
    spend = replicas.books.spend(key.tag)
    assert (spend.total, spend.reserved) == (used["cost"], 0)
    assert used["requests"] == bill["calls"]
    assert used["cost"] == pytest.approx(bill["cost"], rel=0.1)
    assert used["cost"] - used["estimated"] == cost_of(bill_of(journal, "leaving", outcome="completed"))
