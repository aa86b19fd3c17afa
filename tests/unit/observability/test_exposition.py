"""The page of metrics, as Prometheus reads it."""

from __future__ import annotations

import pytest

from app.domain.credentials import RATES_GOOD_FOR_S, CredentialFigures, RateLeft
from app.domain.histograms import BOUNDS_S
from app.observability.catalog import (
    CATALOG,
    COST,
    CPU,
    CREDENTIAL,
    HTTP_DURATION,
    REDIS,
    REMAINING,
    REQUESTS,
    SHOWN_BOUNDS_S,
    Metric,
)
from app.observability.exposition import credential_gauges, render
from app.observability.handover import Handover
from app.observability.metrics import WorkerMetrics
from app.observability.seats import only_seat
from app.observability.totals import Gauges, PodTotals
from app.observability.version import VERSION
from tests.support.scraped import ACCEPT_OPENMETRICS, Scraped, problems

NOW = 1_790_000_000.0


def worker() -> tuple[WorkerMetrics, Handover]:
    metrics = WorkerMetrics()
    return metrics, Handover(metrics, only_seat(), gauges=dict, credentials=tuple)


def every_metric() -> tuple[PodTotals, Gauges]:
    """A sample of each."""
    metrics, handover = worker()
    gauges: dict[str, dict[tuple[str, ...], float]] = {}
    for metric in CATALOG:
        labels = tuple(f"value of {name}" for name in metric.labels)
        match metric.kind:
            case "counter":
                metrics.count(metric, *labels, by=3)
            case "gauge":
                gauges[metric.name] = {labels: 2.5}
            case "histogram":
                for seconds in (0.0, 0.02, 0.5, 1e9):
                    metrics.histogram(metric, *labels).observe(seconds)
    handover.hand_over()
    return handover.pod(), gauges


def scraped(pod: PodTotals, shared: Gauges | None = None, *, accept: str = "") -> Scraped:
    page = render(pod, shared or {}, accept=accept, now=NOW)
    return Scraped(page.body.decode(), is_openmetrics="openmetrics" in page.media_type)


@pytest.mark.parametrize("accept", ["", ACCEPT_OPENMETRICS], ids=["plain", "openmetrics"])
def test_every_metric_is_there_with_its_help_its_type_and_its_labels(accept: str) -> None:
    page = scraped(*every_metric(), accept=accept)
    families = {family.name: family for family in page.families}
    assert len(families) == len(page.families)
    for metric in CATALOG:
        family = families[metric.name]
        assert (family.documentation, family.type) == (metric.help, metric.kind)
        assert family.samples
        for sample in family.samples:
            assert sample.labels.keys() - {"le"} == set(metric.labels)
    assert problems(page) == []


@pytest.mark.parametrize("accept", ["", ACCEPT_OPENMETRICS], ids=["plain", "openmetrics"])
def test_a_gateway_that_has_answered_nothing_shows_every_family_and_zeros_where_there_are_no_labels(
    accept: str,
) -> None:
    page = scraped(worker()[1].pod(), accept=accept)
    families = {family.name: family for family in page.families}
    for metric in CATALOG:
        empty = bool(metric.labels) or metric.kind == "gauge"
        assert bool(families[metric.name].samples) is not empty, metric.name
        assert all(sample.value == 0 for sample in families[metric.name].samples)
    assert problems(page) == []


def test_buckets_are_one_an_octave_and_hold_what_is_at_most_their_bound() -> None:
    metrics, handover = worker()
    times = [0.01, 0.010001, 0.02, 0.03, BOUNDS_S[0], 500.0]
    for seconds in times:
        metrics.histogram(HTTP_DURATION, "/v1/models").observe(seconds)
    handover.hand_over()
    page = scraped(handover.pod())
    name = HTTP_DURATION.name
    buckets = {
        labels["le"]: value
        for (sample, pairs), value in page.values.items()
        if sample == f"{name}_bucket" and (labels := dict(pairs))["route"] == "/v1/models"
    }
    assert [float(bound) for bound in buckets] == [*SHOWN_BOUNDS_S, float("inf")]
    for bound, count in buckets.items():
        assert count == sum(seconds <= float(bound) for seconds in times), bound
    assert page.total(f"{name}_sum") == pytest.approx(sum(times))
    assert page.total(f"{name}_count") == len(times)


def test_money_is_shown_in_dollars() -> None:
    metrics, handover = worker()
    metrics.count(COST, "claude-haiku-4-5", by=2_500_000_000)
    handover.hand_over()
    assert scraped(handover.pod()).total(f"{COST.name}_total", model="claude-haiku-4-5") == 2.5


@pytest.mark.parametrize(
    ("metric", "counted", "shown"),
    [(COST, 164_900, "0.0001649"), (COST, 2**53, "9.007199254740993e+06"), (CPU, 1_084_205, "1.084205")],
)
def test_no_digit_is_shown_that_nobody_has_counted(metric: Metric, counted: int, shown: str) -> None:
    pod = PodTotals(counters={metric.name: {("x",): counted}})
    text = render(pod, {}, accept="", now=NOW).body.decode()
    [line] = [line for line in text.splitlines() if line.startswith(f"{metric.name}_total{{")]
    assert line.partition("} ")[2] == shown


def test_the_release_is_told() -> None:
    page = scraped(PodTotals())
    assert page.total("claude_wrapper_build_info", version=VERSION) == 1


def test_gauges_of_the_store_are_shown_beside_those_of_the_workers() -> None:
    pod = PodTotals(gauges={"claude_wrapper_streams_open": {("1",): 4.0}})
    page = scraped(pod, {"claude_wrapper_sessions_live": {(): 7.0}})
    assert page.total("claude_wrapper_streams_open", worker="1") == 4
    assert page.total("claude_wrapper_sessions_live") == 7


def test_credentials_are_told_by_their_labels() -> None:
    rates = (RateLeft(name="requests", limit=50, remaining=5), RateLeft(name="tokens", limit=100, remaining=100))
    page = scraped(
        PodTotals(
            credentials=(
                CredentialFigures(label="aaaaaaaa", status="failing"),
                CredentialFigures(label="bbbbbbbb", status="limited", rates=rates, rates_at=NOW - 1),
            )
        )
    )
    assert page.total(CREDENTIAL.name, credential="aaaaaaaa") == 0
    assert page.total(CREDENTIAL.name, credential="bbbbbbbb") == 1
    assert page.total(REMAINING.name, credential="bbbbbbbb", limit="requests") == 0.1
    assert page.total(REMAINING.name, credential="bbbbbbbb", limit="tokens") == 1.0


def test_what_was_left_of_a_limit_long_ago_is_not_told() -> None:
    one = CredentialFigures(
        label="a", rates=(RateLeft(name="requests", limit=2, remaining=1),), rates_at=NOW - RATES_GOOD_FOR_S - 1
    )
    assert credential_gauges([one], NOW)[REMAINING.name] == {}


@pytest.mark.parametrize("accept", ["", "*/*", "text/html", "text/plain; version=9.9.9.", ",;,;="])
def test_whoever_does_not_ask_for_openmetrics_gets_the_plain_format(accept: str) -> None:
    page = render(PodTotals(), {}, accept=accept, now=NOW)
    assert page.media_type == "text/plain; version=0.0.4; charset=utf-8"


@pytest.mark.parametrize("version", ["", "; version=1.0.0", "; version=nonsense", "; version=0.0.1; q=0.1"])
def test_openmetrics_come_in_the_one_version_there_is_whatever_a_client_calls_it(version: str) -> None:
    page = render(PodTotals(), {}, accept=f"text/plain, application/openmetrics-text{version}", now=NOW)
    assert page.media_type.startswith("application/openmetrics-text; version=1.0.0; charset=utf-8")
    assert page.body.endswith(b"# EOF\n")


def test_labels_are_escaped() -> None:
    metrics, handover = worker()
    metrics.count(REQUESTS, 'a "route"\\', "a\nmodel", "200", "stored")
    handover.hand_over()
    page = scraped(handover.pod())
    assert page.total(f"{REQUESTS.name}_total", route='a "route"\\', model="a\nmodel") == 1


def test_a_histogram_of_no_labels_is_the_sum_of_its_observations() -> None:
    metrics, handover = worker()
    metrics.redis.observe(0.001)
    handover.hand_over()
    assert scraped(handover.pod()).total(f"{REDIS.name}_count") == 1
