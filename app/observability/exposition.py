"""The page ``/metrics``: all workers of a gateway in the text formats of Prometheus, by its own library.

A family of every metric of ``CATALOG``, with samples as far as there is something to tell: one without labels always
has one, one with labels from the first time it is counted on; gauges of the shared store only while it answers.
prometheus_client is imported with this module, which is imported when the page is first asked for. A line of the
page takes some 10 us, so it is made beside the event loop.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Final

from msgspec import Struct
from prometheus_client import CollectorRegistry
from prometheus_client import exposition as plain
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.core import Metric as Family
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from app.domain.credentials import RATES_GOOD_FOR_S, CredentialFigures
from app.domain.histograms import BUCKETS, PER_OCTAVE
from app.observability.catalog import (
    CATALOG,
    CREDENTIAL,
    REMAINING,
    SHOWN_BOUNDS_S,
    Labels,
    Metric,
)
from app.observability.totals import NANOSECONDS, Gauges, PodTotals
from app.observability.version import VERSION

_BOUNDS: Final = [str(bound) for bound in SHOWN_BOUNDS_S]
_INFINITY: Final = "+Inf"
#: Behind the point of a counter: nano-dollars and microseconds are counted, and their products have some digits more.
_DIGITS: Final = 9


class Page(Struct, frozen=True):
    """The page as it is sent.

    Args:
        body: the text.
        media_type: its format.
    """

    body: bytes
    media_type: str


def render(pod: PodTotals, shared: Gauges, *, accept: str, now: float) -> Page:
    """The page.

    Args:
        pod: all workers of the gateway.
        shared: gauges of what all replicas share.
        accept: the header of that name: Prometheus asks for OpenMetrics by it; anything else gets the plain format.
        now: Unix seconds.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(pod, {**pod.gauges, **credential_gauges(pod.credentials, now), **shared}))
    # NOTE: the library's choose_encoder fails over odd versions, and sends back what a client has called one.
    if "application/openmetrics-text" in accept:
        text: bytes = openmetrics.generate_latest(registry)  # type: ignore[no-untyped-call]
        return Page(text, openmetrics.CONTENT_TYPE_LATEST)
    return Page(plain.generate_latest(registry), plain.CONTENT_TYPE_PLAIN_0_0_4)


def credential_gauges(credentials: Iterable[CredentialFigures], now: float) -> Gauges:
    """How the gateway's own Anthropic credentials are doing.

    Args:
        credentials: each once.
        now: Unix seconds; what was left of a limit too long ago is not told.
    """
    accepted: dict[Labels, float] = {}
    left: dict[Labels, float] = {}
    for one in credentials:
        accepted[one.label,] = float(one.status != "failing")
        if now - one.rates_at <= RATES_GOOD_FOR_S:
            left |= {(one.label, rate.name): rate.share for rate in one.rates}
    return {CREDENTIAL.name: accepted, REMAINING.name: left}


class _Families(Collector):
    """What prometheus_client asks for."""

    def __init__(self, pod: PodTotals, gauges: Gauges) -> None:
        self._pod = pod
        self._gauges = gauges

    def collect(self) -> Iterator[Family]:
        """Every metric with its samples."""
        yield InfoMetricFamily(
            "claude_wrapper_build",
            "Release and what it runs on.",
            value={"version": VERSION, "python": platform.python_version()},
        )
        for metric in CATALOG:
            match metric.kind:
                case "counter":
                    yield _counter(metric, self._pod.counters.get(metric.name, {}))
                case "gauge":
                    yield _gauge(metric, self._gauges.get(metric.name, {}))
                case "histogram":
                    yield _histogram(metric, self._pod.histograms.get(metric.name, {}))


def _counter(metric: Metric, values: Mapping[Labels, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
    if not metric.labels and not values:
        family.add_metric((), 0)
    for labels, value in values.items():
        family.add_metric(labels, round(value * metric.scale, _DIGITS))
    return family


def _gauge(metric: Metric, values: Mapping[Labels, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family


def _histogram(metric: Metric, values: Mapping[Labels, tuple[list[int], int]]) -> HistogramMetricFamily:
    family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    if not metric.labels and not values:
        values = {(): ([0] * BUCKETS, 0)}
    for labels, (counts, total_ns) in values.items():
        within = list(accumulate(counts))
        shown = [*zip(_BOUNDS, within[::PER_OCTAVE], strict=True), (_INFINITY, within[-1])]
        family.add_metric(labels, shown, total_ns / NANOSECONDS)
    return family
