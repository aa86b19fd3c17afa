"""Our connections behind the transport interface of the SDK's HTTP client.

The SDK brings such a transport over aiohttp (``DefaultAioHttpClient``); ``app/upstream/connections.py`` says why a
gateway needs another one.
"""

from __future__ import annotations

import aiohttp
import httpx2

from app.upstream.connections import Connections


class OpenReply(httpx2.Response):
    """A reply whose body nobody has read yet, whatever its status is.

    ``reply`` is aiohttp's, with the headers and the body; the SDK is shown neither: it would parse headers that nobody
    asks it for.
    """

    reply: aiohttp.ClientResponse

    @property
    def reason_phrase(self) -> str:
        """Empty; the SDK looks it up for its debug log, which is off."""
        return ""


class _Body(httpx2.AsyncByteStream):
    """Lets the SDK's HTTP client drop a reply; reading goes through ``OpenReply.reply``."""

    def __init__(self, reply: aiohttp.ClientResponse) -> None:
        self._reply = reply

    async def aclose(self) -> None:
        self._reply.close()


class SdkTransport(httpx2.AsyncBaseTransport):
    """Sends requests of the SDK.

    Args:
        connections: to the upstream.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Sends a request and waits for its reply's headers.

        Raises:
            aiohttp.ClientError, OSError, RuntimeError: see ``Connections.exchange``.
        """
        body = await request.aread()
        reply = await self._connections.exchange(request.method, str(request.url), request.headers.multi_items(), body)
        response = OpenReply(reply.status, stream=_Body(reply), request=request)
        response.reply = reply
        return response

    async def aclose(self) -> None:
        """Closes every connection, also those in use."""
        await self._connections.close()
