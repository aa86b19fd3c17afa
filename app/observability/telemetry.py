"""Traces and metrics over OTLP, from the start of a worker to its end; nothing of it is there while it is off.

The library is imported in the threads that use it, so that neither the start nor a request waits for it. At the end
what is left is sent, within a bound. Settings: ``CLAUDE_WRAPPER_OTLP_ENDPOINT`` or ``OTEL_EXPORTER_OTLP_ENDPOINT``
switches it on; the other ``OTEL_*`` variables mean what OpenTelemetry says (``OTEL_EXPORTER_OTLP_*``,
``OTEL_SERVICE_NAME``, ``OTEL_RESOURCE_ATTRIBUTES``, ``OTEL_BSP_SCHEDULE_DELAY``, ``OTEL_METRIC_EXPORT_INTERVAL``,
``OTEL_SDK_DISABLED``), but for samplers, whose place ``CLAUDE_WRAPPER_TRACE_SAMPLE`` takes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from random import Random
from typing import Final
from urllib.parse import urlsplit

from app.config import Config, SettingError
from app.observability.metrics import WorkerMetrics
from app.observability.rounds import Rounds, Work
from app.observability.totals import Gauges
from app.observability.tracing import Tracer

#: At the end of a worker, what is left has this long to be sent.
CLOSES_WITHIN_S: Final = 3.0

_SETTING: Final = "CLAUDE_WRAPPER_OTLP_ENDPOINT"
_SPOKEN: Final = "http/protobuf"
_NEEDED: Final = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_DEFAULT_TRACE_DELAY_S: Final = 5.0
_DEFAULT_METRIC_INTERVAL_S: Final = 60.0


def exports_telemetry(endpoint: str, environ: Mapping[str, str]) -> bool:
    """Whether traces and metrics are exported; imports nothing of OpenTelemetry.

    Args:
        endpoint: the setting; empty for off.
        environ: environment variables.

    Raises:
        SettingError: they should be and cannot.
    """
    if not endpoint or environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    try:
        parts = urlsplit(endpoint)
        is_url = parts.scheme in _DEFAULT_PORTS and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url:
        raise SettingError(f"{_SETTING}: takes a URL such as http://collector:4318.")
    if parts.username is not None or parts.query or parts.fragment:
        raise SettingError(
            f"{_SETTING}: takes a URL without user, query and fragment; a key goes into OTEL_EXPORTER_OTLP_HEADERS."
        )
    protocol = environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", "").strip() or _SPOKEN
    if protocol != _SPOKEN:
        raise SettingError(
            f"OTEL_EXPORTER_OTLP_PROTOCOL: only {_SPOKEN} is spoken here; name the collector's HTTP port (4318)."
        )
    if not all(map(_is_installed, _NEEDED)):
        raise SettingError(
            f"{_SETTING}: needs OpenTelemetry's packages (the extra otel): "
            "pip install opentelemetry-sdk opentelemetry-exporter-otlp-proto-http."
        )
    for name in ("OTEL_BSP_SCHEDULE_DELAY", "OTEL_METRIC_EXPORT_INTERVAL"):
        milliseconds(environ, name, 1.0)
    return True


def milliseconds(environ: Mapping[str, str], name: str, default_s: float) -> float:
    """A variable in milliseconds, as seconds.

    Raises:
        SettingError: it is no positive number.
    """
    text = environ.get(name, "").strip()
    if not text:
        return default_s
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= 86_400_000):
        raise SettingError(f"{name}: takes a number of milliseconds, such as {default_s * 1000:.0f}.")
    return int(text) / 1000


def open_telemetry(
    config: Config, environ: Mapping[str, str], *, metrics: WorkerMetrics, gauges: Callable[[], Gauges]
) -> Telemetry | None:
    """The exports of this worker, not begun yet; ``None`` while they are off. To be made after the fork.

    Args:
        config: the settings.
        environ: environment variables.
        metrics: what this worker counts.
        gauges: how it is doing, by metric and labels; called in another thread.

    Raises:
        SettingError: see ``exports_telemetry``.
    """
    if not exports_telemetry(config.otlp_endpoint, environ):
        return None
    return Telemetry(
        config.otlp_endpoint,
        environ,
        tracer=Tracer(sample=config.trace_sample, bits=Random().getrandbits),  # noqa: S311 - ids, no secrets
        metrics=metrics,
        gauges=gauges,
        worker_id=f"{Random().getrandbits(64):016x}",  # noqa: S311 - likewise
        upstream_url=config.anthropic_base_url,
    )


class Telemetry:
    """The exports of one worker.

    Args:
        endpoint: the setting.
        environ: environment variables.
        tracer: has the traces.
        metrics: has the counters.
        gauges: how this worker is doing, by metric and labels; called in a thread of its own.
        worker_id: tells this worker from every other one.
        upstream_url: Anthropic's, for the attributes of spans.

    Attributes:
        tracer: makes the trace of each request, and is told of its end.
    """

    def __init__(
        self,
        endpoint: str,
        environ: Mapping[str, str],
        *,
        tracer: Tracer,
        metrics: WorkerMetrics,
        gauges: Callable[[], Gauges],
        worker_id: str,
        upstream_url: str,
    ) -> None:
        self._endpoint = endpoint.strip().rstrip("/")
        self._environ = environ
        self.tracer = tracer
        self._metrics = metrics
        self._gauges = gauges
        self._worker_id = worker_id
        self._server = _address(upstream_url)
        self._began_ns = time.time_ns()
        trace_delay_s = milliseconds(environ, "OTEL_BSP_SCHEDULE_DELAY", _DEFAULT_TRACE_DELAY_S)
        metric_interval_s = milliseconds(environ, "OTEL_METRIC_EXPORT_INTERVAL", _DEFAULT_METRIC_INTERVAL_S)
        self._traces = Rounds("export-traces", self._open_traces, interval_s=trace_delay_s)
        self._totals = Rounds("export-metrics", self._open_metrics, interval_s=metric_interval_s)

    def start(self) -> None:
        """Begins; never blocks."""
        self.tracer.wake = self._traces.wake
        self._traces.start()
        self._totals.start()

    async def close(self) -> None:
        """Sends what is left, and gives up after ``CLOSES_WITHIN_S``."""
        both = (self._traces, self._totals)
        for rounds in both:
            rounds.end()
        deadline = time.monotonic() + CLOSES_WITHIN_S
        await asyncio.gather(*(asyncio.to_thread(rounds.join, deadline) for rounds in both))

    def _open_traces(self) -> Work:
        from app.observability.otlp import TraceExport, worker_resource
        from app.observability.spans import SpanMaker

        maker = SpanMaker(worker_resource(self._worker_id), server=self._server, bits=Random().getrandbits)  # noqa: S311
        return TraceExport(self._endpoint_of("traces"), self.tracer, maker)

    def _open_metrics(self) -> Work:
        from app.observability.otlp import MetricExport, worker_resource

        resource = worker_resource(self._worker_id)
        endpoint = self._endpoint_of("metrics")
        return MetricExport(endpoint, self._metrics, self._gauges, resource, began_ns=self._began_ns)

    def _endpoint_of(self, signal: str) -> str | None:
        """Where a signal goes; ``None`` where a variable of its own says so."""
        if self._environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT"):
            return None
        return f"{self._endpoint}/v1/{signal}"


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:
        return False
