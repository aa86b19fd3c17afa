"""A collector of OTLP over HTTP in the test's event loop, that keeps what it is sent and may be slow or broken.

async with otlp_receiver() as collector: ... collector.url, collector.spans
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from msgspec import Struct
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric


class Span(Struct, frozen=True, kw_only=True):
    """One span; ids in hexadecimal, empty for none; times in Unix nanoseconds; ``kind`` and ``status`` by number."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    state: str
    kind: int
    status: int
    began_ns: int
    ended_ns: int
    attributes: dict[str, Any]
    resource: dict[str, Any]


class Collector:
    """What was sent to it, oldest first.

    Attributes:
        status: of its replies.
        delay_s: before each of them.
        spans: of the replies with 200.
        exports: of metrics, each with its resource.
        raw: every body.
        headers: of every request.
    """

    def __init__(self) -> None:
        self.url = ""
        self.status = 200
        self.delay_s = 0.0
        self.spans: list[Span] = []
        self.exports: list[tuple[dict[str, Any], dict[str, Metric]]] = []
        self.raw: list[bytes] = []
        self.headers: list[dict[str, str]] = []

    def trace(self, trace_id: str = "") -> list[Span]:
        """The spans of a trace; by default of the only one."""
        traces = {span.trace_id for span in self.spans}
        if not trace_id:
            (trace_id,) = traces
        return [span for span in self.spans if span.trace_id == trace_id]

    def span(self, name: str) -> Span:
        """The only span whose name begins so."""
        (span,) = [span for span in self.spans if span.name.startswith(name)]
        return span

    def totals(self) -> dict[str, Metric]:
        """The metrics that came last."""
        return self.exports[-1][1]

    async def handle(self, request: web.Request) -> web.Response:
        """One export."""
        body = await request.read()
        self.raw.append(body)
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if self.status == 200:
            self._keep(request.path, body)
        return web.Response(status=self.status)

    def _keep(self, path: str, body: bytes) -> None:
        if path.endswith("/v1/traces"):
            self.spans += _spans(ExportTraceServiceRequest.FromString(body))
            return
        for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
            named = {metric.name: metric for scope in resource.scope_metrics for metric in scope.metrics}
            self.exports.append((attributes(resource.resource.attributes), named))


def _spans(request: ExportTraceServiceRequest) -> list[Span]:
    return [
        Span(
            name=span.name,
            trace_id=span.trace_id.hex(),
            span_id=span.span_id.hex(),
            parent_id=span.parent_span_id.hex(),
            state=span.trace_state,
            kind=span.kind,
            status=span.status.code,
            began_ns=span.start_time_unix_nano,
            ended_ns=span.end_time_unix_nano,
            attributes=attributes(span.attributes),
            resource=attributes(resource.resource.attributes),
        )
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def attributes(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    """Attributes as a dictionary."""
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value") or "string_value") for pair in pairs}


@asynccontextmanager
async def otlp_receiver() -> AsyncIterator[Collector]:
    """Runs a collector until the block ends."""
    collector = Collector()
    app = web.Application(client_max_size=64 * 1024**2)
    app.router.add_post("/{path:.*}", collector.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    collector.url = f"http://{host}:{port}"
    try:
        yield collector
    finally:
        await runner.cleanup()
