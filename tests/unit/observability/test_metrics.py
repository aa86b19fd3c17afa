"""What a worker counts of its requests, and what of it all workers add up."""

from __future__ import annotations

import re
from typing import Any

import pytest

from app.domain import minutes
from app.domain.histograms import bucket_of
from app.domain.limits import Use
from app.observability import catalog
from app.observability.catalog import CATALOG
from app.observability.metrics import MOST_TENANTS, WorkerMetrics
from app.observability.record import RequestRecord

CHAT = "/v1/chat/completions"
MODEL = "claude-opus-5-5"


def record(**facts: Any) -> RequestRecord:
    """The notes of a good plain request: 1 ms to its call, 500 ms of Claude, 2 ms back."""
    known: dict[str, Any] = {
        "status": 200,
        "model_label": MODEL,
        "source": "stored",
        "verdict": "admitted",
        "cache": "bypass",
        "attempts": 1,
        "began_at": 10.0,
        "sent_at": 10.001,
        "answered_at": 10.4,
        "ended_at": 10.501,
    }
    return RequestRecord("req", "POST", CHAT, **(known | facts))


class Worker:
    """A worker's metrics, easier to read."""

    def __init__(self, *records: RequestRecord, duration_s: float = 0.503) -> None:
        self.metrics = WorkerMetrics()
        for one in records:
            self.metrics.answered(one, route=CHAT, duration_s=duration_s)

    def counter(self, metric: catalog.Metric) -> dict[tuple[str, ...], int]:
        return self.metrics.counters[metric.name]

    def total_s(self, metric: catalog.Metric) -> float:
        return sum(histogram.total_s for histogram in self.metrics.histograms[metric.name].values())

    def observed(self, metric: catalog.Metric) -> int:
        return sum(sum(histogram.counts) for histogram in self.metrics.histograms[metric.name].values())

    @property
    def minute(self) -> dict[str, int]:
        return self.metrics.minute


def test_names_follow_prometheus_and_are_unique() -> None:
    names = [metric.name for metric in CATALOG]
    assert len(set(names)) == len(names)
    for metric in CATALOG:
        assert re.fullmatch(r"(claude_wrapper|gen_ai|process)_[a-z_]+", metric.name)
        assert not metric.name.endswith(("_total", "_count", "_sum", "_bucket"))
        assert metric.help.endswith(".")
        if metric.kind == "histogram":
            assert metric.name.endswith("_seconds")


def test_a_request_is_counted_by_route_model_status_and_class_of_its_caller() -> None:
    worker = Worker(record(), record(), record(status=429, verdict="requests_per_minute"))
    assert worker.counter(catalog.REQUESTS) == {
        (CHAT, MODEL, "200", "stored"): 2,
        (CHAT, MODEL, "429", "stored"): 1,
    }
    assert worker.counter(catalog.ADMISSIONS) == {("admitted",): 2, ("requests_per_minute",): 1}
    assert worker.minute[minutes.REQUESTS] == 3
    assert worker.minute[minutes.CLIENT_ERRORS] == worker.minute[minutes.REFUSED] == 1
    assert minutes.ERRORS not in worker.minute


def test_the_gateway_s_overhead_is_what_is_not_the_call() -> None:
    worker = Worker(record())
    assert worker.total_s(catalog.OVERHEAD) == pytest.approx(0.503 - 0.5)
    assert worker.total_s(catalog.UPSTREAM) == pytest.approx(0.399)


def test_of_a_stream_the_overhead_is_what_came_before_its_call() -> None:
    worker = Worker(record(stream=True, first_token_at=10.2, ended_at=0.0))
    assert worker.total_s(catalog.OVERHEAD) == pytest.approx(0.001)


def test_a_plain_request_counts_whole_and_a_stream_until_its_first_token() -> None:
    worker = Worker(record(), record(stream=True, first_token_at=10.2, shown_tokens=101))
    assert worker.minute[minutes.RESPONSE.fields[bucket_of(0.503)]] == 1
    assert worker.minute[minutes.RESPONSE.fields[bucket_of(0.2)]] == 1
    assert worker.minute[minutes.RESPONSE.total] == pytest.approx(703_000, abs=2)
    assert worker.minute[minutes.STREAMS] == 1
    assert worker.total_s(catalog.FIRST_TOKEN) == pytest.approx(0.2)
    assert worker.total_s(catalog.PER_TOKEN) == pytest.approx(0.00303)


def test_a_request_that_failed_says_nothing_about_response_times() -> None:
    worker = Worker(record(status=500, ended_at=0.0), record(status=502, stream=True), record(status=404))
    assert worker.minute[minutes.ERRORS] == 2
    assert minutes.RESPONSE.total not in worker.minute
    assert worker.observed(catalog.DURATION) == 3
    errors = {labels[3] for labels in worker.metrics.histograms[catalog.DURATION.name]}
    assert errors == {"500", "502", "404"}


def test_a_client_that_gave_up_says_nothing_about_response_times() -> None:
    worker = Worker(record(status=499, client_left=True, ended_at=0.0), duration_s=60.0)
    assert minutes.RESPONSE.total not in worker.minute
    assert [labels[3] for labels in worker.metrics.histograms[catalog.DURATION.name]] == ["499"]


def test_what_never_became_a_request_is_counted() -> None:
    worker = Worker()
    worker.metrics.refused(431, route="other")
    assert worker.counter(catalog.REQUESTS) == {("other", "", "431", ""): 1}
    assert worker.minute == {minutes.REQUESTS: 1, minutes.CLIENT_ERRORS: 1}


def test_a_cached_stream_says_nothing_about_the_pace_of_claude() -> None:
    worker = Worker(record(stream=True, cache="hit", first_token_at=10.1, shown_tokens=100))
    assert worker.observed(catalog.PER_TOKEN) == 0


def test_a_stream_that_broke_off_is_an_error_though_its_status_was_good() -> None:
    worker = Worker(record(stream=True, first_token_at=10.2, failed=True, shown_tokens=9))
    assert worker.counter(catalog.BROKEN) == {(): 1}
    assert worker.minute[minutes.ERRORS] == worker.minute[minutes.BROKEN] == 1
    assert worker.observed(catalog.PER_TOKEN) == 0


def test_a_request_without_a_model_counts_in_no_figure_of_claude() -> None:
    worker = Worker(record(model_label="", attempts=0, sent_at=0.0, cache=""))
    assert worker.observed(catalog.HTTP_DURATION) == 1
    assert worker.observed(catalog.DURATION) == 0
    assert worker.minute == {minutes.REQUESTS: 1}


def test_retries_degraded_requests_and_clients_that_left_are_counted() -> None:
    worker = Worker(record(attempts=2, retries=1, degraded=True, client_left=True))
    assert worker.counter(catalog.UPSTREAM_CALLS) == {(): 2}
    assert worker.counter(catalog.RETRIES) == {(): 1}
    assert worker.counter(catalog.DEGRADED) == {(): 1}
    assert worker.counter(catalog.LEFT) == {(): 1}


def test_a_hit_saves_what_its_answer_would_have_cost() -> None:
    worker = Worker(record(cache="hit", saved_nano=700, attempts=0, sent_at=0.0))
    assert worker.counter(catalog.CACHE) == {("hit",): 1}
    assert worker.counter(catalog.SAVED) == {(): 700}
    assert worker.minute["cache:hit"] == 1
    assert worker.minute[minutes.SAVED_NANO] == 700


def test_what_calls_have_used_is_counted_by_class_model_and_tenant() -> None:
    worker = Worker()
    use = Use(input_tokens=5, output_tokens=7, cache_read_tokens=11, cache_write_tokens=13, nano=17)
    worker.metrics.used(tenant="acme", model=MODEL, use=use)
    assert worker.counter(catalog.TOKENS) == {
        (MODEL, "input"): 5,
        (MODEL, "output"): 7,
        (MODEL, "cache_read"): 11,
        (MODEL, "cache_write"): 13,
    }
    assert worker.counter(catalog.COST) == {(MODEL,): 17}
    assert worker.minute[f"nano:model:{MODEL}"] == worker.minute["nano"] == 17
    assert worker.metrics.minute_so_far()["nano:tenant:acme"] == 17


def test_tenants_beyond_those_told_apart_share_a_name_whatever_else_is_counted() -> None:
    worker = Worker(*(record(first_token_at=10.0 + number / 100, stream=True) for number in range(200)))
    for number in range(2 * MOST_TENANTS):
        worker.metrics.used(tenant=f"t{number}", model=MODEL, use=Use(nano=1))
    taken = worker.metrics.take_minute()
    tenants = {field: nano for field, nano in taken.items() if field.startswith(minutes.NANO_OF_TENANT)}
    assert len(tenants) == MOST_TENANTS + 1
    assert tenants[minutes.NANO_OF_TENANT + minutes.OTHER] == MOST_TENANTS
    worker.metrics.give_back_minute(taken)
    assert worker.metrics.minute_so_far() == taken


def test_a_minute_that_could_not_be_delivered_is_counted_with_the_next_one() -> None:
    worker = Worker(record())
    taken = worker.metrics.take_minute()
    assert worker.minute == {}
    worker.metrics.answered(record(), route=CHAT, duration_s=0.5)
    worker.metrics.give_back_minute(taken)
    assert worker.minute[minutes.REQUESTS] == 2
