"""HTTP connections with bounds: how long headers may take, how large they may be, how long a client may not read.

uvicorn's protocol has none of these, and answers what is wrong below the application as plain text. Here it is answered
in OpenAI's error shape. The bounds cost nothing on the usual path: one timer per connection until its first headers
are complete, and none for requests that follow on it. The time for a request *body* is the application's business.
"""

from __future__ import annotations

import asyncio
import fcntl
import functools
import logging
import sys
import termios
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import httptools
from msgspec import Struct
from uvicorn.config import Config as UvicornConfig
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from app.errors import GatewayError, InternalError, InvalidRequest, RequestTimeout, ShuttingDown
from app.translate.error_bodies import ErrorReply, openai_error

log = logging.getLogger(__name__)

#: Headers that ask for another protocol. RFC 9110 section 7.8 lets a server ignore them.
_UPGRADE_HEADERS = frozenset({b"connection", b"upgrade", b"http2-settings"})

#: A connection that is idle, or becomes so, has this long to bring a request when the worker is leaving: a load
#: balancer that keeps connections may just be sending one, and cannot know whether it may send it twice.
LAST_REQUEST_WAIT_S = 0.5

#: A client that is told ``connection: close`` while it still sends has this long, and this much, to notice. To close at
#: once would reset the connection, and the reply would be lost with it (RFC 9112 section 9.6). OpenAI's client reads
#: only when it has sent everything: with much less it sees no 413 but a broken connection, and sends it all again.
LINGER_S = 10.0
LINGER_BYTES = 64 * 1024**2

#: As ``LINGER_S``, for a client that does not speak HTTP or takes too long for its headers.
REFUSED_LINGER_S = 1.0

#: Further requests on a connection that are read while the first is being answered. Reading goes on so that a client
#: that leaves is noticed.
MAX_PIPELINED = 16


#: Bytes on the wire for one byte of a body: chunks of one byte take six, some clients pad the size with zeros.
_FRAMED_BYTES = 12


class ConnectionLimits(Struct, frozen=True, kw_only=True):
    """Bounds of one client connection.

    Args:
        header_timeout_s: from the connection's start, or the first byte of a later request, until its headers are
            complete.
        max_header_bytes: request line and headers together.
        write_buffer_bytes: bytes kept for a slow reader before the application has to wait.
        write_timeout_s: a client that takes none of them for this long is disconnected.
    """

    header_timeout_s: float
    max_header_bytes: int
    write_buffer_bytes: int
    write_timeout_s: float


class _HeadersTooLarge(Exception):
    """Stops the parser."""


class GatewayProtocol(HttpToolsProtocol):
    """One client connection."""

    def __init__(
        self,
        config: UvicornConfig,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limits: ConnectionLimits,
        new_request_id: Callable[[], str],
        on_refused: Callable[[int], None],
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits = limits
        self._new_request_id = new_request_id
        self._on_refused = on_refused
        self._in_headers = False
        self._header_bytes = 0
        """Bytes of the chunks after the first one that carried these headers."""
        self._chunk_bytes = 0
        self._framing_bytes = 0
        """Bytes behind the headers that are no body (chunk sizes, trailers), less a share for the body."""
        self._too_large = False
        self._refused = False
        """Nothing more is understood of what this client sends; the last reply is on its way."""
        self._linger_timer: asyncio.TimerHandle | None = None
        self._lingering_bytes = 0
        self._running: RequestResponseCycle | None = None
        """The request that is being answered; ``cycle`` is the latest one that came."""
        self._last_request = False
        """The worker is leaving: the request that may be on its way is the last one."""
        self._header_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._unread_bytes = 0

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected; its headers are awaited from now on."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=self._limits.write_buffer_bytes)
        self._reply_channel = _ReplyChannel(transport, self._finish)
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is over."""
        self._stop_awaiting_headers()
        self._stop_watching_writes()
        self._unset_keepalive_if_required()
        if self._linger_timer is not None:
            self._linger_timer.cancel()
        self.pipeline.clear()
        if (running := self._running) is not None:  # uvicorn tells the latest request only
            running.disconnected = not running.response_complete
            running.message_event.set()
        self._reply_channel.close = _let_go
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes of the client: of one request, of several, or of a part of one."""
        if self._refused:
            self._discard(len(data))
            return
        self._unset_keepalive_if_required()
        self._chunk_bytes = len(data)
        if self._in_headers:
            self._header_bytes += self._chunk_bytes
        elif self._is_busy():
            self._framing_bytes += self._chunk_bytes
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._go_on_without_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._refuse_malformed()
        else:
            if self._in_headers and self._header_bytes > self._limits.max_header_bytes:
                self._refuse(_HEADERS_TOO_LARGE)
            elif self._is_busy() and self.cycle.more_body and self._framing_bytes > self._limits.max_header_bytes:
                self._refuse_malformed()
        if not self._is_busy() and self.timeout_keep_alive_task is None:
            self._await_headers()

    def shutdown(self) -> None:
        """The worker is leaving: no further request, but one that may already be on its way is answered.

        Called again when the time for that is over, too: then a reply that runs is the last one.
        """
        if self._linger_timer is not None:
            self._linger_timer.cancel()
            self._linger_timer = self.loop.call_later(LAST_REQUEST_WAIT_S, self.transport.abort)
        elif self._is_busy() and (self._last_request or not self.cycle.response_started):
            super().shutdown()
        elif not self._last_request:
            self._last_request = True
            if not self._is_busy():  # else its reply has said already that the connection is kept
                self._await_last_request()

    def _await_last_request(self) -> None:
        self._unset_keepalive_if_required()
        self._stop_awaiting_headers()
        self._await_headers(min(LAST_REQUEST_WAIT_S, self._limits.header_timeout_s))

    def _is_busy(self) -> bool:
        """Whether a request is being answered; if not, only headers can come, or the rest of a refused body."""
        return self.cycle is not None and not self.cycle.response_complete

    # Headers

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._in_headers = True
        self._header_bytes = 0
        self._framing_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; what comes behind the body (a trailer) is not kept: nobody reads it, and it has no end."""
        if self._in_headers:
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        """A part of the body. A client may frame every byte of it as a chunk of its own, which takes six."""
        self._framing_bytes -= _FRAMED_BYTES * len(body)
        super().on_body(body)

    def on_headers_complete(self) -> None:
        """The headers are complete: the application is started, unless they are too large."""
        self._in_headers = False
        if self.parser.should_upgrade():
            return  # data_received starts over without the upgrade
        self._stop_awaiting_headers()
        limit = self._limits.max_header_bytes
        if self._header_bytes + self._chunk_bytes > limit and self._exact_header_bytes() > limit:
            self._too_large = True
            raise _HeadersTooLarge
        super().on_headers_complete()
        self.cycle.transport = self._reply_channel  # type: ignore[assignment]
        if self.pipeline and len(self.pipeline) < MAX_PIPELINED:
            self.flow.resume_reading()
        if self._last_request:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """The body is complete."""
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def _exact_header_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _go_on_without_upgrade(self, rest: bytes) -> None:
        """Parses the request again as one that asks for no upgrade.

        The parser stops at the end of the headers of such a request, and its body would be lost: Java's HTTP client
        offers ``h2c`` on every request. A websocket handshake becomes a plain request, too.
        """
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        if method == b"CONNECT":
            self._refuse(_MALFORMED)
            return
        head = [method, b" ", self.url, b" HTTP/", version, b"\r\n"]
        for name, value in self.headers:
            if name not in _UPGRADE_HEADERS:
                head += [name, b": ", value, b"\r\n"]
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(b"".join([*head, b"\r\n", rest]))

    def _await_headers(self, limit_s: float | None = None) -> None:
        if self._header_timer is None and not self.transport.is_closing():
            limit_s = limit_s if limit_s is not None else self._limits.header_timeout_s
            self._header_timer = self.loop.call_later(limit_s, self._headers_late)

    def _stop_awaiting_headers(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _headers_late(self, *, looked_twice: bool = False) -> None:
        self._header_timer = None
        if self._is_busy():
            return
        if self._in_headers:
            self._refuse(_HEADERS_LATE)
        elif self._has_been_sent_more() and not looked_twice:
            look_again = functools.partial(self._headers_late, looked_twice=True)
            self._header_timer = self.loop.call_later(LAST_REQUEST_WAIT_S, look_again)
        else:  # not a byte of a request, or the rest of a body that was refused long ago
            self.transport.close()

    def _has_been_sent_more(self) -> bool:
        """Whether the kernel holds bytes that the loop has not read yet: to close now would lose them."""
        in_kernel = bytearray(4)
        try:
            fcntl.ioctl(self.transport.get_extra_info("socket").fileno(), termios.FIONREAD, in_kernel)
        except OSError:
            return False
        return any(in_kernel)

    # Refusals: replies that the application never sees

    def _refuse_malformed(self) -> None:
        """Answers what the parser could not read, unless that would run into the reply of an earlier request."""
        cycle = self.cycle
        if not self._is_busy():
            self._refuse(_HEADERS_TOO_LARGE if self._too_large else _MALFORMED)
        elif not cycle.more_body:  # garbage behind a request that is complete
            self._refused = True
            cycle.keep_alive = False
        elif cycle.response_started or self.pipeline:
            self.transport.close()
        else:  # its own body is malformed
            cycle.disconnected = True
            cycle.message_event.set()
            self._refuse(_MALFORMED)

    def _refuse(self, refusal: _Refusal) -> None:
        self._refused = True
        self._stop_awaiting_headers()
        common = [*self.server_state.default_headers, (b"x-request-id", self._new_request_id().encode())]
        self._on_refused(refusal.status)
        self.transport.write(refusal.reply.replace(_BLANK_LINE, _lines(common) + _BLANK_LINE, 1))
        self._linger(REFUSED_LINGER_S)

    # The end of a connection whose client may still be sending

    def _finish(self) -> None:
        """Closes the connection after a reply, in the way that lets the client read it."""
        if self._running is not None and (self._running.more_body or self.flow.read_paused):
            self._linger(LINGER_S)
        else:
            self.transport.close()

    def _linger(self, limit_s: float) -> None:
        """Says that no more replies come, and takes no notice of what still arrives, for a while."""
        if self._linger_timer is not None or self.transport.is_closing():
            return
        self._refused = True
        self._stop_awaiting_headers()
        self.pipeline.clear()
        self.flow.resume_reading()
        self.transport.write_eof()
        self._linger_timer = self.loop.call_later(limit_s, self.transport.abort)

    def _discard(self, size_bytes: int) -> None:
        self._lingering_bytes += size_bytes
        if self._lingering_bytes > LINGER_BYTES:
            self.transport.abort()

    # The application

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        task = self.loop.create_task(self._answer(cycle, app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    async def _answer(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Runs the application for one request; what escapes it is still answered in OpenAI's shape."""
        send = cycle.send if cycle.scope["http_version"] != "1.0" else _send_without_chunks(cycle)
        try:
            await app(cycle.scope, cycle.receive, send)
        except asyncio.CancelledError:  # only the end of the worker cancels
            await self._give_up(cycle, ShuttingDown("This gateway worker is shutting down; please try again."))
        except Exception:
            log.exception("The application failed on a request")
            await self._give_up(cycle, InternalError("The gateway failed on this request."))
        else:
            if not cycle.response_complete and not cycle.disconnected:
                log.error("The application returned without completing its reply")
                await self._give_up(cycle, InternalError("The gateway failed on this request."))
        finally:
            cycle.on_response = _let_go
            cycle.transport = self.transport
            if self._running is cycle:
                self._running = None

    async def _give_up(self, cycle: RequestResponseCycle, error: GatewayError) -> None:
        if cycle.response_started or cycle.disconnected:
            cycle.transport.close()
            return
        reply = openai_error(error)
        headers = [
            *_headers(reply),
            (b"x-request-id", self._new_request_id().encode()),
            (b"connection", b"close"),
        ]
        await cycle.send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await cycle.send({"type": "http.response.body", "body": reply.body, "more_body": False})

    def on_response_complete(self) -> None:
        """A reply has been written whole; the connection is kept, or closes when everything has left."""
        if self._linger_timer is not None:
            self.server_state.total_requests += 1
            return
        cycle = self.cycle
        super().on_response_complete()
        if self.transport.is_closing():
            self._watch_writes()
        elif cycle.response_complete and cycle.more_body and self.expect_100_continue:
            # The client may or may not send the body now: what comes next cannot be told apart.
            self._linger(LINGER_S)
        elif not self._is_busy():
            if self._last_request:
                self._await_last_request()
            elif self._in_headers:
                self._unset_keepalive_if_required()
                self._await_headers()

    def timeout_keep_alive_handler(self) -> None:
        """The connection has been idle for long enough, unless a request has come this very moment."""
        if self._has_been_sent_more():
            self._unset_keepalive_if_required()
            self._await_headers(LAST_REQUEST_WAIT_S)
            return
        self.transport.close()
        self._watch_writes()

    # Slow readers

    def pause_writing(self) -> None:
        """The write buffer is full: the application waits, and the client gets its time to read."""
        super().pause_writing()
        self._watch_writes()

    def resume_writing(self) -> None:
        """The client has read most of it."""
        self._stop_watching_writes()
        super().resume_writing()

    def _watch_writes(self) -> None:
        if self._write_timer is None and self.transport.get_write_buffer_size():
            self._unread_bytes = self._count_unread_bytes()
            self._write_timer = self.loop.call_later(self._limits.write_timeout_s, self._check_writes)

    def _stop_watching_writes(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _check_writes(self) -> None:
        self._write_timer = None
        if self._count_unread_bytes() < self._unread_bytes:
            self._watch_writes()
        else:
            self.transport.abort()

    def _count_unread_bytes(self) -> int:
        """Bytes that the client has not acknowledged, here and in the kernel.

        Those here alone would not do: they stand still until a good part of the kernel's buffer is free again, which
        takes a reader of an ordinary stream minutes.
        """
        in_kernel = bytearray(4)
        try:
            fcntl.ioctl(self.transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, in_kernel)
        except OSError:
            return self.transport.get_write_buffer_size()
        return self.transport.get_write_buffer_size() + int.from_bytes(in_kernel, sys.byteorder)


def _send_without_chunks(cycle: RequestResponseCycle) -> Callable[[Any], Awaitable[None]]:
    """The ``send`` for HTTP/1.0, where a body without a length ends with its connection (RFC 9112 section 6.3)."""
    unframed = False

    async def send(message: Any) -> None:
        nonlocal unframed
        if message["type"] == "http.response.start":
            unframed = all(name.lower() != b"content-length" for name, _ in message.get("headers", ()))
            if unframed:
                cycle.chunked_encoding = False
        elif unframed:
            cycle.expected_content_length = len(message.get("body", b""))
        await cycle.send(message)

    return send


class _ReplyChannel:
    """The transport as uvicorn's cycle knows it, with an end of our own."""

    __slots__ = ("close", "is_closing", "write")

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self.write = transport.write
        self.is_closing = transport.is_closing
        self.close = close


def _let_go() -> None:
    """Takes the place of a bound method, so that a finished cycle does not keep its connection alive."""


def _headers(reply: ErrorReply) -> list[tuple[bytes, bytes]]:
    given = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in reply.headers.items()]
    return [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(reply.body)), *given]


def _lines(headers: list[tuple[bytes, bytes]]) -> bytes:
    return b"".join(b"\r\n%s: %s" % header for header in headers)


_BLANK_LINE = b"\r\n\r\n"


class _Refusal(NamedTuple):
    """A whole reply, but for the headers that change."""

    status: int
    reply: bytes


def _refusal(error: GatewayError, status: int | None = None) -> _Refusal:
    reply = openai_error(error)
    status = status or reply.status
    head = STATUS_LINE[status].rstrip() + _lines([*_headers(reply), (b"connection", b"close")])
    return _Refusal(status, head + _BLANK_LINE + reply.body)


_MALFORMED = _refusal(InvalidRequest("This is not a well-formed HTTP/1.1 request.", code="malformed_request"))
_HEADERS_LATE = _refusal(RequestTimeout("The request headers were not complete in time."))
_HEADERS_TOO_LARGE = _refusal(
    InvalidRequest("The request line and headers are too large.", code="request_headers_too_large"), status=431
)
