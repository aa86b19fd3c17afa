"""A real worker process: what slow readers cost, what departures leave behind, and how it ends under load."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psutil

from tests.support.chat_wire import Wire, chat, post, until
from tests.support.fake_upstream import data_frames
from tests.support.gateway import RunningGateway, running_gateway
from tests.support.messages_peer import HEAD, TAIL, answer, begin_stream, delta, end_stream, wants_stream
from tests.support.raw_upstream import Peer, raw_upstream

MB = 2**20
KEY = "sk-ant-canary-0123456789abcdef"
BLOCK = delta("x" * 1000) * 64


async def cpu_within(worker: psutil.Process, seconds: float) -> float:
    """CPU time that the worker takes within a time, in seconds."""
    before = sum(worker.cpu_times()[:2])
    await asyncio.sleep(seconds)
    return float(sum(worker.cpu_times()[:2]) - before)


@asynccontextmanager
async def worker_before(upstream: str, **settings: object) -> AsyncIterator[tuple[RunningGateway, psutil.Process]]:
    """A gateway of one worker, and that worker's process."""
    env = {f"CLAUDE_WRAPPER_{name.upper()}": str(value) for name, value in settings.items()}
    env |= {"CLAUDE_WRAPPER_REDIS_URL": "memory://", "ANTHROPIC_BASE_URL": upstream, "ANTHROPIC_API_KEY": KEY}
    started = running_gateway(env=env)
    gateway = await asyncio.to_thread(started.__enter__)
    try:
        (worker,) = gateway.process.children()
        while await cpu_within(worker, 0.3) > 0.03:  # it imports the lane
            pass
        yield gateway, worker
    finally:
        await asyncio.to_thread(started.__exit__, None, None, None)


async def test_clients_that_read_nothing_cost_little_memory_and_no_time_at_all():
    """Fifty of them, each offered a stream without end."""
    taken = 0
    quiet = True

    async def script(peer: Peer) -> None:
        nonlocal taken
        await peer.request()
        begin_stream(peer, HEAD)
        if quiet:
            peer.chunk(TAIL)
            end_stream(peer)
            return
        while True:
            peer.chunk(BLOCK)
            await peer.writer.drain()
            taken += len(BLOCK)

    async with (
        raw_upstream(script) as upstream,
        worker_before(upstream.base_url, stream_buffer_bytes=65536, write_timeout_s=3) as (gateway, worker),
    ):
        for _ in range(20):
            wire = await Wire.open(gateway.port)
            wire.send(post(chat(stream=True)))
            await wire.reply()
            wire.close()
        before = worker.memory_info().rss
        quiet = False
        wires = [await Wire.open(gateway.port, receive_buffer_bytes=4096) for _ in range(50)]
        for wire in wires:
            wire.send(post(chat(stream=True)))
        moved = -1
        while taken != moved:
            moved = taken
            await asyncio.sleep(0.4)
        grown = worker.memory_info().rss - before
        assert await cpu_within(worker, 0.5) < 0.35, "it spins"
        await until(lambda: all(peer.writer.is_closing() for peer in upstream.peers))
        assert len(worker.net_connections("tcp")) == 1, "the listening socket"
        for wire in wires:
            wire.close()
        assert "WARNING" not in gateway.logs
    # Each: 64 KiB for the client, what the upstream's connection reads at a time (up to 384 KiB), and that as frames.
    assert grown < 50 * MB, f"{grown / MB:.1f} MB"


async def test_departures_leave_an_idle_worker_behind():
    async def script(peer: Peer) -> None:
        if wants_stream(await peer.request()):
            begin_stream(peer, HEAD)
        await peer.gone()

    async with raw_upstream(script) as upstream, worker_before(upstream.base_url) as (gateway, worker):
        for _ in range(5):
            wires = [await Wire.open(gateway.port) for _ in range(20)]
            for number, wire in enumerate(wires):
                wire.send(post(chat(stream=number % 2 == 0, n=1 + number % 3)))
            await asyncio.sleep(0.05)
            for wire in wires:
                wire.reset()
        await until(lambda: len(worker.net_connections("tcp")) == 1)
        assert await cpu_within(worker, 0.5) < 0.35, "it spins"
        assert "WARNING" not in gateway.logs
        assert "ERROR" not in gateway.logs


async def test_end_of_a_worker_under_load():
    """Short requests finish, long ones are told, new ones are refused, and nothing is left unfinished."""
    stopping = asyncio.Event()

    async def script(peer: Peer) -> None:
        while True:
            request = await peer.request()
            if b"long" in request.body:
                if wants_stream(request):
                    begin_stream(peer, HEAD)
                await peer.gone()
                return
            if wants_stream(request):
                begin_stream(peer, HEAD)
                await stopping.wait()
                await asyncio.sleep(0.3)
                peer.chunk(TAIL)
                end_stream(peer)
            else:
                await stopping.wait()
                await asyncio.sleep(0.3)
                answer(peer, request)

    async with (
        raw_upstream(script) as upstream,
        worker_before(upstream.base_url, graceful_timeout_s=4) as (gateway, _),
    ):
        asked = {
            (length, streamed): await Wire.open(gateway.port) for length in ("short", "long") for streamed in (0, 1)
        }
        for (length, streamed), wire in asked.items():
            wire.send(post(chat(length, stream=bool(streamed))))
        idle = await Wire.open(gateway.port)
        idle.send(b"GET /health/live HTTP/1.1\r\nhost: a\r\n\r\n")
        await idle.reply()
        await until(lambda: len(upstream.peers) == 4)
        gateway.process.send(signal.SIGTERM)
        began_at = time.monotonic()
        stopping.set()
        assert await idle.ended() == b""
        refused_at = None
        while refused_at is None:
            try:
                (await Wire.open(gateway.port)).close()
                await asyncio.sleep(0.01)
            except ConnectionRefusedError:
                refused_at = time.monotonic()
        replies = {key: await wire.reply() for key, wire in asked.items()}
        for wire in (idle, *asked.values()):
            wire.close()
        assert await asyncio.to_thread(gateway.process.wait, within_s=10) == 0
        ended_at = time.monotonic()
        logs = gateway.logs
    assert refused_at - began_at < 1.5
    assert ended_at - began_at < 4.5
    assert replies["short", 0].status == 200
    assert replies["short", 1].body.endswith(b"data: [DONE]\n\n")
    assert replies["long", 0].status == 503
    assert replies["long", 0].error["code"] == "server_shutting_down"
    assert replies["long", 0].headers["retry-after"] == "1"
    assert data_frames(replies["long", 1].body)[-1]["error"]["code"] == "server_shutting_down"
    assert b"[DONE]" not in replies["long", 1].body
    assert "Traceback" not in logs
    assert KEY not in logs
