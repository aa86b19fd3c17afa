"""A load that never stops: so many streams open at any time, and plain requests at an even rate; all are checked.

Raw sockets, one callback per piece of an answer, so that it takes little of the machine that it shares with what it
loads. Nothing is ever asked a second time: what fails is a failure.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import httptools

#: Has neither sampling limits nor thinking to pay for.
_MODEL: Final = "claude-haiku-4-5"

#: Tokens of a stream, in turn, and how many of them come a second: from three seconds to six.
_STREAM_TOKENS: Final = (24, 32, 40, 48)
_TOKENS_PER_SECOND: Final = 8

#: The end of a stream, with what stands before it: finish reason, use, ``[DONE]``.
_TAIL_BYTES: Final = 2048

#: Failures that are described; the others are counted.
_DESCRIBED: Final = 20


class _Answer:
    """One answer as its parser reads it."""

    def __init__(self, *, streamed: bool) -> None:
        self.streamed = streamed
        self.status = 0
        self.tail = b""
        self.asked_at = time.monotonic()

    def fault(self) -> str:
        """What is wrong with it, now that it is complete; empty when nothing is."""
        if self.status != 200:
            return f"status {self.status}: {self.tail!r}"
        if not self.streamed:
            return "" if b'"finish_reason":"stop"' in self.tail else f"no answer: {self.tail!r}"
        if not self.tail.endswith(b"data: [DONE]\n\n"):
            return f"a stream without its end: {self.tail[-300:]!r}"
        return "" if b'"finish_reason":"stop"' in self.tail else f"no finish reason: {self.tail[-300:]!r}"


class _Connection(asyncio.Protocol):
    """A kept connection, with at most one request on it."""

    def __init__(self, load: SteadyLoad) -> None:
        self._load = load
        self._answer: _Answer | None = None
        self.closed = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport

    def ask(self, request: bytes, *, streamed: bool) -> None:
        """Sends a request; the load hears when it is over."""
        self._answer = _Answer(streamed=streamed)
        self._parser = httptools.HttpResponseParser(self)
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        if (answer := self._answer) is not None:
            answer.tail = (answer.tail + body)[-_TAIL_BYTES:]

    def on_message_complete(self) -> None:
        if self._answer is not None:
            answer, self._answer = self._answer, None
            answer.status = self._parser.get_status_code()
            self._load.ended(self, answer, answer.fault())

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if self._answer is not None:
            answer, self._answer = self._answer, None
            self._load.ended(self, answer, f"cut off ({exc!r}) after {answer.tail[-100:]!r}")


class SteadyLoad:
    """What clients do all day.

    Args:
        port: where they connect, on loopback.
        key: that they present.
        streams: open at any time.
        per_second: plain requests.

    Attributes:
        streamed: whole streams so far.
        answered: plain answers so far.
        failures: what went wrong, the first few.
        failed: how much did.
        waits_s: of the plain requests, until each was answered.
    """

    def __init__(self, port: int, key: str, *, streams: int, per_second: float) -> None:
        self._port = port
        self._streams = streams
        self._per_second = per_second
        self._idle: list[_Connection] = []
        self._waiting: set[_Connection] = set()
        self._tokens = itertools.cycle(_STREAM_TOKENS)
        self._head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {key}\r\n"
        self._opening: set[asyncio.Task[None]] = set()
        self._over = False
        self.open_streams = 0
        self.streamed = 0
        self.answered = 0
        self.failed = 0
        self.failures: list[str] = []
        self.waits_s: list[float] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Loads until the block ends, then waits for all that is still open."""
        asking = asyncio.create_task(self._ask_evenly())
        opening = asyncio.create_task(self._open_streams())
        try:
            yield
        finally:
            self._over = True
            await asyncio.gather(asking, opening)
            async with asyncio.timeout(60):
                while self._waiting or self._opening:  # noqa: ASYNC110 - simple, and at the end only
                    await asyncio.sleep(0.05)
            for connection in self._idle:
                connection.transport.close()

    def ended(self, connection: _Connection, answer: _Answer, fault: str) -> None:
        """Takes note of an answer that is over."""
        self._waiting.discard(connection)
        self.open_streams -= answer.streamed
        if fault:
            self._note(fault)
            connection.transport.close()
        else:
            self._idle.append(connection)
            if answer.streamed:
                self.streamed += 1
            else:
                self.answered += 1
                self.waits_s.append(time.monotonic() - answer.asked_at)
        if answer.streamed and not self._over:
            self._begin(streamed=True)

    def _note(self, fault: str) -> None:
        self.failed += 1
        if len(self.failures) < _DESCRIBED:
            self.failures.append(fault)

    async def _open_streams(self) -> None:
        """Over a few seconds, so that they do not end together."""
        for _ in range(self._streams):
            if self._over:
                return
            self._begin(streamed=True)
            await asyncio.sleep(3 / self._streams)

    async def _ask_evenly(self) -> None:
        began = time.monotonic()
        for count in itertools.count():
            await asyncio.sleep(max(0.0, began + count / self._per_second - time.monotonic()))
            if self._over:
                return
            self._begin(streamed=False)

    def _begin(self, *, streamed: bool) -> None:
        self.open_streams += streamed
        while self._idle:
            if not (connection := self._idle.pop()).closed:
                self._ask(connection, streamed=streamed)
                return
        task = asyncio.get_running_loop().create_task(self._begin_on_a_new_one(streamed=streamed))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _begin_on_a_new_one(self, *, streamed: bool) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(lambda: _Connection(self), "127.0.0.1", self._port)
        except OSError as exc:
            self._note(f"no connection: {exc!r}")
            self.open_streams -= streamed
        else:
            self._ask(connection, streamed=streamed)

    def _ask(self, connection: _Connection, *, streamed: bool) -> None:
        self._waiting.add(connection)
        connection.ask(self._request(streamed=streamed), streamed=streamed)

    def _request(self, *, streamed: bool) -> bytes:
        prompt = "What is the sea?"
        if streamed:
            prompt += f" [[sim: tokens_per_second={_TOKENS_PER_SECOND} output_tokens={next(self._tokens)}]]"
        fields = {"model": _MODEL, "messages": [{"role": "user", "content": prompt}], "stream": streamed}
        body = json.dumps(fields).encode()
        return f"{self._head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body
