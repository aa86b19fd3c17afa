"""The ``direct`` lane: requests of the Anthropic API, put together here.

They are what the ``anthropic`` package would send, and every test of a lane runs on both
(``tests/integration/upstream``); but that package takes a second and 45 MB of every worker to import, most of it for
models of requests and replies that a gateway never makes. Source: DESIGN.md section 6, ``spec/sdk-notes.md``.
"""

from __future__ import annotations

import aiohttp

from app.domain.upstream import UpstreamRequest
from app.observability.version import VERSION
from app.upstream.connections import Connections
from app.upstream.lane import Lane
from app.upstream.route import Route
from app.upstream.settings import LaneSettings

_HEADERS = {
    "accept": "application/json",
    "accept-encoding": "identity",
    "user-agent": f"claude-wrapper/{VERSION}",
}


class DirectUpstream(Lane):
    """An ``Upstream`` without any package between the gateway and its connections.

    Args:
        settings: of any lane.

    Raises:
        SettingError: a setting makes no sense; names the variable.
    """

    def __init__(self, settings: LaneSettings) -> None:
        super().__init__(settings, DirectClient)


class DirectClient:
    """Sends a fixed set of headers, and those of the call.

    Args:
        route: base URL and the credential of calls that bring none.
        connections: to the upstream.
    """

    def __init__(self, route: Route, connections: Connections) -> None:
        self._url = route.url
        self._credential = route.key or route.token
        self._connections = connections

    async def call(self, request: UpstreamRequest) -> aiohttp.ClientResponse:
        """Sends a request once and returns its reply unread, whatever its status is.

        A credential goes as a bearer, which Anthropic takes from API keys and OAuth tokens alike; one of the request
        goes with this one call and is remembered nowhere.

        Raises:
            aiohttp.ClientError, OSError, RuntimeError: see ``Connections.exchange``.
        """
        headers = {
            **_HEADERS,
            **request.headers,
            **request.trace,
            "authorization": f"Bearer {request.credential or self._credential}",
        }
        if request.body:
            headers["content-type"] = "application/json"
        return await self._connections.exchange(request.method, self._url + request.path, headers, request.body)
