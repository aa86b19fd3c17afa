"""What every lane over our connections does with a call: its turn, its deadlines, and what its errors mean.

How a request is put together is the business of the client that a lane is given: ``direct.py`` by hand, ``sdk.py`` by
the ``anthropic`` package.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Protocol

import aiohttp

from app.domain.upstream import UpstreamReply, UpstreamRequest
from app.errors import BadUpstreamReply, ShuttingDown, UpstreamTimeout
from app.upstream.aiohttp_errors import EXCHANGE_ERRORS, reading_error, sending_error
from app.upstream.connections import Connections
from app.upstream.route import Route, find_route
from app.upstream.settings import LaneSettings, no_credential
from app.upstream.slots import Slots


class Client(Protocol):
    """Puts requests together and sends them over the lane's connections."""

    async def call(self, request: UpstreamRequest) -> aiohttp.ClientResponse:
        """Sends a request once and returns its reply unread, whatever its status is; raises ``EXCHANGE_ERRORS``."""
        ...


class Lane:
    """An ``Upstream`` over our connections, which are made when the first call comes.

    Args:
        settings: of any lane.
        client: makes the client.

    Raises:
        SettingError: a setting makes no sense; names the variable.
    """

    def __init__(self, settings: LaneSettings, client: Callable[[Route, Connections], Client]) -> None:
        route = find_route(settings)
        self._connections = Connections(
            tls=route.tls,
            proxy=route.proxy,
            connect_timeout_s=settings.connect_timeout_s,
            idle_timeout_s=settings.idle_timeout_s,
            keepalive_s=settings.keepalive_s,
        )
        self._client = client(route, self._connections)
        self._has_credential = bool(route.key or route.token)
        self._settings = settings
        self._slots = Slots(limit=settings.max_connections, wait_s=settings.pool_wait_s)
        self._closed = False

    async def send(self, request: UpstreamRequest) -> UpstreamReply:
        """Sends a request; see ``app.domain.upstream.Upstream.send``.

        Raises:
            UpstreamStatus: neither the gateway nor the request has a credential; nothing was sent.
            UpstreamUnreachable: no connection, or it broke before the reply's headers.
            UpstreamTimeout: no connection or no reply headers in time.
            BadUpstreamReply: what came is not HTTP.
            Overloaded: no free connection in time.
            ShuttingDown: the lane is closed.
        """
        if not (self._has_credential or request.credential):
            raise no_credential()
        await self._slots.take()
        request.watch.sending()
        try:
            reply = await self._exchange(request)
        except BaseException:
            self._slots.give_back()
            raise
        return LaneReply(reply, self._settings, self._slots.give_back)

    async def close(self) -> None:
        """Closes every connection; calls that still run fail."""
        self._closed = True
        self._slots.close()
        await self._connections.close()

    async def _exchange(self, request: UpstreamRequest) -> aiohttp.ClientResponse:
        limit_s = self._settings.first_byte_timeout_s
        if request.fresh:
            self._connections.close_idle()
        try:
            async with asyncio.timeout(limit_s):
                reply = await self._call(request)
        except TimeoutError:
            late = f"Anthropic did not begin to answer within {limit_s:g} s."
            raise UpstreamTimeout(late, phase="first_byte") from None
        if reply.status < 200:
            reply.close()
            raise BadUpstreamReply(f"Anthropic answered with status {reply.status}, which is no answer to a call.")
        return reply

    async def _call(self, request: UpstreamRequest) -> aiohttp.ClientResponse:
        """The reply of one call; aiohttp's own deadlines are told apart here from the one around it."""
        try:
            return await self._client.call(request)
        except EXCHANGE_ERRORS as exc:
            if self._closed:
                raise ShuttingDown("This worker is shutting down; try again.", retry_after_s=1.0) from exc
            raise sending_error(exc, connect_timeout_s=self._settings.connect_timeout_s) from exc


class LaneReply:
    """An ``UpstreamReply`` over aiohttp's.

    Args:
        reply: unread.
        settings: its time limit and the largest body that ``read`` takes.
        release: called once, when the call is over.
    """

    def __init__(self, reply: aiohttp.ClientResponse, settings: LaneSettings, release: Callable[[], None]) -> None:
        headers = {name.lower(): value for name, value in reply.headers.items()}
        if headers.pop("content-encoding", None) is not None:
            headers.pop("content-length", None)  # aiohttp has decompressed the body
        self.status = reply.status
        self.headers: Mapping[str, str] = headers
        self.attempts = 1
        self._reply = reply
        self._settings = settings
        self._release: Callable[[], None] | None = release

    async def read(self) -> bytes:
        """The whole body; see ``app.domain.upstream.UpstreamReply.read``.

        Raises:
            UpstreamUnreachable: the connection broke before the end.
            UpstreamTimeout: it fell silent before the end.
            BadUpstreamReply: the body is not framed as HTTP, or larger than ``upstream_max_reply_bytes``.
        """
        parts: list[bytes] = []
        room = self._settings.max_reply_bytes
        async for data in self.chunks():
            room -= len(data)
            if room < 0:
                await self.close()
                raise BadUpstreamReply(
                    f"Anthropic's reply is larger than {self._settings.max_reply_bytes} bytes "
                    "(CLAUDE_WRAPPER_UPSTREAM_MAX_REPLY_BYTES)."
                )
            parts.append(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives; see ``app.domain.upstream.UpstreamReply.chunks``.

        Raises:
            UpstreamUnreachable: the connection broke before the end.
            UpstreamTimeout: it fell silent before the end.
            BadUpstreamReply: the body is not framed as HTTP.
        """
        content = self._reply.content
        try:
            while data := await content.readany():
                yield data
        except EXCHANGE_ERRORS as exc:
            raise reading_error(exc, idle_timeout_s=self._settings.idle_timeout_s) from exc
        finally:
            self._end()

    async def close(self) -> None:
        """Ends the call; a body that was not read to its end closes the connection at once."""
        self._end()

    def __del__(self) -> None:
        # A reply that was lost on its way to whoever asked for it, as when both ends of a task stop at the same time.
        self._end()

    def _end(self) -> None:
        if self._release is not None:
            self._reply.close()
            self._release()
            self._release = None
