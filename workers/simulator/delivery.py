"""How the bytes of a reply leave: one timer at a time for each reply, one write for all that is due when it fires."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Final

from workers.simulator.invoice import TOGETHER_S
from workers.simulator.schedule import Reply

#: Without a pace, at most this much is given to the connection before it must have drained.
_SLICE_BYTES: Final = 65536


class Delivery:
    """Sends one reply over one transport.

    Args:
        reply: what to send.
        transport: of the connection.
        loop: the running loop.
        started_s: loop time at which the request had come.
        keep_alive: whether the connection may be used again.
        done: called once, when the reply is finished or the connection was broken on purpose.
    """

    def __init__(
        self,
        reply: Reply,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        started_s: float,
        *,
        keep_alive: bool,
        done: Callable[[bool], None],
    ) -> None:
        self.reply = reply
        self._transport = transport
        self._loop = loop
        self._started_s = started_s
        self._keep_alive = keep_alive
        self._done = done
        self._next = 0
        self._paused = False
        self._headers_sent = False
        self._ended = False
        self._timer: asyncio.Handle | None = None
        self.sent_bytes = 0

    def start(self) -> None:
        """Sends what is due and sets the timer for the rest."""
        self._timer = None
        if not self._headers_sent:
            due_s = self._started_s + self.reply.header_due_s
            if due_s > self._loop.time() + TOGETHER_S:
                self._timer = self._loop.call_at(due_s, self.start)
                return
            if self.reply.drop:
                self._end()
                return
        self._send()

    def pause(self) -> None:
        """The connection's buffer is full."""
        self._paused = True

    def resume(self) -> None:
        """The connection's buffer has drained."""
        self._paused = False
        if self._timer is None:
            self._send()

    def left_at_s(self) -> float | None:
        """Seconds from the request until now; ``None`` when everything has gone out that was to go out."""
        if self._headers_sent and not self._paused and self._next >= len(self.reply.parts):
            return None
        return self._loop.time() - self._started_s

    def _is_paused(self) -> bool:
        return self._paused

    def stop(self) -> None:
        """Nothing more is sent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _send(self) -> None:
        self._timer = None
        if self._is_paused():
            return
        parts = self.reply.parts
        horizon = self._loop.time() - self._started_s + TOGETHER_S
        ready: list[bytes] = []
        head = b""
        if not self._headers_sent:
            self._headers_sent = True
            head = self._head()
        size = 0
        while self._next < len(parts) and parts[self._next].due_s <= horizon and size < _SLICE_BYTES:
            data = parts[self._next].data
            self._next += 1
            size += len(data)
            ready.append(data)
            if self.reply.separate:
                break
        self._write(head, b"".join(ready))
        if self._is_paused():
            return
        if self._next >= len(parts):
            self._end()
        elif parts[self._next].due_s <= horizon:
            self._timer = self._loop.call_soon(self._send)
        else:
            self._timer = self._loop.call_at(self._started_s + parts[self._next].due_s, self._send)

    def _head(self) -> bytes:
        reply = self.reply
        framing = b"transfer-encoding: chunked\r\n" if reply.chunked else b"content-length: %d\r\n" % reply.full_bytes
        close = b"" if self._keep_alive else b"connection: close\r\n"
        return b"HTTP/1.1 %d %b\r\n%b%b%b\r\n" % (reply.status, _reason(reply.status), reply.headers, framing, close)

    def _write(self, head: bytes, data: bytes) -> None:
        """Writes what is ready, framed; the last write of a whole body carries its end."""
        if self.reply.chunked and data:
            self._ended = (
                self._next >= len(self.reply.parts) and self.reply.ending == "finish" and not self.reply.separate
            )
            self._transport.write(
                b"%b%x\r\n%b%b" % (head, len(data), data, b"\r\n0\r\n\r\n" if self._ended else b"\r\n")
            )
        elif head or data:
            self._transport.write(head + data)
        self.sent_bytes += len(data)

    def _end(self) -> None:
        match self.reply.ending:
            case "finish":
                if self.reply.chunked and not self._ended:
                    self._transport.write(b"0\r\n\r\n")
                self._done(self._keep_alive)
            case "close":
                self._done(False)
            case "reset":
                _reset_on_close(self._transport)
                self._done(False)
            case "hang":
                pass


def _reset_on_close(transport: asyncio.Transport) -> None:
    """Closing sends a reset instead of an orderly end."""
    found = transport.get_extra_info("socket")
    if found is not None:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


_REASONS: Final = {
    200: b"OK",
    400: b"Bad Request",
    401: b"Unauthorized",
    402: b"Payment Required",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    409: b"Conflict",
    413: b"Payload Too Large",
    422: b"Unprocessable Entity",
    429: b"Too Many Requests",
    500: b"Internal Server Error",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
    529: b"Site is overloaded",
}


def _reason(status: int) -> bytes:
    return _REASONS.get(status, b"Status")
