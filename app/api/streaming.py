"""Server-sent events to a client: true status for early errors, keep-alive comments, errors in band.

The door pulls frames from a source of the corridor and writes each batch at once. Nothing is sent before the first
frame is there, so that an early error still has its status, unless the upstream stays silent for ``keepalive_s``: then
the reply is committed to 200 and comments keep load balancers from cutting it (DESIGN.md section 5). A source that
waits for something of its own, for a bounded time, may hold them back. A slow reader makes ``send`` wait, which pauses
the source; for how long is the server's business (``workers/http_protocol.py``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from litestar.types import Receive, Send

from app.api.headers import Headers
from app.api.presence import ClientPresence
from app.errors import GatewayError, ShuttingDown

PING = b": ping\n\n"

#: How soon after a comment is held back another look is taken.
LOOK_AGAIN_S = 0.25

SSE_HEADERS: Headers = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


class FrameSource(Protocol):
    """Frames of one stream, such as ``app.gateway.stream.ChatEvents``."""

    finished: bool

    @property
    def holds_back(self) -> bool:
        """Whether what it waits for is bounded and may still decide on the status and the headers of the reply."""
        ...

    async def next(self) -> bytes:
        """The next frames; raises ``GatewayError``."""
        ...

    async def close(self) -> None:
        """Ends what is still open."""
        ...


class EventStream:
    """One streamed reply.

    Args:
        source: where the frames come from.
        headers: the reply's own headers, asked for when the reply starts.
        error_frame: how the dialect says an error in band.
        unexpected: what a bug of ours is told as; gets to log it.
        keepalive_s: silence after which a comment is sent.
    """

    def __init__(
        self,
        source: FrameSource,
        *,
        headers: Callable[[], Headers],
        error_frame: Callable[[GatewayError], bytes],
        unexpected: Callable[[Exception], GatewayError],
        keepalive_s: float,
    ) -> None:
        self._source = source
        self._headers = headers
        self._error_frame = error_frame
        self._unexpected = unexpected
        self._keepalive_s = keepalive_s
        self._loop = asyncio.get_running_loop()
        self._since = self._loop.time()
        self._writing = False
        self._ping: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.started = False
        self.error: GatewayError | None = None

    async def serve(self, receive: Receive, send: Send) -> None:
        """Sends the whole stream.

        Raises:
            GatewayError: failed before the reply started: the caller answers with a status.
            ClientDisconnected: the client went away.
        """
        self._send = send
        async with ClientPresence(receive) as presence:
            self._presence = presence
            self._arm()
            try:
                await self._pull()
            except asyncio.CancelledError:
                # Not the client's doing (that ends below, as ClientDisconnected): the worker is stopping.
                if not presence.is_gone:
                    await self._fail(
                        ShuttingDown("This gateway worker is shutting down; please try again.", retry_after_s=1)
                    )
                    return
                raise
            except GatewayError as error:
                await self._fail(error)
            except Exception as error:  # noqa: BLE001 - once the reply has begun, nobody above can tell the client
                await self._fail(self._unexpected(error))
            finally:
                presence.over()
                self._disarm()
                await self._source.close()

    async def _pull(self) -> None:
        source = self._source
        while True:
            frames = await source.next()
            if source.finished:
                await self._write(frames, more=False)
                self._presence.over()
                return
            await self._write(frames, more=True)

    async def _fail(self, error: GatewayError) -> None:
        self.error = error
        if not self.started:
            raise error
        await self._write(self._error_frame(error), more=False)
        self._presence.over()

    async def _write(self, frames: bytes, *, more: bool) -> None:
        if self._ping is not None:
            await self._ping
        await self._put(frames, more=more)

    async def _put(self, frames: bytes, *, more: bool) -> None:
        self._writing = True
        self._since = self._loop.time()
        if not self.started:
            self.started = True
            await self._send({"type": "http.response.start", "status": 200, "headers": SSE_HEADERS + self._headers()})
        await self._send({"type": "http.response.body", "body": frames, "more_body": more})
        self._writing = False
        self._since = self._loop.time()

    # One timer per stream, moved on only when it fires: a frame costs two clock readings.

    def _arm(self) -> None:
        self._timer = self._loop.call_at(self._since + self._keepalive_s, self._tick)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._ping is not None:
            self._ping.cancel()

    def _tick(self) -> None:
        now = self._loop.time()
        if self._writing:  # the client is the one who is slow
            self._since = now
        elif not self.started and self._source.holds_back:
            self._since = now + LOOK_AGAIN_S - self._keepalive_s
        elif now - self._since >= self._keepalive_s:
            self._ping = asyncio.create_task(self._send_ping())
            self._since = now
        self._arm()

    async def _send_ping(self) -> None:
        try:
            await self._put(PING, more=True)
        finally:
            self._ping = None
