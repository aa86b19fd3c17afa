"""One reply on its way out: what every reply gets, what is noted of it, what HEAD leaves out."""

from __future__ import annotations

from collections.abc import Callable

from litestar.types import Message, Send

from app.api.cors import Headers
from app.observability.process import ProcessFigures
from app.observability.record import RequestRecord
from app.observability.server_timing import server_timing

#: The state store is away, or did not answer this request.
DEGRADED: Headers = [(b"x-claude-wrapper-degraded", b"state")]


class Exchange:
    """One request and what has been sent of its reply.

    Args:
        send: the server's channel.
        record: notes of the request.
        added: headers that the reply gets, whatever it is.
        process: open streams are counted there.
        clock: monotonic seconds, that of the record.
        tells_times: the reply gets a ``server-timing`` header.

    Attributes:
        response_s: until the reply began.
        started: it has begun.
        streaming: it is a stream.
    """

    __slots__ = (
        "_added",
        "_clock",
        "_head",
        "_process",
        "_send",
        "_tells_times",
        "record",
        "response_s",
        "started",
        "streaming",
    )

    def __init__(
        self,
        send: Send,
        record: RequestRecord,
        added: Headers,
        process: ProcessFigures,
        clock: Callable[[], float],
        *,
        tells_times: bool,
    ) -> None:
        self._send = send
        self._added = added
        self._process = process
        self._clock = clock
        self._tells_times = tells_times
        self._head = record.method == "HEAD"
        self.record = record
        self.response_s = 0.0
        self.started = False
        self.streaming = False

    async def send(self, message: Message) -> None:
        """The ``send`` that the wrapped app gets."""
        if message["type"] == "http.response.body":
            if self._head:
                message = {**message, "body": b""}
            else:
                self.record.bytes_out += len(message["body"])
        elif message["type"] == "http.response.start":
            self.started = True
            self.response_s = self._clock() - self.record.began_at
            self.record.status = message["status"]
            if self.record.stream and message["status"] < 400:
                self.streaming = True
                self._process.streams += 1
            # A new list: the app's may be a constant of its own.
            headers = message["headers"]
            if self.record.method == "OPTIONS":
                headers = [(name, _and_head(value) if name == b"allow" else value) for name, value in headers]
            degraded = DEGRADED if self.record.degraded else ()
            headers = [*headers, *self._added, *degraded]
            if self._tells_times:
                headers.append((b"server-timing", server_timing(self.record, now=self._clock()).encode("ascii")))
            message = {**message, "headers": headers}
        await self._send(message)


def _and_head(allow: bytes) -> bytes:
    """The methods of a route as Litestar lists them in its reply to ``OPTIONS``, with the one that is answered here."""
    return allow if b"HEAD" in allow else allow.replace(b"GET", b"GET, HEAD")
