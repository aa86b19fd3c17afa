"""One round trip to Redis before a call of Claude and one after it, counted by Redis itself.

At concurrency 1 the server reads from a connection once for each round trip (``total_reads_processed``). What a worker
does beside its requests is known and taken off: a ping a second on the subscription, its report every 5 s, and the
changes of keys every 30 s.
"""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, cast

import hiredis
import pytest

from tests.support.redis import RedisServer, RedisServers
from tests.support.replicas import Client, Key, Replicas, keys_toml, running_replicas

REQUESTS = 200

#: A report with 200 request records, some 140 kB, is read in pieces of 16 KB.
REPORT_READS = 12

#: Everything that a key can be limited by, so high that nothing is refused.
HIGH_LIMITS: dict[str, Any] = {
    "requests_per_minute": 1_000_000,
    "input_tokens_per_minute": 10_000_000,
    "output_tokens_per_minute": 10_000_000,
    "concurrency": 100,
    "budget_day": 1000,
    "budget_month": 1000,
    "budget_total": 1000,
}


@pytest.fixture(scope="module")
def replicas() -> Iterator[Replicas]:
    servers = RedisServers()
    with running_replicas(servers(), count=1, tenants={"counted": HIGH_LIMITS}) as running:
        time.sleep(2.0)  # what a worker asks at its start is no part of any count
        yield running
    servers.end()


class Reads:
    """Counts what a server has read from its clients, over one connection of its own.

    Args:
        server: the server.
    """

    def __init__(self, server: RedisServer) -> None:
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(str(server.socket_file))
        self._reader = hiredis.Reader()
        self._asked = 0

    def count(self) -> int:
        """Reads so far, without those of these questions."""
        self._connection.sendall(hiredis.pack_command(("INFO", "stats")))
        while (reply := self._reader.gets()) is False:
            self._reader.feed(self._connection.recv(65536))
        self._asked += 1
        found = re.search(rb"total_reads_processed:(\d+)", cast("bytes", reply))
        assert found is not None
        return int(found[1]) - self._asked

    def close(self) -> None:
        """Ends the connection."""
        self._connection.close()


def in_background(seconds: float) -> int:
    """The most reads that one worker causes beside its requests in so many seconds."""
    reads = {1.0: 1, 5.0: REPORT_READS, 30.0: 1}
    return sum((int(seconds / every_s) + 1) * most for every_s, most in reads.items())


class Counted:
    """The reads of a time; ``of_requests`` are those that the background does not explain."""

    def __init__(self) -> None:
        self.of_requests = 0
        self.all = 0


@asynccontextmanager
async def counted(replicas: Replicas) -> AsyncIterator[Counted]:
    """Counts the reads until the block ends, with those of its last settlement."""
    await asyncio.sleep(0.2)
    reads, result = Reads(replicas.server), Counted()
    before, began = reads.count(), time.monotonic()
    try:
        yield result
        await asyncio.sleep(0.2)
        result.all = reads.count() - before
        result.of_requests = result.all - in_background(time.monotonic() - began)
    finally:
        reads.close()


async def ask(replicas: Replicas, client: Client, key: Key, *, status: int, **fields: Any) -> None:
    """One request after the other, all with this status."""
    for number in range(REQUESTS):
        answer = await client.chat(replicas.ports[0], key, f"round trip {number} [[sim: output_tokens=5]]", **fields)
        assert answer.status == status, answer.body


async def test_without_requests_a_worker_asks_no_more_than_is_taken_off_below(replicas: Replicas) -> None:
    """At most a ping a second, its report every 5 s and the changes of keys every 30 s."""
    async with counted(replicas) as reads:
        await asyncio.sleep(6.0)
    assert reads.of_requests <= 0
    assert reads.all > 0


@pytest.mark.parametrize(
    "fields", [{}, {"stream": True}, {"n": 2}, {"max_tokens": 30_000}], ids=["plain", "stream", "two answers", "large"]
)
@pytest.mark.parametrize("stored", [True, False], ids=["stored key", "key of the keys file"])
async def test_a_request_takes_at_most_two_round_trips(
    replicas: Replicas, stored: bool, fields: dict[str, Any]
) -> None:
    """2 a request, over 200 requests under every limit there is: rates, concurrency and budgets of key and tenant.

    Once, a server has to be sent each script whole, which takes a round trip more; a request before brings that about.
    """
    if stored:
        key = replicas.create_key("counted", **HIGH_LIMITS)
    else:
        key = Key("a-key-of-the-keys-file-0123456789", "counted", "", "")
        replicas.keys_file.write_text(keys_toml({"counted": HIGH_LIMITS}, {key.text: key.tenant}))
        await asyncio.sleep(2.0)  # it is looked at once a second
    async with replicas.client() as client:
        assert (await client.chat(replicas.ports[0], key, "the first one", **fields)).status == 200
        async with counted(replicas) as reads:
            await ask(replicas, client, key, status=200, **fields)
    assert REQUESTS < reads.of_requests <= 2 * REQUESTS


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("limits", [{"requests_per_minute": 1}, {"budget_total": 0}], ids=["rate", "budget"])
async def test_a_refused_request_takes_at_most_one_round_trip(
    replicas: Replicas, limits: dict[str, Any], stream: bool
) -> None:
    """1 a request, over 200 requests."""
    key = replicas.create_key("refused", **limits)
    async with replicas.client() as client:
        await client.chat(replicas.ports[0], key, "the first one")
        async with counted(replicas) as reads:
            await ask(replicas, client, key, status=429, stream=stream)
    assert REQUESTS / 2 < reads.of_requests <= REQUESTS


async def test_a_request_that_makes_no_sense_takes_none(replicas: Replicas) -> None:
    """0 a request, over 200 requests: what is wrong is found before Redis is asked."""
    key = replicas.create_key("senseless")
    async with replicas.client() as client, counted(replicas) as reads:
        await ask(replicas, client, key, status=400, max_tokens=-1)
    assert reads.of_requests <= 0
