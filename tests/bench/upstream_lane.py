"""CPU of a lane to Anthropic per plain call and per streamed chunk, against a bare server in another process.

    python tests/bench/upstream_lane.py [--lane sdk] [--calls 3000] [--concurrency 64] [--streams 64] [--profile]

Prints milliseconds (plain) and microseconds (chunk) of user and system time of this process only. Chunks are paced, one
write of the server each, so every one is a wake-up of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import pstats
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

if TYPE_CHECKING:
    from app.domain.upstream import Upstream
    from app.upstream.settings import LaneSettings

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

PLAIN = b'{"id":"msg_01","type":"message","role":"assistant","content":[{"type":"text","text":"' + b"x" * 800 + b'"}]}'
EVENT = (
    b"event: content_block_delta\n"
    b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"hello "}}\n\n'
)


class Server(asyncio.Protocol):
    """Answers every POST at once; ``/stream`` with chunks every 12.5 ms (80 a second)."""

    def __init__(self, chunks: int) -> None:
        self.chunks = chunks
        self.data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.data += data
        while (end := self.data.find(b"\r\n\r\n")) >= 0:
            head = self.data[:end].lower()
            length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
            if len(self.data) < end + 4 + length:
                return
            self.data = self.data[end + 4 + length :]
            if head.startswith(b"post /stream"):
                self.transport.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
                )
                self.left = self.chunks
                self.next_chunk()
            else:
                self.transport.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nrequest-id: req_011\r\n"
                    b"anthropic-ratelimit-requests-limit: 4000\r\nanthropic-ratelimit-requests-remaining: 3999\r\n"
                    b"content-length: %d\r\n\r\n%b" % (len(PLAIN), PLAIN)
                )

    def next_chunk(self) -> None:
        if not self.left:
            self.transport.write(b"0\r\n\r\n")
            return
        self.left -= 1
        self.transport.write(b"%x\r\n%b\r\n" % (len(EVENT), EVENT))
        asyncio.get_running_loop().call_later(0.0125, self.next_chunk)


async def serve(chunks: int) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: Server(chunks), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def open_lane(name: str, settings: LaneSettings) -> Upstream:
    """The lane of that name; only its library is imported."""
    if name == "sdk":
        from app.upstream.sdk import SdkUpstream

        return SdkUpstream(settings)
    from app.upstream.direct import DirectUpstream

    return DirectUpstream(settings)


async def measure(port: int, options: argparse.Namespace) -> None:
    from app.domain.upstream import UpstreamRequest
    from app.upstream.retries import RetryingUpstream
    from app.upstream.settings import LaneSettings

    settings = LaneSettings(base_url=f"http://127.0.0.1:{port}", api_key="sk-test")
    lane = RetryingUpstream(open_lane(options.lane, settings))
    headers = {"anthropic-version": "2026-10-21"}
    body = b'{"model":"claude","max_tokens":100,"messages":[{"role":"user","content":"' + b"y" * 1000 + b'"}]}'
    plain = UpstreamRequest(path="/v1/messages", body=body, headers=headers)
    streamed = UpstreamRequest(path="/stream", body=body, headers=headers, stream=True)

    async def calls(count: int) -> None:
        for _ in range(count):
            assert await (await lane.send(plain)).read() == PLAIN

    async def stream() -> int:
        reply = await lane.send(streamed)
        return sum([1 async for _ in reply.chunks()])

    each = options.calls // options.concurrency
    await asyncio.gather(*(calls(5) for _ in range(options.concurrency)))
    profile = cProfile.Profile() if options.profile else None
    for _ in range(options.rounds):
        began, cpu = time.perf_counter(), time.process_time()
        if profile:
            profile.enable()
        await asyncio.gather(*(calls(each) for _ in range(options.concurrency)))
        if profile:
            profile.disable()
        cpu, took = time.process_time() - cpu, time.perf_counter() - began
        count = each * options.concurrency
        print(f"plain: {cpu / count * 1e3:.3f} ms CPU per call, {count / took:.0f} calls/s, {count} calls")
        cpu = time.process_time()
        chunks = sum(await asyncio.gather(*(stream() for _ in range(options.streams))))
        cpu = time.process_time() - cpu
        print(f"stream: {cpu / chunks * 1e6:.1f} us CPU per chunk, {chunks} chunks of {options.streams} streams")
    await lane.close()
    if profile:
        pstats.Stats(profile).sort_stats(options.sort).print_stats(45)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lane", choices=("direct", "sdk"), default="direct")
    parser.add_argument("--calls", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--chunks", type=int, default=100)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--sort", default="tottime", help="order of the profile")
    parser.add_argument("--serve", action="store_true", help="be the server")
    options = parser.parse_args()
    if options.serve:
        uvloop.run(serve(options.chunks))
        return
    command = [sys.executable, __file__, "--serve", f"--chunks={options.chunks}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None
            uvloop.run(measure(int(server.stdout.readline()), options))
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
