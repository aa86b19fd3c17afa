"""HTTP/1.1 on a bare ``asyncio.Protocol`` over httptools: fast, and able to break a connection at any byte.

Requests of one connection are answered in order; the reading side stays open during a reply, so that a client that
goes away is noticed at once.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Any, cast
from urllib.parse import unquote

import httptools

from workers.simulator.delivery import Delivery
from workers.simulator.errors import ApiError
from workers.simulator.exchange import Request, error_reply
from workers.simulator.journal import Entry
from workers.simulator.service import Simulator

#: Requests a client may send ahead on one connection.
_MOST_WAITING = 64


class Connection(asyncio.Protocol):
    """One client connection."""

    def __init__(
        self, simulator: Simulator, loop: asyncio.AbstractEventLoop, open_connections: set[Connection]
    ) -> None:
        self._simulator = simulator
        self._loop = loop
        self._open = open_connections
        self._parser: Any = httptools.HttpRequestParser(self)
        self._waiting: deque[tuple[Request, bool, float]] = deque()
        self._delivery: Delivery | None = None
        self._entry: Entry | None = None
        self._transport: asyncio.Transport
        self._closing = False
        self._start_request()

    # The transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's classes are not asyncio's
        self._open.add(self)

    def data_received(self, data: bytes) -> None:
        """Bytes came in."""
        if self._closing:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse(ApiError(400, "This server speaks HTTP/1.1 only."))
        except httptools.HttpParserError:
            self._refuse(ApiError(400, "The request is not valid HTTP/1.1."))

    def eof_received(self) -> bool:
        """The client ended its side: it is gone, as far as an API is concerned."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, whoever ended it."""
        self._open.discard(self)
        self._closing = True
        if self._delivery is not None:
            self._delivery.stop()
            if self._entry is not None:
                self._entry.client_closed_at = time.time()
            self._book(self._delivery)
            self._delivery = None

    def pause_writing(self) -> None:
        """The client reads too slowly."""
        if self._delivery is not None:
            self._delivery.pause()

    def resume_writing(self) -> None:
        """The client caught up."""
        if self._delivery is not None:
            self._delivery.resume()

    def close(self) -> None:
        """Ends the connection; called when the server stops."""
        self._closing = True
        self._transport.abort()

    # The parser's side

    def _start_request(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._refused = False

    def on_message_begin(self) -> None:
        """A request starts."""
        self._start_request()

    def on_url(self, url: bytes) -> None:
        """Its target, possibly in parts."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; a repeated one is joined with commas."""
        key = name.decode("latin-1").lower()
        text = value.decode("latin-1")
        self._headers[key] = f"{self._headers[key]}, {text}" if key in self._headers else text

    def on_headers_complete(self) -> None:
        """The headers are complete."""
        length = self._headers.get("content-length", "")
        if length.isdigit() and int(length) > self._simulator.settings.max_body_bytes:
            self._too_large()
        elif self._headers.get("expect", "").lower() == "100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        if self._refused:
            return
        self._body.append(body)
        self._body_bytes += len(body)
        if self._body_bytes > self._simulator.settings.max_body_bytes:
            self._too_large()

    def on_message_complete(self) -> None:
        """The request is complete."""
        if self._refused:
            return
        path, _, query = self._url.decode("latin-1").partition("?")
        request = Request(
            method=self._parser.get_method().decode("latin-1"),
            path=unquote(path) if "%" in path else path,
            query=query,
            headers=self._headers,
            body=self._body[0] if len(self._body) == 1 else b"".join(self._body),
        )
        waiting = (request, self._parser.should_keep_alive(), self._loop.time())
        if self._delivery is None:
            self._answer(*waiting)
        elif len(self._waiting) < _MOST_WAITING:
            self._waiting.append(waiting)
        else:
            self._transport.abort()

    # Answering

    def _answer(self, request: Request, keep_alive: bool, started_s: float) -> None:
        simulator = self._simulator
        self._entry = None
        if simulator.journal.enabled and not request.path.startswith("/_simulator/"):
            self._entry = simulator.journal.record(request)
        try:
            reply = simulator.answer(request, self._entry)
        except Exception as error:  # noqa: BLE001 - the edge of a request: a bug here must not leave the client waiting
            self._loop.call_exception_handler({"message": "the simulator failed", "exception": error})
            reply = error_reply(ApiError(500, "The simulator itself failed; its error output says why."))
        if reply.bill is not None:
            simulator.invoice.open()
        self._delivery = Delivery(reply, self._transport, self._loop, started_s, keep_alive=keep_alive, done=self._done)
        self._delivery.start()

    def _done(self, reusable: bool) -> None:
        """A reply is complete, or was broken off on purpose."""
        if self._delivery is not None:
            if self._entry is not None:
                self._entry.finished_at = time.time()
            self._book(self._delivery)
            self._delivery = None
        if not reusable:
            self._closing = True
            self._transport.close()
        elif self._waiting:
            # Not at once: a client that sends many requests ahead would nest one call per request.
            self._loop.call_soon(self._next_waiting)

    def _book(self, delivery: Delivery) -> None:
        """Bills a reply that is over, and notes it."""
        reply, entry = delivery.reply, self._entry
        if entry is not None:
            entry.sent_bytes = delivery.sent_bytes
        if reply.bill is not None:
            charge = self._simulator.invoice.close(reply.bill, reply.parts, delivery.left_at_s())
            if entry is not None:
                entry.outcome, entry.billed = charge.outcome, charge.usage

    def _next_waiting(self) -> None:
        if self._waiting and self._delivery is None and not self._closing:
            self._answer(*self._waiting.popleft())

    def _too_large(self) -> None:
        self._refused = True
        self._body.clear()
        self._refuse(ApiError(413, "Request exceeds the maximum size"))

    def _refuse(self, error: ApiError) -> None:
        """Answers what is not worth reading to its end, and closes."""
        if self._delivery is not None:
            self._transport.abort()
            return
        self._closing = True
        self._delivery = Delivery(
            error_reply(error),
            self._transport,
            self._loop,
            self._loop.time(),
            keep_alive=False,
            done=self._done,
        )
        self._delivery.start()
