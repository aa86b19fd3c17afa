"""The ``anthropic`` package's client as the ``sdk`` lane uses it: one attempt of its raw route, made cheap.

The package puts URL, headers and options together anew for every call, which is more than half of what a call costs.
Calls of one kind (method, path, headers) differ in their bodies only, so here the package does that work for the first
of a kind and the others are copies. What it does around an attempt (its retries, copies of a JSON body, keys for
idempotency, the parsing of replies) and what its HTTP client does around the transport has no use here and is left out.
Measured with ``tests/bench/upstream_lane.py``.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from typing import cast

import aiohttp
import httpx2
from anthropic import APIConnectionError, AsyncAnthropic, Omit
from anthropic._models import FinalRequestOptions

from app.domain.upstream import UpstreamRequest
from app.upstream.sdk_transport import OpenReply

#: Kinds of calls that are remembered: paths times sets of betas, a handful in practice.
_MAX_KINDS = 64

#: Where a call's own credential stands, in the form in which the package sends every other one: a bearer, which
#: Anthropic takes from API keys and OAuth tokens alike (spec/sdk-notes.md).
_AUTHORIZATION = "authorization"

#: Headers that every call has of its own: they are no part of its kind.
_OF_ONE_CALL = frozenset({_AUTHORIZATION, "traceparent", "tracestate"})

#: Keeps the package from searching the environment and the disk where the gateway has no credential; never sent.
_NOBODY = "nobody"

#: At debug level the package and its HTTP client write prompts into the log, which nothing may.
_LOGGERS = ("anthropic", "httpx2", "httpcore2")


class _StraightClient(httpx2.AsyncClient):
    """The SDK's HTTP client without authentication, redirects, cookies and hooks: a request goes to the transport."""

    def __init__(self, transport: httpx2.AsyncBaseTransport) -> None:
        super().__init__(transport=transport, trust_env=False, follow_redirects=False)
        self._straight = transport

    async def send(self, request: httpx2.Request, **_options: object) -> httpx2.Response:
        """Sends a request; its reply comes unread.

        Raises:
            RuntimeError: the client is closed.
        """
        if self.is_closed:
            raise RuntimeError("The client is closed.")
        return await self._straight.handle_async_request(request)


class SdkClient(AsyncAnthropic):
    """A client that sends a fixed set of headers and looks nothing up by itself, neither variables nor files.

    Args:
        url: base URL, without a slash at its end.
        key: API key, or empty.
        token: bearer token, used when there is no key, or empty. Without both, every call needs its own credential.
        transport: sends the requests.
    """

    def __init__(self, url: str, key: str, token: str, transport: httpx2.AsyncBaseTransport) -> None:
        super().__init__(
            api_key=key or None,
            auth_token=None if key else token or _NOBODY,  # exactly one of the two
            webhook_key="",
            base_url=url,
            timeout=None,
            max_retries=0,
            open_telemetry=False,
            http_client=_StraightClient(transport),
        )
        for name in _LOGGERS:
            logging.getLogger(name).setLevel(logging.WARNING)
        self._custom_headers = {}  # ANTHROPIC_CUSTOM_HEADERS, which is not a setting of the gateway
        self._platform = "Unknown"  # for a header that is not sent; finding it out starts a thread
        self._headers: dict[str, str | Omit] = {
            "accept": "application/json",
            "accept-encoding": "identity",
            "content-type": "application/json",
            "user-agent": self.user_agent,
            **self.auth_headers,
        }
        self._options: dict[object, FinalRequestOptions] = {}
        self._requests: dict[object, httpx2.Request] = {}

    async def call(self, request: UpstreamRequest) -> aiohttp.ClientResponse:
        """Sends a request once and returns its reply unread, whatever its status is.

        A credential of the request goes with this one call and is remembered nowhere.

        Raises:
            aiohttp.ClientError, OSError, RuntimeError: see ``Connections.exchange``.
        """
        kind = (request.method, request.path, *request.headers.items())
        options = self._options.get(kind)
        if options is None:
            options = FinalRequestOptions.construct(
                method=request.method, url=request.path, headers=dict(request.headers)
            )
            if len(self._options) < _MAX_KINDS:
                self._options[kind] = options
        options = copy.copy(options)
        options.content = request.body or None
        if request.credential or request.trace:
            own = {_AUTHORIZATION: f"Bearer {request.credential}"} if request.credential else {}
            options.headers = {**request.headers, **request.trace, **own}
        # Also a plain call is asked for as a stream: its reply comes unread, and is read within the lane's bounds.
        try:
            response, _ = await self._attempt_request(options, stream=True)
        except APIConnectionError as exc:
            raise exc.__cause__ or exc from None
        return cast(OpenReply, response).reply

    def _build_request(self, options: FinalRequestOptions, *, retries_taken: int = 0) -> httpx2.Request:
        """The HTTP request of a call."""
        headers = dict(cast("Mapping[str, str]", options.headers))
        own = {name: headers.pop(name) for name in _OF_ONE_CALL & headers.keys()}
        kind = (options.method, options.url, *headers.items())
        first = self._requests.get(kind)
        if first is None:
            options.headers = headers
            first = super()._build_request(options, retries_taken=retries_taken)
            for name in [name for name in first.headers if name.startswith("x-stainless-")]:
                del first.headers[name]  # they describe this machine, or say nothing true of a raw call
            for name in ("host", "content-length"):
                first.headers.pop(name, None)  # aiohttp's to add
            if len(self._requests) < _MAX_KINDS:
                self._requests[kind] = first
        body = cast("bytes | None", options.content) or b""
        request = httpx2.Request(first.method, first.url, headers=first.headers, stream=httpx2.ByteStream(body))
        for name, value in own.items():
            request.headers[name] = value  # of the copy alone
        return request

    @property
    def default_headers(self) -> dict[str, str | Omit]:
        """The headers of every call, besides the call's own."""
        return self._headers
