"""The data of OTLP: names, units and attributes of the conventions, and sums that are those of the worker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric as WireMetric
from opentelemetry.sdk.metrics.export import Gauge, Histogram, Metric, Sum
from opentelemetry.sdk.resources import Resource

from app.domain.histograms import BOUNDS_S, BUCKETS
from app.domain.limits import Use
from app.observability import catalog
from app.observability.catalog import CATALOG, SHOWN_BOUNDS_S
from app.observability.metrics import WorkerMetrics
from app.observability.otlp_metrics import (
    Period,
    attributes_of,
    metrics_data,
    otlp_name,
    otlp_unit,
    shown_counts,
)
from app.observability.totals import Gauges

MODEL = "claude-opus-5-5"
PERIOD = Period(began_ns=1_000, now_ns=2_000)
NOTHING: Gauges = {}


@pytest.fixture
def worker() -> WorkerMetrics:
    return WorkerMetrics()


def made(worker: WorkerMetrics, gauges: Gauges = NOTHING) -> dict[str, Metric]:
    (resource,) = metrics_data(worker, gauges, Resource({}), PERIOD).resource_metrics
    (scope,) = resource.scope_metrics
    return {metric.name: metric for metric in scope.metrics}


def values(metric: Metric) -> dict[tuple[tuple[str, Any], ...], float]:
    assert isinstance(metric.data, Sum | Gauge)
    return {tuple(sorted((point.attributes or {}).items())): point.value for point in metric.data.data_points}


def full(worker: WorkerMetrics) -> Mapping[str, Mapping[tuple[str, ...], float]]:
    """A value of every metric there is."""
    gauges: dict[str, dict[tuple[str, ...], float]] = {}
    for metric in CATALOG:
        labels = tuple("200" if label == "status" else "input" if label == "class" else "x" for label in metric.labels)
        match metric.kind:
            case "counter":
                worker.count(metric, *labels)
            case "histogram":
                worker.histogram(metric, *labels).observe(0.1)
            case "gauge":
                gauges[metric.name] = {labels: 1.5}
    return gauges


def test_every_metric_of_the_catalogue_is_exported(worker: WorkerMetrics) -> None:
    exported = made(worker, full(worker))
    expected = {otlp_name(metric) for metric in CATALOG if metric is not catalog.TOKENS}
    assert set(exported) == expected | {"gen_ai.client.inference.usage.input_tokens"}


def test_names_are_those_of_the_conventions_or_ours_with_dots() -> None:
    names = {metric.name: otlp_name(metric) for metric in CATALOG}
    assert names["gen_ai_server_request_duration_seconds"] == "gen_ai.server.request.duration"
    assert names["gen_ai_server_time_to_first_token_seconds"] == "gen_ai.server.time_to_first_token"
    assert names["gen_ai_server_time_per_output_token_seconds"] == "gen_ai.server.time_per_output_token"
    assert names["process_cpu_seconds"] == "process.cpu.time"
    assert names["claude_wrapper_event_loop_lag_seconds"] == "claude_wrapper.event_loop_lag"
    assert names["claude_wrapper_redis_memory_bytes"] == "claude_wrapper.redis_memory"
    assert len(set(names.values())) == len(CATALOG)


@pytest.mark.parametrize(
    ("metric", "unit"),
    [
        (catalog.DURATION, "s"),
        (catalog.STORE_MEMORY, "By"),
        (catalog.FULLEST, "1"),
        (catalog.REQUESTS, ""),
        (catalog.COST, ""),
    ],
)
def test_units_stand_apart(metric: catalog.Metric, unit: str) -> None:
    assert otlp_unit(metric) == unit


def test_labels_become_attributes() -> None:
    labels = ("/v1/chat/completions", MODEL, "200", "stored")
    assert attributes_of(catalog.REQUESTS, labels) == {
        "http.route": "/v1/chat/completions",
        "gen_ai.request.model": MODEL,
        "http.response.status_code": 200,
        "tenant_class": "stored",
    }


def test_labels_without_a_value_and_the_worker_are_left_out() -> None:
    assert attributes_of(catalog.DURATION, ("chat", MODEL, "anthropic", "")) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": MODEL,
        "gen_ai.provider.name": "anthropic",
    }
    assert attributes_of(catalog.IN_FLIGHT, ("4711",)) == {}


def test_counters_are_scaled_and_whole_where_they_are_whole(worker: WorkerMetrics) -> None:
    worker.count(catalog.COST, MODEL, by=1_500_000_000)
    worker.count(catalog.RETRIES, by=3)
    exported = made(worker)
    assert list(values(exported["claude_wrapper.cost_usd"]).values()) == [1.5]
    (retries,) = values(exported["claude_wrapper.upstream_retries"]).values()
    assert (retries, type(retries)) == (3, int)


def test_a_histogram_has_the_buckets_that_prometheus_is_shown(worker: WorkerMetrics) -> None:
    for seconds in (0.0, 1e-6, 0.0101, 0.5, 0.5, 1000.0):
        worker.histogram(catalog.REDIS).observe(seconds)
    (point,) = made(worker)["claude_wrapper.redis_call"].data.data_points
    assert point.explicit_bounds == SHOWN_BOUNDS_S
    assert len(point.bucket_counts) == len(SHOWN_BOUNDS_S) + 1
    assert point.count == sum(point.bucket_counts) == 6
    assert point.sum == pytest.approx(1001.0101, abs=1e-5)
    for bound in SHOWN_BOUNDS_S:
        within = sum(count for count, upper in zip(point.bucket_counts, SHOWN_BOUNDS_S, strict=False) if upper <= bound)
        assert within == sum(seconds <= bound for seconds in (0.0, 1e-6, 0.0101, 0.5, 0.5, 1000.0))


def test_no_count_is_lost_between_buckets() -> None:
    counts = list(range(1, BUCKETS + 1))
    shown = shown_counts(counts)
    assert sum(shown) == sum(counts)
    for index, bound in enumerate(SHOWN_BOUNDS_S):
        assert sum(shown[: index + 1]) == sum(counts[: BOUNDS_S.index(bound) + 1])


def test_input_tokens_are_the_sum_of_classes_that_exclude_one_another(worker: WorkerMetrics) -> None:
    use = Use(requests=1, input_tokens=10, output_tokens=7, cache_read_tokens=4, cache_write_tokens=2)
    worker.used(tenant="acme", model=MODEL, use=use)
    exported = made(worker)
    sums = {name: list(values(metric).values()) for name, metric in exported.items() if "inference" in name}
    assert sums == {
        "gen_ai.client.inference.usage.input_tokens": [16],
        "gen_ai.client.inference.usage.output_tokens": [7],
        "gen_ai.client.inference.usage.cache_read.input_tokens": [4],
        "gen_ai.client.inference.usage.cache_write.input_tokens": [2],
    }
    assert exported["gen_ai.client.inference.usage.input_tokens"].unit == "{token}"


def test_gauges_that_add_up_over_workers_are_sums_that_fall(worker: WorkerMetrics) -> None:
    exported = made(worker, {catalog.IN_FLIGHT.name: {("1",): 5}, catalog.LOOP_LAG.name: {("1",): 0.1}})
    in_flight, lag = exported["claude_wrapper.requests_in_flight"], exported["claude_wrapper.event_loop_lag"]
    assert isinstance(in_flight.data, Sum)
    assert not in_flight.data.is_monotonic
    assert isinstance(lag.data, Gauge)


def test_a_counter_that_is_gauges_is_one(worker: WorkerMetrics) -> None:
    (cpu,) = values(made(worker, {catalog.CPU.name: {("1",): 2_500_000}})["process.cpu.time"]).values()
    assert cpu == 2.5


def test_all_of_it_can_be_encoded(worker: WorkerMetrics) -> None:
    gauges = full(worker)
    request = encode_metrics(metrics_data(worker, gauges, Resource({}), PERIOD))
    encoded = request.resource_metrics[0].scope_metrics[0].metrics
    assert len(encoded) == len(CATALOG)
    duration: WireMetric = next(metric for metric in encoded if metric.name == "gen_ai.server.request.duration")
    point = duration.histogram.data_points[0]
    assert (point.count, point.start_time_unix_nano, point.time_unix_nano) == (1, 1_000, 2_000)
    assert not point.HasField("min")


def test_metrics_without_a_value_are_left_out(worker: WorkerMetrics) -> None:
    assert set(made(worker)) == {"claude_wrapper.redis_call"}
    assert isinstance(made(worker)["claude_wrapper.redis_call"].data, Histogram)
