"""Around every request: its id, the bound of requests in flight, protection, CORS, figures, log, and the last resort.

``GatewayApp`` is plain ASGI and wraps the Litestar app. It costs a few microseconds and answers itself only what must
not depend on anything below: 401, 503 at the bound, preflights, and the reply to whatever escapes. Litestar's guards
and middlewares would cost ten times that (PERFORMANCE.md section 2).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import cast

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from app.api.auth import is_open, presented, presented_keys
from app.api.compression import Compression
from app.api.cors import Cors, Headers
from app.api.errors import cause_of, send_error, unexpected
from app.api.exchange import Exchange
from app.api.request_ids import RequestIds
from app.domain.auth import ANONYMOUS, Caller
from app.errors import ClientDisconnected, GatewayError, NotFound, Overloaded, ShuttingDown
from app.gateway.services import Services
from app.observability.body_excerpts import BodyExcerpts
from app.observability.record import RequestRecord

#: Routes of probes and operators: answered also at the bound of requests in flight, and left out of the figures.
OPERATORS_PREFIXES = ("/health", "/metrics", "/dashboard", "/logs")

#: The hot route: a stored key is verified by the same round trip that admits the request.
ADMITTED_PATHS = frozenset({"/v1/chat/completions"})

#: In place of a status, where the client did not wait for one; the custom is nginx's.
CLIENT_LEFT = 499

#: Requests that no route has answered, in metrics.
OTHER_ROUTES = "other"

#: Larger bodies are read for keys only that this worker knows: whoever makes a key up must not make it work hard.
SMALL_BODY_BYTES = 64 * 1024

#: Litestar remembers the last 1024 paths that it has routed: a longer path is never a route, and would only fill that.
LONGEST_PATH = 4096

_AT_THE_BOUND = "This gateway is at its limit of concurrent requests; please try again."
_STOPPING = "This gateway worker is shutting down; please try again."


class GatewayApp:
    """The ASGI app that the server runs.

    Every request gets ``scope["state"]["request_id"]``, ``["record"]`` (a ``RequestRecord``) and ``["caller"]``.

    Args:
        app: the Litestar app.
        services: its settings, and the figures that requests are counted into.
        request_ids: makes ids.
        clock: monotonic seconds; that of the services by default.
        paths: routes without a variable part.
    """

    def __init__(
        self,
        app: ASGIApp,
        services: Services,
        *,
        request_ids: RequestIds | None = None,
        clock: Callable[[], float] | None = None,
        paths: Collection[str] = ADMITTED_PATHS,
    ) -> None:
        config = services.config
        self._app = app
        self._paths = paths
        self._gate = services.gate
        self._state = services.state
        self._cors = Cors(config.cors_origins) if config.cors_origins else None
        self._max_in_flight = config.max_concurrent_requests
        self._process = services.process
        self._metrics = services.metrics
        self._request_log = services.request_log
        self._tracer = services.telemetry.tracer if services.telemetry is not None else None
        self._compression = Compression.of(config)
        self._tells_times = config.debug
        self._ids = request_ids or RequestIds()
        self._clock = clock or services.monotonic

    @property
    def draining(self) -> bool:
        """Whether the worker has begun to drain."""
        return self._process.draining

    def begin_drain(self) -> None:
        """Not ready any more, and every reply asks its client to connect anew; called at SIGTERM."""
        self._process.draining = True

    def note_refused(self, status: int) -> None:
        """The server has refused what was no request: too slow, too large or malformed."""
        self._metrics.refused(status, route=OTHER_ROUTES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI entry point; everything but HTTP (the lifespan) passes through."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        method, path = scope["method"], scope["path"]
        record = RequestRecord(self._ids.keep_or_new(headers.get(b"x-request-id")), method, path)
        state = scope.setdefault("state", {})
        state["request_id"] = record.request_id
        state["record"] = record
        record.began_at = self._clock()
        exchange = Exchange(
            send,
            record,
            self._added_headers(record, headers),
            self._process,
            self._clock,
            tells_times=self._tells_times,
        )
        bodies = BodyExcerpts() if self._request_log.wants_bodies else None
        is_counted = not path.startswith(OPERATORS_PREFIXES)
        if is_counted:
            self._process.begin()
            if self._tracer is not None:
                record.trace = self._tracer.begin(scope["headers"])
        try:
            if self._cors is not None and self._cors.is_preflight(method, headers):
                await _send_preflight(self._cors.preflight(headers), exchange)
                return
            if is_counted and self._process.in_flight > self._max_in_flight:
                raise Overloaded(_AT_THE_BOUND, retry_after_s=1)
            state["caller"] = caller = await self._caller(scope, path, headers)
            record.tenant, record.key_id, record.source = caller.tenant, caller.key_id, caller.source
            if len(path) > LONGEST_PATH:
                raise NotFound(f"Unknown request URL: its path is longer than {LONGEST_PATH} characters.")
            if method == "HEAD":  # HEAD is GET without the body, on every route
                scope = cast("HTTPScope", {**scope, "method": "GET"})
            compression = self._compression
            reply = exchange.send if compression is None else compression.sender(headers, exchange.send)
            if bodies is not None:
                await self._app(scope, bodies.hearing(receive), bodies.telling(reply))
            else:
                await self._app(scope, receive, reply)
        except asyncio.CancelledError:
            # Nobody but the stopping server cancels a request's task: a client that leaves is noticed by its route.
            if exchange.started:
                raise
            await _fail(ShuttingDown(_STOPPING, retry_after_s=1), scope, receive, exchange)
        except GatewayError as error:
            await _fail(error, scope, receive, exchange)
        except Exception as error:  # noqa: BLE001 - the outermost edge: a caller never sees a trace
            # Litestar wraps what is raised after the reply has begun.
            ours = error.__cause__ if isinstance(error.__cause__, GatewayError) else None
            await _fail(ours or unexpected(error, record), scope, receive, exchange)
        finally:
            self._settle(exchange, headers, route=_route(scope, self._paths) if is_counted else "")
            if bodies is not None:
                self._request_log.note_bodies(record, bodies)
            wrong = record.key_guessed or record.client_credential  # the latter by Anthropic's word
            if record.status == 401 and wrong and presented_keys(headers):
                self._gate.wrong(presented(scope, headers, self._gate))

    async def _caller(self, scope: Scope, path: str, headers: Mapping[bytes, bytes]) -> Caller:
        """Who calls; on the hot route a stored key is still to be verified, by the request's admission."""
        if is_open(path):
            return ANONYMOUS
        caller = await self._gate.caller(presented(scope, headers, self._gate))
        if path in ADMITTED_PATHS and (_is_small(headers) or self._gate.remembers(caller)):
            return caller
        return await self._gate.verified(caller)

    def _added_headers(self, record: RequestRecord, headers: Mapping[bytes, bytes]) -> Headers:
        """Headers that the reply gets, whatever it is."""
        added = [(b"x-request-id", record.request_id.encode("ascii"))]
        if self._cors is not None and not self._cors.is_preflight(record.method, headers):
            added += self._cors.reply(headers)
        if self._process.draining:
            added.append((b"connection", b"close"))
        if not self._state.available:
            record.degraded = True
        return added

    def _settle(self, exchange: Exchange, headers: Mapping[bytes, bytes], *, route: str) -> None:
        """Counts the request, unless it has no ``route``, and writes its line of the log."""
        record = exchange.record
        if exchange.streaming:
            self._process.streams -= 1
        duration_s = self._clock() - record.began_at
        if record.client_left and not record.status:
            record.status = CLIENT_LEFT
        response_s = exchange.response_s if exchange.started else duration_s
        if route:
            self._process.end(record.status, failed=record.is_error, response_s=response_s, duration_s=duration_s)
            self._metrics.answered(record, route=route, duration_s=duration_s)
            if self._tracer is not None:
                self._tracer.ended(record, route=route, duration_s=duration_s)
        length = headers.get(b"content-length", b"")
        record.bytes_in = int(length) if length.isdigit() and len(length) < 20 else 0
        self._request_log.note(record, response_s=response_s, duration_s=duration_s)


def _route(scope: Scope, paths: Collection[str]) -> str:
    """The route of a request, as metrics know it.

    Args:
        scope: the request.
        paths: that are routes without a variable part: of them the route is known of what was refused at the door, too.
    """
    route: str = scope.get("path_template") or (scope["path"] if scope["path"] in paths else OTHER_ROUTES)
    return route


def _is_small(headers: Mapping[bytes, bytes]) -> bool:
    """Whether reading a body costs next to nothing, so that it may come before the key is looked up."""
    length = headers.get(b"content-length", b"")
    return length.isdigit() and len(length) < 10 and int(length) <= SMALL_BODY_BYTES


async def _send_preflight(headers: Headers, exchange: Exchange) -> None:
    await exchange.send({"type": "http.response.start", "status": 204, "headers": headers})
    await exchange.send({"type": "http.response.body", "body": b"", "more_body": False})


async def _fail(error: GatewayError, scope: Scope, receive: Receive, exchange: Exchange) -> None:
    """Answers with the error; a reply that has begun is left unfinished, and the server cuts the connection."""
    record = exchange.record
    if not exchange.started:
        await send_error(error, scope, receive, exchange.send)
    elif isinstance(error, ClientDisconnected):
        record.client_left = True
    else:
        record.failed = True
        record.error_code = record.error_code or cause_of(error)
