"""What happens when a connection that was kept for reuse turns out to be dead."""

from __future__ import annotations

import asyncio
import gc
import sys

import msgspec
import pytest

from app.domain.upstream import Upstream, UpstreamRequest
from app.errors import UpstreamUnreachable
from app.upstream.retries import RetryingUpstream
from tests.support.raw_upstream import Peer, keep_answering, raw_upstream

CALL = UpstreamRequest(path="/v1/messages", body=b"{}", headers={"anthropic-version": "2026-10-21"})


async def test_a_connection_closed_while_it_was_idle_is_not_used_again(open_lane):
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.reply(200)

    async with raw_upstream(script) as upstream:
        lane = open_lane(upstream.base_url)
        for _ in range(5):
            await (await lane.send(CALL)).read()
            await asyncio.sleep(0.01)
    assert len(upstream.peers) == 5


class WarmedThenDead:
    """A server that answers the first request of each connection, and closes at the second once it has read it.

    So does a server that restarts, and one whose idle time ends as a request arrives.
    """

    def __init__(self, *, warm: int, end: str = "close") -> None:
        self.warm = warm
        self.end = end
        self.requests = 0
        self._all_warm = asyncio.Barrier(warm)

    async def __call__(self, peer: Peer) -> None:
        await self._request(peer)
        if peer.number < self.warm:
            await self._all_warm.wait()
        peer.reply(200, b"%d" % peer.number)
        await self._request(peer)
        getattr(peer, self.end)()

    async def _request(self, peer: Peer) -> None:
        await peer.request()
        self.requests += 1


async def warmed_up(lane: Upstream, count: int) -> Upstream:
    """The lane with that many idle connections."""
    replies = await asyncio.gather(*(lane.send(CALL) for _ in range(count)))
    for reply in replies:
        await reply.read()
    return lane


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize("end", ["close", "reset"])
async def test_a_lane_sends_once_also_on_a_kept_connection_that_dies(open_lane, end, method):
    server = WarmedThenDead(warm=3, end=end)
    async with raw_upstream(server) as upstream:
        lane = await warmed_up(open_lane(upstream.base_url), 3)
        with pytest.raises(UpstreamUnreachable) as raised:
            await lane.send(msgspec.structs.replace(CALL, method=method))
    assert (raised.value.sent, raised.value.kept) == (True, True)
    assert server.requests == 3 + 1


@pytest.mark.parametrize("end", ["close", "reset"])
async def test_the_call_after_a_dead_kept_connection_gets_a_fresh_one(open_lane, end):
    async with raw_upstream(WarmedThenDead(warm=3, end=end)) as upstream:
        lane = await warmed_up(open_lane(upstream.base_url), 3)
        with pytest.raises(UpstreamUnreachable):
            await lane.send(CALL)
        # All three kept connections are dead; a call must not try them one after the other.
        assert await (await lane.send(CALL)).read() == b"3"
    assert len(upstream.peers) == 4


@pytest.mark.parametrize("retries", [0, 1, 3])
async def test_no_call_is_sent_more_often_than_the_retries_allow(open_lane, retries):
    server = WarmedThenDead(warm=4)
    async with raw_upstream(server) as upstream:
        lane = await warmed_up(open_lane(upstream.base_url), 4)
        retrying = RetryingUpstream(lane, retries, sleep=never)
        if retries == 0:
            with pytest.raises(UpstreamUnreachable):
                await retrying.send(CALL)
        else:
            reply = await retrying.send(CALL)
            assert (await reply.read(), reply.attempts) == (b"4", 2)
    assert server.requests == 4 + min(1 + retries, 2)


async def test_a_fresh_call_takes_no_kept_connection(open_lane):
    async with raw_upstream(WarmedThenDead(warm=3)) as upstream:
        lane = await warmed_up(open_lane(upstream.base_url), 3)
        assert await (await lane.send(msgspec.structs.replace(CALL, fresh=True))).read() == b"3"


async def test_a_dead_kept_connection_leaves_those_in_use_alone(open_lane):
    async def script(peer: Peer) -> None:
        await peer.request()
        await both_used.wait()
        if peer.number == 0:
            peer.reply(200)
            await peer.request()
            peer.close()
        else:
            peer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfi")
            await ended.wait()
            peer.write(b"rst")

    both_used, ended = asyncio.Barrier(2), asyncio.Event()
    async with raw_upstream(script) as upstream:
        lane = open_lane(upstream.base_url)
        first, running = await asyncio.gather(lane.send(CALL), lane.send(CALL))
        if first.headers["content-length"] != "2":
            first, running = running, first
        await first.read()
        with pytest.raises(UpstreamUnreachable):
            await lane.send(CALL)
        ended.set()
        assert await running.read() == b"first"


async def never(seconds: float) -> None:
    """Stands for a sleep that must not be."""
    assert seconds == 0, "the retry of a dead kept connection does not wait"


async def test_a_fresh_connection_that_dies_is_an_error(open_lane):
    async def script(peer: Peer) -> None:
        await peer.request()

    async with raw_upstream(script) as upstream:
        with pytest.raises(UpstreamUnreachable) as raised:
            await open_lane(upstream.base_url).send(CALL)
    assert (raised.value.sent, raised.value.kept) == (True, False)
    assert len(upstream.peers) == 1


async def test_a_reply_that_began_is_never_repeated(open_lane):
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.reply(200)
        await peer.request()
        peer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhal")

    async with raw_upstream(script) as upstream:
        lane = open_lane(upstream.base_url)
        await (await lane.send(CALL)).read()
        reply = await lane.send(CALL)
        with pytest.raises(UpstreamUnreachable):
            await reply.read()
    assert len(upstream.peers) == 1


async def test_bytes_after_a_reply_never_become_the_next_reply(open_lane):
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.reply(200, b"first")
        peer.reply(200, b"smuggled")
        await peer.request()
        peer.reply(200, b"wrong connection")

    async def serve(peer: Peer) -> None:
        if peer.number == 0:
            await script(peer)
        else:
            await peer.request()
            peer.reply(200, b"second")

    async with raw_upstream(serve) as upstream:
        lane = open_lane(upstream.base_url)
        assert await (await lane.send(CALL)).read() == b"first"
        await asyncio.sleep(0.02)
        assert await (await lane.send(CALL)).read() == b"second"


@pytest.mark.asyncio(loop_factories=["uvloop"])
async def test_ten_thousand_calls_leave_no_memory_behind(open_lane):
    async with raw_upstream(keep_answering) as upstream:
        lane = open_lane(upstream.base_url)

        async def calls(count: int) -> None:
            for _ in range(count):
                await (await lane.send(CALL)).read()

        async def blocks_after(count: int) -> int:
            await asyncio.gather(*(calls(count // 20) for _ in range(20)))
            gc.collect()
            return sys.getallocatedblocks()

        before = await blocks_after(1000)
        after = await blocks_after(10_000)
    # One block kept per call would be 10,000 of them.
    assert after - before < 1000
