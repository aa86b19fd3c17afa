"""A page of metrics as Prometheus reads it, and what its rules say about it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator

from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_plain

from tests.support.chat_wire import Wire

#: A sample: its name, and its labels with their values.
Series = tuple[str, tuple[tuple[str, str], ...]]

_NAME = re.compile(r"[a-z][a-z0-9_]*")
#: Endings of samples that Prometheus makes of a metric.
_MADE = ("_total", "_sum", "_count", "_bucket", "_created")
#: Not base units.
_OTHER_UNITS = ("_ms", "_milliseconds", "_us", "_microseconds", "_minutes", "_kilobytes", "_kb", "_mb", "_percent")


class Scraped:
    """One page.

    Args:
        text: the page.
        is_openmetrics: its format.
    """

    def __init__(self, text: str, *, is_openmetrics: bool = False) -> None:
        self.families: list[Metric] = list((read_openmetrics if is_openmetrics else read_plain)(text))

    @property
    def values(self) -> dict[Series, float]:
        """Every sample."""
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in self.families
            for sample in family.samples
        }

    @property
    def rising(self) -> dict[Series, float]:
        """Every sample that may never fall: counters, and what belongs to histograms."""
        kinds = {family.name: family.type for family in self.families}
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in self.families
            if kinds[family.name] in ("counter", "histogram")
            for sample in family.samples
        }

    def total(self, name: str, **labels: str) -> float:
        """The sum of the samples of a name that have these labels."""
        return sum(
            sample.value
            for family in self.families
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def label_values(self, label: str) -> set[str]:
        """Every value of a label."""
        return {sample.labels[label] for family in self.families for sample in family.samples if label in sample.labels}


def fallen(before: Scraped, after: Scraped) -> list[str]:
    """What may never fall, or vanish, and did."""
    later = after.rising
    return [
        f"{series}: {value} -> {later.get(series)}"
        for series, value in before.rising.items()
        if series not in later or later[series] < value
    ]


def problems(page: Scraped) -> list[str]:
    """What ``promtool check metrics`` would find fault with, and histograms that are none."""
    return [problem for family in page.families for problem in _problems_of(family)]


def _problems_of(family: Metric) -> Iterator[str]:
    name = family.name
    if not _NAME.fullmatch(name):
        yield f"{name}: not in snake case"
    if not family.documentation.strip():
        yield f"{name}: no help"
    if family.type == "unknown":
        yield f"{name}: no type"
    if name.endswith(_OTHER_UNITS):
        yield f"{name}: not in base units"
    if name.endswith(_MADE):
        yield f"{name}: the ending is one of samples"
    for sample in family.samples:
        if family.type == "counter" and not sample.name.endswith("_total"):
            yield f"{sample.name}: a counter without _total"
        if family.type != "histogram" and "le" in sample.labels:
            yield f"{sample.name}: le belongs to histograms"
        yield from (f"{sample.name}: label {label}" for label in sample.labels if not _NAME.fullmatch(label))
    if family.type == "histogram":
        yield from _problems_of_histogram(family)


def _problems_of_histogram(family: Metric) -> Iterator[str]:
    by_labels: dict[tuple[tuple[str, str], ...], dict[str, list[tuple[float, float]]]] = {}
    for sample in family.samples:
        rest = tuple(sorted((name, value) for name, value in sample.labels.items() if name != "le"))
        of = by_labels.setdefault(rest, {})
        of.setdefault(sample.name, []).append((float(sample.labels.get("le", "inf")), sample.value))
    for labels, samples in by_labels.items():
        buckets = samples.get(f"{family.name}_bucket", [])
        bounds, counts = [bound for bound, _ in buckets], [count for _, count in buckets]
        if not _ascends(bounds, strictly=True) or bounds[-1:] != [float("inf")]:
            yield f"{family.name}{labels}: bounds {bounds}"
        if not _ascends(counts, strictly=False):
            yield f"{family.name}{labels}: buckets that do not add up: {counts}"
        if [count for _, count in samples.get(f"{family.name}_count", [])] != counts[-1:]:
            yield f"{family.name}{labels}: count and last bucket differ"
        if len(samples.get(f"{family.name}_sum", [])) != 1:
            yield f"{family.name}{labels}: no sum"


def _ascends(values: Iterable[float], *, strictly: bool) -> bool:
    return all(one < next_ or (one == next_ and not strictly) for one, next_ in itertools.pairwise(values))


#: The header with which Prometheus asks for OpenMetrics.
ACCEPT_OPENMETRICS = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1"


async def scrape(port: int, *, accept: str = "") -> Scraped:
    """The page of a gateway on loopback, over a connection of its own: any worker may answer."""
    wire = await Wire.open(port)
    try:
        wire.send(f"GET /metrics HTTP/1.1\r\nhost: gateway\r\naccept: {accept}\r\nconnection: close\r\n\r\n".encode())
        reply = await wire.reply()
    finally:
        wire.close()
    assert reply.status == 200, reply.body
    return Scraped(reply.body.decode(), is_openmetrics="openmetrics" in reply.headers["content-type"])
