"""When and how the bytes of a reply leave: pace, faults, odd borders, slow readers.

A reply is a row of parts with due times counted from the request's arrival, so that delays never add up. One timer
per reply runs at a time; everything that is due when it fires goes out in one write.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import time
from collections.abc import Callable, Sequence
from typing import Final, Literal

from msgspec import Struct

from workers.simulator.events import PING, Event, text_delta
from workers.simulator.script import Script

#: A part that is due within this time goes out with the one before it.
_TOGETHER_S: Final = 0.0005

#: Without a pace, at most this much is given to the connection before it must have drained.
_SLICE_BYTES: Final = 65536


class Part(Struct, frozen=True):
    """Bytes of a body, due so many seconds after the request came."""

    due_s: float
    data: bytes


Ending = Literal["finish", "close", "reset", "hang"]


class Reply(Struct, frozen=True, kw_only=True):
    """What is to be sent.

    Args:
        status: HTTP status.
        headers: complete header lines, without the framing ones.
        parts: the body, in order of time.
        chunked: framed as chunks, else with the length of ``full_bytes``.
        full_bytes: the length that is announced.
        ending: ``finish`` keeps the connection; ``close`` and ``reset`` break it after the last part; ``hang`` leaves
            it open and silent.
        drop: not even a status goes out; the ending alone happens, at ``header_due_s``.
        header_due_s: when status and headers leave, at the earliest.
        separate: every part is a write of its own, a turn of the loop apart.
    """

    status: int
    headers: bytes
    parts: Sequence[Part]
    chunked: bool = False
    full_bytes: int = 0
    ending: Ending = "finish"
    drop: bool = False
    header_due_s: float = 0.0
    separate: bool = False


def plain_reply(status: int, headers: bytes, body: bytes, script: Script, tokens: int) -> Reply:
    """A body that is sent whole once ``tokens`` tokens are made."""
    due_s = max(script.ttft_ms, script.header_delay_ms) / 1000 + (
        tokens / script.tokens_per_second if script.tokens_per_second else 0.0
    )
    return with_faults(
        Reply(status=status, headers=headers, parts=(Part(due_s, body),), full_bytes=len(body), header_due_s=due_s),
        script,
    )


def stream_reply(headers: bytes, events: Sequence[Event], script: Script, seed: int) -> Reply:
    """Events, each due with its token: token i at ``ttft + i / rate``, later by its jitter."""
    ttft_s, head_s = script.ttft_ms / 1000, script.header_delay_ms / 1000
    rate = script.tokens_per_second
    chance = random.Random(seed) if script.jitter_ms else None  # noqa: S311 - deterministic on purpose
    parts: list[Part] = []
    latest = head_s
    started = time.time() if script.stamp else 0.0
    limit = script.silent_after_events if script.silent_after_events >= 0 else len(events)
    pings = _pings(script, head_s, ttft_s)
    for event in events[:limit]:
        due_s = head_s
        if event.token >= 0:
            parts += pings
            pings = []
            due_s = max(head_s, ttft_s + (event.token / rate if rate else 0.0))
        if chance is not None and event.token >= 0:
            due_s += chance.random() * script.jitter_ms / 1000
        latest = max(latest, due_s)
        data = event.data
        if event.stampable and script.stamp:
            data = text_delta(event.index, f"{(started + latest) * 1000:.3f} ")
        parts.append(Part(latest, data))
    ending: Ending = "hang" if limit < len(events) else "finish"
    reply = Reply(status=200, headers=headers, parts=parts, chunked=True, ending=ending, header_due_s=head_s)
    return with_faults(reply, script)


def _pings(script: Script, head_s: float, ttft_s: float) -> list[Part]:
    """The pings that fill the time before the first token."""
    step_s = script.ping_interval_ms / 1000
    count = int((ttft_s - head_s) / step_s) if step_s else 0
    return [Part(head_s + step_s * (number + 1), PING) for number in range(count)]


def with_faults(reply: Reply, script: Script) -> Reply:
    """The reply with what the script breaks or slows down."""
    if not (
        script.cut_at_byte >= 0
        or script.stall_at_byte >= 0
        or script.chunk_bytes
        or script.bytes_per_second
        or script.reset
    ):
        return reply
    parts = list(reply.parts)
    ending = reply.ending
    if script.stall_at_byte >= 0:
        parts, ending = _first_bytes(parts, script.stall_at_byte), "hang"
    if script.cut_at_byte >= 0:
        parts, ending = _first_bytes(parts, script.cut_at_byte), "reset" if script.reset else "close"
    if script.bytes_per_second:
        parts = _slowed(parts, script.bytes_per_second, script.chunk_bytes)
    elif script.chunk_bytes:
        parts = [piece for part in parts for piece in _split(part, script.chunk_bytes)]
    return Reply(
        status=reply.status,
        headers=reply.headers,
        parts=parts,
        chunked=reply.chunked,
        full_bytes=reply.full_bytes,
        ending=ending,
        drop=reply.drop,
        header_due_s=reply.header_due_s,
        separate=bool(script.chunk_bytes),
    )


def _first_bytes(parts: Sequence[Part], count: int) -> list[Part]:
    kept: list[Part] = []
    for part in parts:
        data = part.data[:count]
        if data or not kept:
            kept.append(Part(part.due_s, data))
        count -= len(data)
        if count <= 0:
            break
    return kept


def _split(part: Part, size: int) -> list[Part]:
    return [Part(part.due_s, part.data[start : start + size]) for start in range(0, len(part.data), size)]


def _slowed(parts: Sequence[Part], rate: float, size: int) -> list[Part]:
    """Parts that leave at no more than ``rate`` bytes a second, in pieces of a fiftieth of a second's worth."""
    size = size or max(1, int(rate / 50))
    slowed: list[Part] = []
    free_s = 0.0
    for piece in (piece for part in parts for piece in _split(part, size)):
        due_s = max(piece.due_s, free_s)
        slowed.append(Part(due_s, piece.data))
        free_s = due_s + len(piece.data) / rate
    return slowed


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
        self._reply = reply
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
            due_s = self._started_s + self._reply.header_due_s
            if due_s > self._loop.time() + _TOGETHER_S:
                self._timer = self._loop.call_at(due_s, self.start)
                return
            if self._reply.drop:
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
        parts = self._reply.parts
        horizon = self._loop.time() - self._started_s + _TOGETHER_S
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
            if self._reply.separate:
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
        reply = self._reply
        framing = b"transfer-encoding: chunked\r\n" if reply.chunked else b"content-length: %d\r\n" % reply.full_bytes
        close = b"" if self._keep_alive else b"connection: close\r\n"
        return b"HTTP/1.1 %d %b\r\n%b%b%b\r\n" % (reply.status, _reason(reply.status), reply.headers, framing, close)

    def _write(self, head: bytes, data: bytes) -> None:
        """Writes what is ready, framed; the last write of a whole body carries its end."""
        if self._reply.chunked and data:
            self._ended = (
                self._next >= len(self._reply.parts) and self._reply.ending == "finish" and not self._reply.separate
            )
            self._transport.write(
                b"%b%x\r\n%b%b" % (head, len(data), data, b"\r\n0\r\n\r\n" if self._ended else b"\r\n")
            )
        elif head or data:
            self._transport.write(head + data)
        self.sent_bytes += len(data)

    def _end(self) -> None:
        match self._reply.ending:
            case "finish":
                if self._reply.chunked and not self._ended:
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
