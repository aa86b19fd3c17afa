"""The HTTP under the lanes: connections to Anthropic, kept and reused, by aiohttp.

A gateway needs what aiohttp does not do by itself: a connection that is closed *at once* when a call is cancelled
(aiohttp's own close first sends what is still buffered, to a peer that may not read), one deadline per phase,
everything that has arrived in one read, no cookies kept between clients, error replies left unread, and nothing sent
twice: a kept connection that turns out to be dead is an error with a name, and takes the idle ones with it.
How many there are is bounded by ``app/upstream/slots.py``.
"""

from __future__ import annotations

import asyncio
import functools
import io
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler

#: A reply's status line and headers: more than 128 headers or 16 KiB in one line are not Anthropic's.
_MAX_HEADER_BYTES = 16 * 1024

#: An unread body may take twice this much memory before the connection is no longer read.
_READ_BUFFER_BYTES = 64 * 1024

#: aiohttp warns of larger bodies in one piece; from here on they are written in pieces.
_LARGE_BODY_BYTES = 1024 * 1024

#: A long answer can be silent for minutes; probes keep middleboxes from forgetting the connection. As the SDK does.
_TCP_KEEPALIVE = (
    ("TCP_KEEPIDLE", 60),
    ("TCP_KEEPINTVL", 60),
    ("TCP_KEEPCNT", 5),
)


class KeptConnectionBroke(aiohttp.ServerDisconnectedError):
    """A connection that had served before broke before its reply began: the server had closed it while it was idle."""


class Connections:
    """Connections to one upstream. They are made when the first request comes.

    Args:
        tls: context for https, or ``None`` for plain http.
        proxy: URL of an HTTP proxy.
        connect_timeout_s: name resolution, TCP, proxy and TLS together.
        idle_timeout_s: silence inside a reply's body.
        keepalive_s: an idle connection is kept this long.
    """

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None,
        proxy: str | None,
        connect_timeout_s: float,
        idle_timeout_s: float,
        keepalive_s: float,
    ) -> None:
        self._tls = tls
        self._proxy = proxy
        self._keepalive_s = keepalive_s
        self._idle_timeout_s = idle_timeout_s
        self._timeout = aiohttp.ClientTimeout(total=None, connect=connect_timeout_s, sock_connect=None, sock_read=None)
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    async def exchange(
        self, method: str, url: str, headers: Mapping[str, str] | Sequence[tuple[str, str]], body: bytes
    ) -> aiohttp.ClientResponse:
        """Sends a request and waits for its reply's headers; the body is unread, whatever the status is.

        Raises:
            KeptConnectionBroke: the connection was most likely dead already; the next request gets a fresh one.
            aiohttp.ClientError, OSError: as aiohttp says it; ``app/upstream/aiohttp_errors.py`` says what it means.
            RuntimeError: they are closed.
        """
        if self._closed:
            raise RuntimeError("The connections are closed.")
        if self._session is None:
            self._session = self._open_session()
        try:
            reply = await self._session.request(
                method,
                url,
                headers=headers,
                data=(io.BytesIO(body) if len(body) > _LARGE_BODY_BYTES else body) if body else None,
                allow_redirects=False,  # a credential goes to no host but the configured one
            )
        except KeptConnectionBroke:
            # After a restart of the server all of them are dead: a repeat must not try them one after the other.
            self.close_idle()
            raise
        if (connection := reply.connection) is not None and (protocol := connection.protocol) is not None:
            # Until here silence was bounded by the caller; from here on by the socket.
            protocol.read_timeout = self._idle_timeout_s
            protocol.start_timeout()
        return reply

    def close_idle(self) -> None:
        """Closes the connections that nobody uses: a request that is sent in the same turn gets a fresh one."""
        if self._session is not None:
            cast(_Connector, self._session.connector).close_idle()

    async def close(self) -> None:
        """Closes every connection, also those in use."""
        self._closed = True
        if self._session is not None:
            await self._session.close()

    def _open_session(self) -> aiohttp.ClientSession:
        session = aiohttp.ClientSession(
            connector=_Connector(
                limit=0,
                ssl=self._tls if self._tls is not None else True,
                socket_factory=_tcp_socket,
                keepalive_timeout=self._keepalive_s,
            ),
            timeout=self._timeout,
            proxy=self._proxy,
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=_READ_BUFFER_BYTES,
            max_line_size=_MAX_HEADER_BYTES,
            max_field_size=_MAX_HEADER_BYTES,
        )
        session._retry_connection = False  # aiohttp would send a GET twice, unseen
        return session


class _Connector(aiohttp.TCPConnector):
    """aiohttp's pool, of our connections."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        connection: Callable[[], ResponseHandler] = functools.partial(_Connection, asyncio.get_running_loop())
        self._factory = cast("functools.partial[ResponseHandler]", connection)

    def close_idle(self) -> None:
        """Closes the connections that nobody uses."""
        for idle in self._conns.values():
            for connection, _ in idle:
                connection.close()
        self._conns.clear()


class _Connection(ResponseHandler):
    """aiohttp's connection, that closes at once and knows whether it is used for the first time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._uses = 0

    def set_response_params(self, **options: Any) -> None:
        """Begins an exchange."""
        self._uses += 1
        super().set_response_params(**options)

    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        """Ends the exchange with an error; one that a dead kept connection explains gets a name of its own."""
        if self._uses > 1 and isinstance(exc, (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
            super().set_exception(KeptConnectionBroke(), exc)
        else:
            super().set_exception(exc, *cause)
        # NOTE: aiohttp 3.14 tells nobody who reads the body that its chunks are nonsense: the reader would hang.
        self._fail_body(exc)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Is told that the connection is gone; a body that ends with its connection does so only by a clean close."""
        if exc is not None:
            self._fail_body(aiohttp.ClientOSError(*exc.args))
        super().connection_lost(exc)

    def close(self) -> None:
        """Closes the connection without sending what is buffered, and without TLS's farewell."""
        self._fail_body(aiohttp.ClientConnectionError("closed on this side"))
        self.abort()

    def _fail_body(self, exc: BaseException) -> None:
        body = self._payload
        if body is not None and not body.is_eof() and body.exception() is None:
            body.set_exception(exc)


def _tcp_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _TCP_KEEPALIVE:
        if hasattr(socket, option):  # macOS calls them differently and has sound defaults
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    return made
