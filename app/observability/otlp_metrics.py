"""What a worker has counted, as the data of OTLP: its counters and buckets as they are, nothing is observed again.

Metrics have the names of OpenTelemetry's conventions where those have one (GenAI server metrics and inference token
counters, ``process.*``); the others are those of ``/metrics`` with dots and units as OTLP writes them, so that a
collector that turns them into Prometheus metrics gets the same names. All sums are cumulative since the worker's start,
and each worker is a ``service.instance.id`` of its own, so the label ``worker`` is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, cast

from msgspec import Struct
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    HistogramDataPoint,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.metrics.export import Histogram as HistogramData
from opentelemetry.sdk.metrics.export import Metric as OtlpMetric
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from app.domain.histograms import PER_OCTAVE, Histogram
from app.observability.catalog import (
    CATALOG,
    CPU,
    DURATION,
    FIRST_TOKEN,
    IN_FLIGHT,
    PER_TOKEN,
    RSS,
    SHOWN_BOUNDS_S,
    STREAMS,
    TOKENS,
    UNSETTLED,
    Labels,
    Metric,
)
from app.observability.metrics import WorkerMetrics
from app.observability.totals import Gauges
from app.observability.version import DISTRIBUTION, VERSION

Attributes = dict[str, str | int]

_SCOPE: Final = InstrumentationScope(DISTRIBUTION, VERSION)
_PREFIX: Final = "claude_wrapper_"

#: Endings of names that are units in OTLP, and those units.
_UNITS: Final = {"_seconds": "s", "_bytes": "By", "_ratio": "1"}
#: What the conventions call otherwise.
_NAMES: Final = {
    DURATION.name: "gen_ai.server.request.duration",
    FIRST_TOKEN.name: "gen_ai.server.time_to_first_token",
    PER_TOKEN.name: "gen_ai.server.time_per_output_token",
    RSS.name: "process.memory.usage",
    CPU.name: "process.cpu.time",
}
#: Gauges that make sense added up over workers: sums that also fall, in OTLP.
_ADDED_UP: Final = frozenset({IN_FLIGHT.name, STREAMS.name, RSS.name, UNSETTLED.name})
_LABELS: Final = {
    "gen_ai_operation_name": "gen_ai.operation.name",
    "gen_ai_request_model": "gen_ai.request.model",
    "gen_ai_provider_name": "gen_ai.provider.name",
    "error_type": "error.type",
    "model": "gen_ai.request.model",
    "route": "http.route",
    "status": "http.response.status_code",
}
#: The resource tells it.
_WORKER: Final = "worker"

#: Counters of tokens by the conventions, and the classes of ours that each is the sum of.
_TOKENS: Final = {
    "gen_ai.client.inference.usage.input_tokens": frozenset({"input", "cache_read", "cache_write"}),
    "gen_ai.client.inference.usage.output_tokens": frozenset({"output"}),
    "gen_ai.client.inference.usage.cache_read.input_tokens": frozenset({"cache_read"}),
    "gen_ai.client.inference.usage.cache_write.input_tokens": frozenset({"cache_write"}),
}


class Period(Struct, frozen=True):
    """What the values are of, in Unix nanoseconds."""

    began_ns: int
    now_ns: int


def metrics_data(metrics: WorkerMetrics, gauges: Gauges, resource: Resource, period: Period) -> MetricsData:
    """All that is known, ready for an exporter; metrics without a value yet are left out.

    Called by another thread than the one that counts: each container is copied by one step of the interpreter.

    Args:
        metrics: of this worker.
        gauges: how it is doing, which is looked up and not counted.
        resource: what the worker is.
        period: of the values.
    """
    made = [
        one
        for metric in CATALOG
        for one in (
            _tokens(dict(metrics.counters[TOKENS.name]), period)
            if metric is TOKENS
            else _metric(metric, metrics, gauges, period)
        )
    ]
    scope = ScopeMetrics(scope=_SCOPE, metrics=made, schema_url="")
    return MetricsData(resource_metrics=[ResourceMetrics(resource=resource, scope_metrics=[scope], schema_url="")])


def otlp_name(metric: Metric) -> str:
    """The name of a metric in OTLP, without the unit."""
    if (name := _NAMES.get(metric.name)) is not None:
        return name
    name = metric.name.replace(_PREFIX, "claude_wrapper.", 1)
    for ending in _UNITS:
        name = name.removesuffix(ending)
    return name


def otlp_unit(metric: Metric) -> str:
    """The unit of a metric, in the notation of UCUM; what is only counted has none."""
    return next((unit for ending, unit in _UNITS.items() if metric.name.endswith(ending)), "")


def attributes_of(metric: Metric, labels: Labels) -> Attributes:
    """Labels as attributes; those without a value are left out."""
    attributes: Attributes = {}
    for label, value in zip(metric.labels, labels, strict=True):
        if value and label != _WORKER:
            name = _LABELS.get(label, label)
            attributes[name] = int(value) if label == "status" else value
    return attributes


def shown_counts(counts: Sequence[int]) -> list[int]:
    """Counts by the buckets of ``SHOWN_BOUNDS_S``, from those of ``app.domain.histograms``."""
    inner = [sum(counts[begin : begin + PER_OCTAVE]) for begin in range(1, len(counts) - 1, PER_OCTAVE)]
    return [counts[0], *inner, counts[-1]]


def _metric(metric: Metric, metrics: WorkerMetrics, gauges: Gauges, period: Period) -> Iterable[OtlpMetric]:
    values = gauges.get(metric.name, {})
    data: Sum | Gauge | HistogramData
    match metric.kind:
        case "histogram":
            points = [
                _distribution(histogram, attributes_of(metric, labels), period)
                for labels, histogram in list(metrics.histograms[metric.name].items())
            ]
            data = HistogramData(data_points=points, aggregation_temporality=AggregationTemporality.CUMULATIVE)
        case "counter":
            counted: Mapping[Labels, float] = {**values, **metrics.counters[metric.name]}
            data = _sum(_numbers(metric, counted, period))
        case "gauge" if metric.name in _ADDED_UP:
            data = _sum(_numbers(metric, values, period), is_monotonic=False)
        case "gauge":
            data = Gauge(data_points=_numbers(metric, values, period))
    if data.data_points:
        yield OtlpMetric(name=otlp_name(metric), description=metric.help, unit=otlp_unit(metric), data=data)


def _numbers(metric: Metric, values: Mapping[Labels, float], period: Period) -> list[NumberDataPoint]:
    return [
        _number(value if metric.scale == 1.0 else value * metric.scale, attributes_of(metric, labels), period)
        for labels, value in values.items()
    ]


def _tokens(counted: Mapping[Labels, int], period: Period) -> Iterable[OtlpMetric]:
    """Our classes of tokens exclude one another; the conventions' input tokens include what the prompt cache held."""
    for name, classes in _TOKENS.items():
        sums: dict[str, int] = {}
        for (model, class_), count in counted.items():
            if class_ in classes:
                sums[model] = sums.get(model, 0) + count
        if sums:
            points = [_number(count, _of_model(model), period) for model, count in sums.items()]
            yield OtlpMetric(name=name, description=TOKENS.help, unit="{token}", data=_sum(points))


def _of_model(model: str) -> Attributes:
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": model,
        "gen_ai.token.modality": "unknown",
    }


def _sum(points: list[NumberDataPoint], *, is_monotonic: bool = True) -> Sum:
    return Sum(data_points=points, aggregation_temporality=AggregationTemporality.CUMULATIVE, is_monotonic=is_monotonic)


def _number(value: float, attributes: Attributes, period: Period) -> NumberDataPoint:
    return NumberDataPoint(
        attributes=attributes, start_time_unix_nano=period.began_ns, time_unix_nano=period.now_ns, value=value
    )


def _distribution(histogram: Histogram, attributes: Attributes, period: Period) -> HistogramDataPoint:
    counts = list(histogram.counts)
    unknown = cast("float", None)  # which the encoder leaves out
    return HistogramDataPoint(
        attributes=attributes,
        start_time_unix_nano=period.began_ns,
        time_unix_nano=period.now_ns,
        count=sum(counts),
        sum=histogram.total_s,
        bucket_counts=shown_counts(counts),
        explicit_bounds=SHOWN_BOUNDS_S,
        min=unknown,
        max=unknown,
    )
