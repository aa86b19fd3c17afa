"""One deadline per phase, each of its own length, and the bound on connections."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from app.domain.upstream import UpstreamRequest
from app.errors import Overloaded, UpstreamTimeout, UpstreamUnreachable
from tests.support.raw_upstream import Peer, keep_answering, raw_upstream

CALL = UpstreamRequest(path="/v1/messages", body=b"{}", headers={"anthropic-version": "2026-10-21"})


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_a_connection_that_is_not_made_in_time(open_lane):
    # TLS towards a server that accepts and says nothing: connecting is not over before TLS is.
    async with raw_upstream(lambda peer: peer.gone()) as upstream:
        lane = open_lane(upstream.base_url.replace("http:", "https:"), connect_timeout_s=0.2)
        began = now()
        with pytest.raises(UpstreamTimeout) as raised:
            await lane.send(CALL)
        assert 0.19 < now() - began < 0.5
    assert raised.value.phase == "connect"


async def test_a_refused_connection(open_lane):
    with pytest.raises(UpstreamUnreachable) as raised:
        await open_lane("http://127.0.0.1:1").send(CALL)
    assert not raised.value.sent
    assert "127.0.0.1" not in raised.value.message


async def test_a_name_that_does_not_resolve(open_lane):
    with pytest.raises(UpstreamUnreachable, match="resolved"):
        await open_lane("http://nowhere.invalid").send(CALL)


async def test_headers_that_do_not_come_in_time(open_lane):
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.gone()

    async with raw_upstream(script) as upstream:
        lane = open_lane(upstream.base_url, first_byte_timeout_s=0.3, idle_timeout_s=0.1)
        began = now()
        with pytest.raises(UpstreamTimeout) as raised:
            await lane.send(CALL)
        assert 0.29 < now() - began < 0.6
    assert raised.value.phase == "first_byte"


async def test_headers_that_come_one_byte_at_a_time_do_not_move_the_limit(open_lane):
    async def script(peer: Peer) -> None:
        await peer.request()
        for _ in range(1000):
            peer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
            await peer.writer.drain()
            await asyncio.sleep(0.02)

    async with raw_upstream(script) as upstream:
        lane = open_lane(upstream.base_url, first_byte_timeout_s=0.3)
        began = now()
        with pytest.raises(UpstreamTimeout) as raised:
            await lane.send(CALL)
        assert 0.29 < now() - began < 0.6
    assert raised.value.phase == "first_byte"


async def test_a_server_that_does_not_take_the_body(open_lane):
    async def script(peer: Peer) -> None:
        await peer.head()
        await asyncio.sleep(60)

    large = UpstreamRequest(path="/v1/messages", body=b"x" * 30_000_000, headers=CALL.headers)
    async with raw_upstream(script) as upstream:
        with pytest.raises(UpstreamTimeout) as raised:
            await open_lane(upstream.base_url, first_byte_timeout_s=0.3).send(large)
    assert raised.value.phase == "first_byte"


@pytest.mark.parametrize(
    "framing", [b"transfer-encoding: chunked\r\n\r\n3\r\none\r\n", b"content-length: 9\r\n\r\none", b"\r\none"]
)
async def test_silence_inside_the_body(open_lane, framing):
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.write(b"HTTP/1.1 200 OK\r\n" + framing)
        await peer.gone()

    async with raw_upstream(script) as upstream:
        lane = open_lane(upstream.base_url, first_byte_timeout_s=0.1, idle_timeout_s=0.3)
        reply = await lane.send(CALL)
        began, seen = now(), b""
        async with asyncio.timeout(2):
            with pytest.raises(UpstreamTimeout) as raised:
                async for data in reply.chunks():
                    seen += data
        assert 0.25 < now() - began < 0.6
    assert raised.value.phase == "idle"
    assert seen == b"one"


async def test_silence_before_the_first_byte_of_the_body_is_idle_time(open_lane):
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n")
        await peer.gone()

    async with raw_upstream(script) as upstream:
        reply = await open_lane(upstream.base_url, idle_timeout_s=0.2).send(CALL)
        async with asyncio.timeout(2):
            with pytest.raises(UpstreamTimeout) as raised:
                await reply.read()
    assert raised.value.phase == "idle"


async def test_a_slow_body_is_no_silence(open_lane):
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        for _ in range(10):
            await asyncio.sleep(0.1)
            peer.chunk(b"x")
        peer.write(b"0\r\n\r\n")

    async with raw_upstream(script) as upstream:
        lane = open_lane(upstream.base_url, first_byte_timeout_s=0.3, idle_timeout_s=0.3)
        assert await (await lane.send(CALL)).read() == b"x" * 10


async def test_a_slow_reader_is_no_silence_of_the_server(open_lane):
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.reply(200, b"x" * 20_000_000)
        await peer.gone()

    async with raw_upstream(script) as upstream:
        reply = await open_lane(upstream.base_url, idle_timeout_s=0.2).send(CALL)
        size = 0
        async for data in reply.chunks():
            if not size:
                await asyncio.sleep(0.5)
            size += len(data)
    assert size == 20_000_000


async def test_a_slow_reader_stops_the_server_instead_of_filling_memory(open_lane):
    written = 0

    async def script(peer: Peer) -> None:
        nonlocal written
        await peer.request()
        peer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while written < 100_000_000:
            peer.write(b"x" * 100_000)
            await peer.writer.drain()
            written += 100_000

    async with raw_upstream(script) as upstream:
        reply = await open_lane(upstream.base_url).send(CALL)
        await asyncio.sleep(0.3)
        await reply.close()
    assert written < 30_000_000  # kernel buffers of both ends; ours is at most 128 KiB


async def test_a_call_beyond_the_bound_waits_and_is_then_refused(open_lane):
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.gone()

    async with raw_upstream(script) as upstream:
        lane = open_lane(upstream.base_url, max_connections=2, pool_wait_s=0.2)
        running = [asyncio.create_task(lane.send(CALL)) for _ in range(2)]
        await asyncio.sleep(0.05)
        began = now()
        with pytest.raises(Overloaded) as raised:
            await lane.send(CALL)
        assert 0.19 < now() - began < 0.4
        for call in running:
            call.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    assert raised.value.retry_after_s == 1.0
    assert len(upstream.peers) == 2


async def test_a_call_counts_as_sent_when_it_has_a_connection(open_lane):
    class Watch:
        sent = 0

        def sending(self) -> None:
            self.sent += 1

        def refused(self) -> None:
            raise AssertionError("a lane sends once and judges nothing")

    async with raw_upstream(keep_answering) as upstream:
        lane, watch = open_lane(upstream.base_url, max_connections=1, pool_wait_s=0.1), Watch()
        first = await lane.send(replace(CALL, watch=watch))
        assert watch.sent == 1
        with pytest.raises(Overloaded):
            await lane.send(replace(CALL, watch=watch))
        assert watch.sent == 1
        await first.read()
        await (await lane.send(replace(CALL, watch=watch))).read()
        assert watch.sent == 2


async def test_a_call_beyond_the_bound_goes_when_another_ends(open_lane):
    async with raw_upstream(keep_answering) as upstream:
        lane = open_lane(upstream.base_url, max_connections=3)

        async def call() -> bytes:
            return await (await lane.send(CALL)).read()

        assert set(await asyncio.gather(*(call() for _ in range(200)))) == {b'{"ok":true}'}
    assert len(upstream.peers) <= 3


async def test_an_idle_connection_is_closed_after_its_time(open_lane):
    gone = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.reply(200)
        await peer.gone()
        gone.set()

    async with raw_upstream(script) as upstream:
        await (await open_lane(upstream.base_url, keepalive_s=0.2).send(CALL)).read()
        began = now()
        async with asyncio.timeout(2):
            await gone.wait()
        assert now() - began > 0.1
