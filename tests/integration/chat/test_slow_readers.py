"""Clients that read slowly, or not at all: bounded memory, a paused upstream, an end for those who take nothing."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.chat_wire import chat, post, until
from tests.support.fake_upstream import data_frames
from tests.support.gateway_here import gateway_here
from tests.support.messages_peer import HEAD, TAIL, Gone, begin_stream, delta, end_stream
from tests.support.raw_upstream import Peer, raw_upstream

BLOCK = delta("x" * 1000) * 64
"""64 KiB of events."""

BUFFER_BYTES = 16 * 1024


class Flood:
    """Offers a stream without end; ``sent_bytes`` is what was taken of it."""

    def __init__(self) -> None:
        self.sent_bytes = 0
        self.gone = Gone()

    async def __call__(self, peer: Peer) -> None:
        await peer.request()
        begin_stream(peer, HEAD)
        watching = asyncio.create_task(self.gone.watch(peer))
        try:
            while not watching.done():
                peer.chunk(BLOCK)
                await peer.writer.drain()
                self.sent_bytes += len(BLOCK)
        except ConnectionError:
            pass
        await watching


async def test_upstream_is_paused_while_the_client_does_not_read():
    flood = Flood()
    async with (
        raw_upstream(flood) as upstream,
        gateway_here(upstream.base_url, stream_buffer_bytes=BUFFER_BYTES) as gateway,
    ):
        wire = await gateway.wire(receive_buffer_bytes=4096)
        wire.send(post(chat(stream=True)))
        before = -1
        while flood.sent_bytes != before:  # until nothing moves any more
            before = flood.sent_bytes
            await asyncio.sleep(0.3)
        assert flood.sent_bytes < 30 * 2**20, "more than the kernel's buffers hold"
        await wire.head()
        async with asyncio.timeout(10):
            while flood.sent_bytes == before:  # reading makes it go on
                await wire.reader.read(65536)
        wire.reset()
        await flood.gone.latest()


async def test_client_that_takes_nothing_is_disconnected_and_the_upstream_call_ends(caplog):
    caplog.set_level("INFO")
    flood = Flood()
    async with (
        raw_upstream(flood) as upstream,
        gateway_here(upstream.base_url, write_timeout_s=0.5, stream_buffer_bytes=BUFFER_BYTES) as gateway,
    ):
        wire = await gateway.wire(receive_buffer_bytes=4096)
        wire.send(post(chat(stream=True)))
        await flood.gone.were_reached()
        began_at = asyncio.get_running_loop().time()
        ended_at = await flood.gone.latest()
        await until(lambda: not gateway.connections)
        await gateway.settled()
    assert 0.4 < ended_at - began_at < 5
    assert [record.getMessage() for record in caplog.records if not record.name.startswith("uvicorn")] == []


@pytest.mark.parametrize("n", [1, 2])
async def test_client_that_reads_slowly_but_does_read_gets_everything(n):
    blocks = 12

    async def script(peer: Peer) -> None:
        await peer.request()
        begin_stream(peer, HEAD)
        for _ in range(blocks):
            peer.chunk(BLOCK)
            await peer.writer.drain()
        peer.chunk(TAIL)
        end_stream(peer)
        await peer.gone()

    async with (
        raw_upstream(script) as upstream,
        gateway_here(
            upstream.base_url, write_timeout_s=0.6, stream_keepalive_s=0.1, stream_buffer_bytes=BUFFER_BYTES
        ) as gateway,
    ):
        wire = await gateway.wire(receive_buffer_bytes=4096)
        wire.send(post(chat(stream=True, n=n)))
        await wire.head()
        data, began_at = b"", asyncio.get_running_loop().time()
        while part := await wire.chunk():
            data += part
            if asyncio.get_running_loop().time() - began_at < 1.5:
                await asyncio.sleep(0.02)
    text = sum(
        len(choice["delta"].get("content") or "")
        for frame in data_frames(data)
        if isinstance(frame, dict)
        for choice in frame["choices"]
    )
    assert text == n * (blocks * 64 * 1000 + len("Par"))
    assert data.endswith(b"data: [DONE]\n\n")


async def test_one_client_that_does_not_read_is_no_matter_of_the_others():
    flood = Flood()
    slow = True

    async def script(peer: Peer) -> None:
        if slow:
            await flood(peer)
            return
        await peer.request()
        begin_stream(peer, HEAD + TAIL)
        end_stream(peer)

    async with raw_upstream(script) as upstream, gateway_here(upstream.base_url) as gateway:
        wires = [await gateway.wire(receive_buffer_bytes=4096) for _ in range(5)]
        for wire in wires:
            wire.send(post(chat(stream=True)))
        await flood.gone.were_reached(5)
        slow = False
        for _ in range(20):
            assert (await gateway.ask(chat(stream=True))).status == 200
        for wire in wires:
            wire.reset()
        await flood.gone.latest(5)
