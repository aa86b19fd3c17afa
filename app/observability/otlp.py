"""The exporters of OTLP over HTTP: traces and metrics of one worker, each sent by a thread of its own.

Importing this module imports OpenTelemetry's SDK, which takes half a second and 20 MB; only ``telemetry.py`` does, in
those threads. Endpoints, headers, certificates, time limits and compression are the SDK's ``OTEL_EXPORTER_OTLP_*``.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Final

from opentelemetry.exporter.otlp.proto.http import metric_exporter, trace_exporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, SERVICE_VERSION, OTELResourceDetector
from opentelemetry.sdk.resources import Resource as SdkResource
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from app.observability.metrics import WorkerMetrics
from app.observability.otlp_metrics import Period, metrics_data
from app.observability.spans import SpanMaker
from app.observability.totals import Gauges
from app.observability.tracing import Tracer
from app.observability.version import DISTRIBUTION, VERSION

log = logging.getLogger(__name__)

#: Requests whose spans are sent at once: making and encoding them holds the interpreter, and requests wait for that.
REQUESTS_AT_ONCE: Final = 32
#: While a collector is away, each exporter says so this often; lost traces are told as often.
TOLD_EVERY_S: Final = 60.0


class Resource(SdkResource):
    """A resource whose hash is worked out once: the encoder asks for it with every span, and it costs 5 us."""

    def __init__(self, resource: SdkResource) -> None:
        super().__init__(resource.attributes, resource.schema_url)
        self._hash = super().__hash__()

    def __hash__(self) -> int:
        return self._hash


class Seldom(logging.Filter):
    """Lets one record pass every ``TOLD_EVERY_S``: the SDK tells of each attempt.

    Args:
        monotonic: seconds.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._monotonic = monotonic
        self._told_at = float("-inf")

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether this one is told."""
        now = self._monotonic()
        if now - self._told_at < TOLD_EVERY_S:
            return False
        self._told_at = now
        return True


def worker_resource(worker_id: str) -> Resource:
    """What spans and metrics come from: ``OTEL_SERVICE_NAME`` and ``OTEL_RESOURCE_ATTRIBUTES``, and this worker.

    Args:
        worker_id: tells it from every other one. Sums of two workers under one instance would make no sense, so an
            instance that the environment names gets it as an ending.
    """
    given: Mapping[str, object] = OTELResourceDetector().detect().attributes
    instance = given.get(SERVICE_INSTANCE_ID)
    own = {
        SERVICE_NAME: given.get(SERVICE_NAME) or DISTRIBUTION,
        SERVICE_VERSION: given.get(SERVICE_VERSION) or VERSION,
        SERVICE_INSTANCE_ID: f"{instance}.{worker_id}" if instance else worker_id,
    }
    return Resource(SdkResource.create({name: str(value) for name, value in own.items()}))


class TraceExport:
    """Sends the spans of the requests that are over.

    Args:
        endpoint: of traces; ``None`` for that of the environment.
        tracer: has the requests.
        maker: makes the spans.
        now_ns: the wall clock, in Unix nanoseconds.
        monotonic: the clock of the notes of requests, in seconds.
    """

    def __init__(
        self,
        endpoint: str | None,
        tracer: Tracer,
        maker: SpanMaker,
        *,
        now_ns: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._exporter: SpanExporter = OTLPSpanExporter(endpoint=endpoint)
        self._tracer = tracer
        self._maker = maker
        self._now_ns = now_ns
        self._monotonic = monotonic
        self._is_over = False
        self._told_dropped = 0
        self._told_at = float("-inf")
        _quieten(trace_exporter)

    def round(self, *, last: bool) -> None:
        """Sends all that wait, but for those whose settlement may yet come."""
        while not self._is_over:
            now = self._monotonic()
            epoch_ns = self._now_ns() - int(now * 1e9)
            batch = self._tracer.take(REQUESTS_AT_ONCE, now=math.inf if last else now)
            if not batch:
                break
            spans = [span for ended in batch for span in self._maker.spans_of(ended, epoch_ns=epoch_ns)]
            if self._exporter.export(spans) is not SpanExportResult.SUCCESS:
                self._tracer.dropped += len(batch)
        self._tell_dropped()

    def give_up(self) -> None:
        """Ends an attempt that waits to be repeated, and makes no other."""
        if not self._is_over:
            self._is_over = True
            self._exporter.shutdown()

    def _tell_dropped(self) -> None:
        now, dropped = self._monotonic(), self._tracer.dropped
        if dropped > self._told_dropped and now - self._told_at >= TOLD_EVERY_S:
            log.warning(
                "Traces of %d requests were lost: the collector is away, or does not keep up.",
                dropped - self._told_dropped,
            )
            self._told_dropped, self._told_at = dropped, now


class MetricExport:
    """Sends what the worker has counted since it began.

    Args:
        endpoint: of metrics; ``None`` for that of the environment.
        metrics: has the counters.
        gauges: how it is doing; called in another thread than that of requests.
        resource: what the worker is.
        now_ns: the wall clock, in Unix nanoseconds.
    """

    def __init__(
        self,
        endpoint: str | None,
        metrics: WorkerMetrics,
        gauges: Callable[[], Gauges],
        resource: SdkResource,
        *,
        began_ns: int,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._exporter = OTLPMetricExporter(endpoint=endpoint)
        self._metrics = metrics
        self._gauges = gauges
        self._resource = resource
        self._began_ns = began_ns
        self._now_ns = now_ns
        self._is_over = False
        _quieten(metric_exporter)

    def round(self, *, last: bool) -> None:
        """Sends the totals; those of a round that fails are part of the next one's."""
        period = Period(self._began_ns, self._now_ns())
        self._exporter.export(metrics_data(self._metrics, self._gauges(), self._resource, period))

    def give_up(self) -> None:
        """Ends an attempt that waits to be repeated, and makes no other."""
        if not self._is_over:
            self._is_over = True
            self._exporter.shutdown()


def _quieten(exporter: ModuleType) -> None:
    """Has an exporter's module tell of its troubles now and then, instead of with every attempt."""
    logger = logging.getLogger(exporter.__name__)
    for filter_ in logger.filters[:]:
        if isinstance(filter_, Seldom):
            logger.removeFilter(filter_)
    logger.addFilter(Seldom())
