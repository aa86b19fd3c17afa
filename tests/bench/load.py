"""The load of the benchmarks: raw sockets on uvloop, one callback per answer, so that it is never the limit.

``PlainLoad`` keeps connections busy for a time; ``StreamLoad`` opens paced streams and reads them to their end. Both
check every answer. All times are seconds unless a name says otherwise.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import httptools

#: Model of every request; has neither sampling limits nor thinking to pay for.
MODEL = "claude-haiku-4-5"

#: The time at which a delta was due, where the simulator stamps them.
_STAMP = re.compile(rb'"(?:content|text)":"(\d+\.\d+) ')


class Wire(NamedTuple):
    """How a stream looks: what stands in every frame that carries text and in no other, and how it ends."""

    delta: bytes
    end: bytes


OPENAI = Wire(b'"delta":{"content":', b"data: [DONE]\n\n")
ANTHROPIC = Wire(b'"type":"text_delta"', b'{"type":"message_stop"}\n\n')


def chat_request(prompt: str, *, stream: bool = False, path: str = "/v1/chat/completions") -> bytes:
    """A whole HTTP request for one chat completion."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": prompt}]} | ({"stream": True} if stream else {})
    return post(path, json.dumps(body).encode())


def post(path: str, body: bytes, headers: bytes = b"") -> bytes:
    """A POST with the headers that the official client sends, roughly."""
    return (
        b"POST %b HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: application/json\r\ncontent-type: application/json\r\n"
        b"user-agent: OpenAI/Python\r\nauthorization: Bearer sk-bench\r\n%bcontent-length: %d\r\n\r\n%b"
        % (path.encode(), headers, len(body), body)
    )


class _Asker(asyncio.Protocol):
    """One connection and its parser; subclasses say what an answer means."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self.closed = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True


class _PlainAsker(_Asker):
    """Asks again as soon as it has its answer."""

    def __init__(self, load: PlainLoad) -> None:
        super().__init__()
        self._load = load
        self._busy = False

    def ask(self) -> None:
        self._busy = True
        self._bytes = 0
        self._asked_at = time.perf_counter()
        self.transport.write(self._load.request)

    def on_body(self, body: bytes) -> None:
        self._bytes += len(body)

    def on_message_complete(self) -> None:
        self._busy = False
        now = time.perf_counter()
        status = self._parser.get_status_code()
        self._load.answered(now, now - self._asked_at, ok=status == 200 and self._bytes == self._load.answer_bytes)
        if now < self._load.until:
            self.ask()
        else:
            self._load.rest()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._busy:
            self._load.failed += 1
            self._load.rest()


class PlainLoad:
    """Plain requests over kept connections, each asking again at once.

    Args:
        port: of the server, on loopback.
        request: the whole HTTP request, always the same.
        answer_bytes: length of the right answer; any other one, and any status but 200, is a failure.
        connections: how many ask at the same time.
    """

    def __init__(self, port: int, request: bytes, *, answer_bytes: int, connections: int) -> None:
        self.request = request
        self.answer_bytes = answer_bytes
        self.until = 0.0
        self.failed = 0
        self.latencies: list[float] = []
        self._enough = sys.maxsize
        self._port = port
        self._connections = connections
        self._askers: list[_PlainAsker] = []

    async def open(self) -> None:
        """Connects."""
        loop = asyncio.get_running_loop()
        for _ in range(self._connections):
            _, asker = await loop.create_connection(lambda: _PlainAsker(self), "127.0.0.1", self._port)
            self._askers.append(asker)

    async def run(self, seconds: float) -> float:
        """Asks for so long; returns how long it took until the last answer was there."""
        return await self._run(seconds, within_s=seconds + 30)

    async def run_count(self, count: int, *, within_s: float = 120.0) -> float:
        """Asks until at least so many answers are there."""
        self._enough = count
        try:
            return await self._run(within_s, within_s=within_s)
        finally:
            self._enough = sys.maxsize

    async def _run(self, seconds: float, *, within_s: float) -> float:
        self.latencies.clear()
        began = time.perf_counter()
        self.until = began + seconds
        self._asking = len(self._askers)
        self._rested = asyncio.Event()
        for asker in self._askers:
            asker.ask()
        async with asyncio.timeout(within_s):
            await self._rested.wait()
        return time.perf_counter() - began

    def answered(self, now: float, latency: float, *, ok: bool) -> None:
        """Notes one answer."""
        self.latencies.append(latency)
        self.failed += not ok
        if len(self.latencies) >= self._enough:
            self.until = now

    def rest(self) -> None:
        """One connection asks no more."""
        self._asking -= 1
        if not self._asking:
            self._rested.set()

    def close(self) -> None:
        """Ends the connections."""
        for asker in self._askers:
            asker.transport.close()


class _StreamReader(_Asker):
    """Reads one stream to its end."""

    def __init__(self, load: StreamLoad) -> None:
        super().__init__()
        self._load = load
        self._tail = b""
        self._over = False
        self.deltas = 0

    def on_body(self, body: bytes) -> None:
        load = self._load
        count = body.count(load.wire.delta)
        self.deltas += count
        load.deltas += count
        if load.stamped:
            now_ms = time.time() * 1000
            load.late_ms += [now_ms - float(stamp) for stamp in _STAMP.findall(body)]
        self._tail = (self._tail + body)[-len(load.wire.end) :]

    def on_message_complete(self) -> None:
        self._over = True
        whole = self._tail == self._load.wire.end and self._load.expected_deltas in (-1, self.deltas)
        self._load.ended(ok=whole and self._parser.get_status_code() == 200)
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if not self._over:
            self._load.ended(ok=False)


class StreamLoad:
    """Streams that are open at the same time, begun evenly over a time.

    Args:
        port: of the server, on loopback.
        request: makes the whole HTTP request of the stream with this number.
        streams: how many.
        expected_deltas: content deltas of a whole stream, any other number being a failure; -1 for any.
        stamped: each delta carries the time at which it was due, in Unix milliseconds.
        wire: whose streams they are.

    Attributes:
        deltas: content deltas that have come, of all streams.
        late_ms: of each stamped delta, how long after it was due it came.
    """

    def __init__(
        self,
        port: int,
        request: Callable[[int], bytes],
        *,
        streams: int,
        expected_deltas: int,
        stamped: bool = False,
        wire: Wire = OPENAI,
    ) -> None:
        self.deltas = 0
        self.whole = 0
        self.broken = 0
        self.late_ms: list[float] = []
        self.expected_deltas = expected_deltas
        self.stamped = stamped
        self.wire = wire
        self._port = port
        self._request = request
        self._streams = streams
        self._done = asyncio.Event()

    async def begin(self, over_s: float) -> None:
        """Opens the streams, one after the other, within so many seconds."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        for number in range(self._streams):
            await asyncio.sleep(began + over_s * number / self._streams - loop.time())
            _, reader = await loop.create_connection(lambda: _StreamReader(self), "127.0.0.1", self._port)
            reader.transport.write(self._request(number))

    async def end(self, within_s: float) -> None:
        """Waits until every stream has ended."""
        async with asyncio.timeout(within_s):
            await self._done.wait()

    def ended(self, *, ok: bool) -> None:
        """Notes the end of one stream."""
        self.whole += ok
        self.broken += not ok
        if self.whole + self.broken == self._streams:
            self._done.set()


class _OnceAsker(_Asker):
    def __init__(self, answer: asyncio.Future[list[bytes]]) -> None:
        super().__init__()
        self._answer = answer
        self._parts: list[bytes] = []

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() != 200:
            self._answer.set_exception(AssertionError(b"".join(self._parts).decode()))
        else:
            self._answer.set_result(self._parts)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._answer.done():
            self._answer.set_exception(ConnectionError("closed before the answer was complete"))


async def ask_once(port: int, request: bytes) -> bytes:
    """The body of one answer; fails with it when the status is not 200."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[bytes]] = loop.create_future()
    transport, _ = await loop.create_connection(lambda: _OnceAsker(answer), "127.0.0.1", port)
    transport.write(request)
    try:
        async with asyncio.timeout(30):
            return b"".join(await answer)
    finally:
        transport.close()


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of all values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
