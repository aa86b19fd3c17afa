"""What happens when a connection that was kept for reuse turns out to be dead."""

from __future__ import annotations

import asyncio
import gc
import sys

import pytest

from app.domain.upstream import UpstreamRequest
from app.errors import UpstreamUnreachable
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


@pytest.mark.parametrize("end", ["close", "reset"])
async def test_a_connection_that_dies_under_a_call_is_replaced_by_a_fresh_one(open_lane, end):
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.reply(200, b"%d" % peer.number)
        await peer.request()
        if peer.number < 3:
            getattr(peer, end)()
            return
        peer.reply(200, b"again")

    async with raw_upstream(script) as upstream:
        lane = open_lane(upstream.base_url)
        replies = await asyncio.gather(*(lane.send(CALL) for _ in range(3)))
        assert sorted([await reply.read() for reply in replies]) == [b"0", b"1", b"2"]
        # All three kept connections die when they are used; the call must not try them one after the other.
        assert await (await lane.send(CALL)).read() == b"3"
    assert len(upstream.peers) == 4


async def test_a_fresh_connection_that_dies_is_an_error(open_lane):
    async def script(peer: Peer) -> None:
        await peer.request()

    async with raw_upstream(script) as upstream:
        with pytest.raises(UpstreamUnreachable) as raised:
            await open_lane(upstream.base_url).send(CALL)
    assert raised.value.sent
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
