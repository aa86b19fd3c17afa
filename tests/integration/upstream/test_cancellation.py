"""Cancelling closes the upstream connection at once, in every phase of a call, and leaks nothing."""

from __future__ import annotations

import asyncio
import gc
import socket

import psutil
import pytest

from app.domain.upstream import UpstreamRequest
from app.errors import Overloaded, ShuttingDown, UpstreamError, UpstreamUnreachable
from tests.support.raw_upstream import Peer, keep_answering, raw_upstream

CALL = UpstreamRequest(path="/v1/messages", body=b"{}", headers={"anthropic-version": "2026-10-21"})

AT_ONCE_S = 0.1


class Departure:
    """When the server's peer went away."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.gone = asyncio.Event()

    async def watch(self, peer: Peer) -> None:
        self.reached.set()
        await peer.gone()
        self.gone.set()

    async def follows(self) -> None:
        async with asyncio.timeout(AT_ONCE_S):
            await self.gone.wait()


async def cancel(task: asyncio.Task[object]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_while_waiting_for_the_headers(open_lane):
    departure = Departure()

    async def script(peer: Peer) -> None:
        await peer.request()
        await departure.watch(peer)

    async with raw_upstream(script) as upstream:
        call = asyncio.create_task(open_lane(upstream.base_url).send(CALL))
        await departure.reached.wait()
        await cancel(call)
        await departure.follows()


async def test_inside_the_headers(open_lane):
    departure = Departure()

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.write(b"HTTP/1.1 200 OK\r\ncontent-")
        await asyncio.sleep(0.02)
        await departure.watch(peer)

    async with raw_upstream(script) as upstream:
        call = asyncio.create_task(open_lane(upstream.base_url).send(CALL))
        await departure.reached.wait()
        await cancel(call)
        await departure.follows()


def sockets_to(base_url: str) -> int:
    """Sockets of this process that are connected to the server's port."""
    port = int(base_url.rpartition(":")[2])
    connections = psutil.Process().net_connections("tcp")
    return sum(1 for one in connections if one.raddr and one.raddr.port == port and one.fd != -1)


@pytest.mark.parametrize("body_bytes", [1_000_000, 30_000_000], ids=["in_one_piece", "in_pieces"])
async def test_while_sending_a_body_nobody_reads(open_lane, body_bytes):
    stalled = asyncio.Event()
    large = UpstreamRequest(path="/v1/messages", body=b"x" * body_bytes, headers=CALL.headers)

    async def script(peer: Peer) -> None:
        peer.writer.transport.pause_reading()
        stalled.set()
        await asyncio.sleep(60)

    async with raw_upstream(script) as upstream:
        call = asyncio.create_task(open_lane(upstream.base_url).send(large))
        await stalled.wait()
        await asyncio.sleep(0.1)
        assert sockets_to(upstream.base_url) == 1
        await cancel(call)
        # What this process has buffered will never be taken; waiting for that would keep the socket for ever.
        await asyncio.sleep(AT_ONCE_S / 2)
        assert sockets_to(upstream.base_url) == 0


async def test_while_connecting(open_lane):
    # A server that never accepts, with its queue full: the kernel leaves further connections without an answer.
    listener = socket.create_server(("127.0.0.1", 0), backlog=0)
    address = listener.getsockname()
    loop = asyncio.get_running_loop()
    fillers = []
    for _ in range(4):
        filler = socket.socket()
        filler.setblocking(False)
        fillers.append((filler, asyncio.create_task(loop.sock_connect(filler, address))))
    await asyncio.sleep(0.05)
    try:
        lane = open_lane(f"http://127.0.0.1:{address[1]}", max_connections=1, pool_wait_s=0)
        call = asyncio.create_task(lane.send(CALL))
        await asyncio.sleep(0.05)
        assert not call.done()
        began = loop.time()
        await cancel(call)
        assert loop.time() - began < AT_ONCE_S
        second = asyncio.create_task(lane.send(CALL))  # the slot is free again
        await asyncio.sleep(0.05)
        assert not second.done()
        await cancel(second)
    finally:
        for filler, connecting in fillers:
            connecting.cancel()
            filler.close()
        await asyncio.gather(*(connecting for _, connecting in fillers), return_exceptions=True)
        listener.close()


@pytest.mark.parametrize("read", ["chunks", "read"])
async def test_between_chunks(open_lane, read):
    departure = Departure()

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        peer.chunk(b"data: 1\n\n")
        await departure.watch(peer)

    async def consume() -> None:
        reply = await lane.send(CALL)
        if read == "read":
            await reply.read()
        async for _ in reply.chunks():
            first.set()

    async with raw_upstream(script) as upstream:
        lane = open_lane(upstream.base_url)
        first = asyncio.Event()
        call = asyncio.create_task(consume())
        await departure.reached.wait()
        if read == "chunks":
            await first.wait()
        await cancel(call)
        await departure.follows()


async def test_closing_a_reply_early_closes_its_connection(open_lane):
    departure = Departure()

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nfirst")
        await departure.watch(peer)

    async with raw_upstream(script) as upstream:
        reply = await open_lane(upstream.base_url).send(CALL)
        await reply.close()
        await reply.close()
        await departure.follows()


async def test_a_reply_that_was_lost_gives_its_connection_back(open_lane):
    departure = Departure()

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nfirst")
        await departure.watch(peer)

    async with raw_upstream(script) as upstream:
        lane = open_lane(upstream.base_url, max_connections=1, pool_wait_s=0)
        for _ in range(3):
            reply = await lane.send(CALL)
            del reply
            gc.collect()
        await departure.follows()


async def test_closing_an_unread_but_complete_reply_keeps_its_connection(open_lane):
    async with raw_upstream(keep_answering) as upstream:
        lane = open_lane(upstream.base_url)
        for _ in range(3):
            await (await lane.send(CALL)).close()
        await (await lane.send(CALL)).read()
    assert len(upstream.peers) == 1


async def test_while_waiting_for_a_free_connection(open_lane):
    release = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await release.wait()
        peer.reply(200)
        await keep_answering(peer)

    async with raw_upstream(script) as upstream:
        lane = open_lane(upstream.base_url, max_connections=1)
        first = asyncio.create_task(lane.send(CALL))
        await asyncio.sleep(0.05)
        waiting = [asyncio.create_task(lane.send(CALL)) for _ in range(5)]
        await asyncio.sleep(0.02)
        for call in waiting[:4]:
            await cancel(call)
        release.set()
        await (await first).read()
        await (await waiting[4]).read()
        await (await lane.send(CALL)).read()
    assert len(upstream.peers) == 1


async def test_cancelled_calls_give_their_connections_back(open_lane):
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.gone()

    async with raw_upstream(script) as upstream:
        lane = open_lane(upstream.base_url, max_connections=4, pool_wait_s=0.01)
        for _ in range(20):
            calls = [asyncio.create_task(lane.send(CALL)) for _ in range(4)]
            await asyncio.sleep(0.01)
            with pytest.raises(Overloaded):
                await lane.send(CALL)
            for call in calls:
                await cancel(call)


async def test_closing_the_lane_ends_calls_in_every_phase(open_lane):
    async def script(peer: Peer) -> None:
        await peer.request()
        if peer.number == 0:
            peer.write(b"HTTP/1.1 200 OK\r\n\r\nfirst")
        await peer.gone()

    async with raw_upstream(script) as upstream:
        lane = open_lane(upstream.base_url, max_connections=2)
        reading = await lane.send(CALL)
        answered = asyncio.create_task(reading.read())
        unanswered = asyncio.create_task(lane.send(CALL))
        await asyncio.sleep(0.05)
        waiting = asyncio.create_task(lane.send(CALL))
        await asyncio.sleep(0.05)
        async with asyncio.timeout(1):
            await lane.close()
            with pytest.raises(UpstreamUnreachable):
                await answered
            with pytest.raises((ShuttingDown, UpstreamError)):
                await unanswered
            with pytest.raises(ShuttingDown):
                await waiting
        with pytest.raises(ShuttingDown):
            await lane.send(CALL)
