"""The figures of all workers in a stretch of time: a minute, an hour, or several of them together; pure.

A bucket is made of the figures that ``minutes`` names, and buckets are added up like their figures: counts and sums
exactly, times by their histograms, gauges by their highest value. Times and shares are floats, money is integer
nano-dollars. What two windows tell about a trend is in ``trends``. Source: DESIGN.md section 9.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from app.domain import minutes
from app.domain.histograms import BUCKETS, percentile_s

#: Outcomes of the response cache that spared a call of Claude, and the one that did not. What bypassed it counts as
#: neither.
_SPARED: Final = ("hit", "joined")
_MISSED: Final = "miss"
#: Tenants that a bucket tells apart once it is over: the dearest of each, several times what is shown of a window.
MOST_TENANTS: Final = 100


class Timing(Struct, frozen=True):
    """Times of one kind.

    Args:
        counts: by bucket of ``app.domain.histograms``.
        total_us: their sum, in microseconds.
    """

    counts: tuple[int, ...] = (0,) * BUCKETS
    total_us: int = 0

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(self.counts)

    @property
    def mean_s(self) -> float:
        """Their mean in seconds; 0 without any."""
        count = self.count
        return self.total_us / count / 1e6 if count else 0.0

    def percentile_s(self, share: float) -> float:
        """The time that ``share`` of them stayed within, in seconds; 0 without any."""
        return percentile_s(self.counts, share)


#: Of a bucket without any.
NO_TIMES: Final = Timing()


class Bucket(Struct, frozen=True, kw_only=True):
    """What all workers have counted in a stretch of time.

    Args:
        number: of its minute or hour since 1970; of the first one, where it is several.
        start_at: when it begins, Unix seconds.
        seconds: how long it is; of one that has not ended, how much of it has passed.
        requests: requests answered.
        errors: of those, answered with 5xx, or a stream that broke off.
        broken: of those, the streams.
        client_errors: answered with 4xx.
        refused: of those, by a limit (429).
        streams: streams that brought a first token.
        nano: what calls of Claude have cost, in nano-dollars.
        saved_nano: what answers from the cache would have cost.
        response: of model requests that were answered: plain ones until complete, streams until their first token.
        first_token: of streams alone.
        tokens: by class.
        cache: requests by what the response cache did.
        of_model: requests by model.
        nano_of_model: cost by model.
        nano_of_tenant: cost by tenant; ``minutes.OTHER`` stands for those that found no room.
        peaks: gauges by their names (``minutes.PEAK``), the highest of the time.
    """

    number: int
    start_at: int
    seconds: int
    requests: int = 0
    errors: int = 0
    broken: int = 0
    client_errors: int = 0
    refused: int = 0
    streams: int = 0
    nano: int = 0
    saved_nano: int = 0
    response: Timing = NO_TIMES
    first_token: Timing = NO_TIMES
    tokens: Mapping[str, int] = {}
    cache: Mapping[str, int] = {}
    of_model: Mapping[str, int] = {}
    nano_of_model: Mapping[str, int] = {}
    nano_of_tenant: Mapping[str, int] = {}
    peaks: Mapping[str, int] = {}

    @property
    def end_at(self) -> int:
        """When it ends, Unix seconds; now, for one that has not ended."""
        return self.start_at + self.seconds

    @property
    def requests_per_minute(self) -> float:
        """Over the time that has passed of it."""
        return self.per_minute(self.requests)

    def per_minute(self, count: int) -> float:
        """Some of what it counts, over the time that has passed of it; 0 where none has."""
        return 60 * count / self.seconds if self.seconds else 0.0

    @property
    def error_rate(self) -> float:
        """Share of the requests that failed on our side or Anthropic's; 0 without any."""
        return self.errors / self.requests if self.requests else 0.0

    @property
    def availability(self) -> float:
        """Share of the requests that did not; 1 without any."""
        return 1.0 - self.error_rate

    @property
    def cache_lookups(self) -> int:
        """Requests that were looked up in the response cache."""
        return sum(self.cache.get(outcome, 0) for outcome in (*_SPARED, _MISSED))

    @property
    def cache_hit_rate(self) -> float:
        """Share of them that needed no call of Claude of their own; 0 without any."""
        lookups = self.cache_lookups
        return sum(self.cache.get(outcome, 0) for outcome in _SPARED) / lookups if lookups else 0.0


#: Figures that are a field of a bucket, and those that are an entry of one.
_COUNTS: Final = {
    minutes.REQUESTS: "requests",
    minutes.ERRORS: "errors",
    minutes.BROKEN: "broken",
    minutes.CLIENT_ERRORS: "client_errors",
    minutes.REFUSED: "refused",
    minutes.STREAMS: "streams",
    minutes.NANO: "nano",
    minutes.SAVED_NANO: "saved_nano",
}
_ENTRIES: Final = {
    minutes.NANO_OF_TENANT: "nano_of_tenant",  # first, as there are most of them
    minutes.TOKENS: "tokens",
    minutes.CACHE: "cache",
    minutes.OF_MODEL: "of_model",
    minutes.NANO_OF_MODEL: "nano_of_model",
}
_TIMES: Final = {"response": minutes.RESPONSE, "first_token": minutes.FIRST_TOKEN}


def bucket_from(figures: Mapping[str, int], *, number: int, start_at: int, seconds: int) -> Bucket:
    """A bucket of figures by their names; those of another release are left out.

    Args:
        figures: whole numbers by the names of ``app.domain.minutes``.
        number: of the minute or hour.
        start_at: when it begins, Unix seconds.
        seconds: how much of it has passed.
    """
    fields: dict[str, Any] = {kind: _timing(figures, names) for kind, names in _TIMES.items()}
    for name, value in figures.items():
        if (count := _COUNTS.get(name)) is not None:
            fields[count] = value
        elif name.startswith(minutes.PEAK):
            fields.setdefault("peaks", {})[name] = value
        else:
            for beginning, entries in _ENTRIES.items():
                if name.startswith(beginning):
                    fields.setdefault(entries, {})[name.removeprefix(beginning)] = value
                    break
    return Bucket(number=number, start_at=start_at, seconds=seconds, **fields)


def _timing(figures: Mapping[str, int], names: minutes.Times) -> Timing:
    if names.total not in figures:
        return NO_TIMES
    return Timing(tuple(figures.get(name, 0) for name in names.fields), figures[names.total])


def condensed(bucket: Bucket) -> Bucket:
    """A bucket that is kept for long: beyond the dearest ``MOST_TENANTS`` tenants all others are ``minutes.OTHER``.

    What it leaves out of a window is at most what a tenant has cost in hours in which it was not among the dearest.
    """
    if len(bucket.nano_of_tenant) <= MOST_TENANTS + 1:
        return bucket
    named = ((cost, name) for name, cost in bucket.nano_of_tenant.items() if name != minutes.OTHER)
    kept = {name: cost for cost, name in heapq.nlargest(MOST_TENANTS, named)}
    kept[minutes.OTHER] = sum(bucket.nano_of_tenant.values()) - sum(kept.values())
    return replace(bucket, nano_of_tenant=kept)


def total(buckets: Sequence[Bucket]) -> Bucket:
    """Several buckets as one.

    Args:
        buckets: in any order; the whole begins with the first and is as long as all of them.
    """
    first = min(buckets, key=lambda bucket: bucket.start_at, default=_NOTHING)
    fields: dict[str, Any] = {name: sum(getattr(bucket, name) for bucket in buckets) for name in _COUNTS.values()}
    fields |= {name: _added(getattr(bucket, name) for bucket in buckets) for name in _ENTRIES.values()}
    fields |= {kind: _together([getattr(bucket, kind) for bucket in buckets]) for kind in _TIMES}
    return Bucket(
        number=first.number,
        start_at=first.start_at,
        seconds=sum(bucket.seconds for bucket in buckets),
        peaks=_highest(bucket.peaks for bucket in buckets),
        **fields,
    )


_NOTHING: Final = Bucket(number=0, start_at=0, seconds=0)


def _added(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    whole: dict[str, int] = {}
    for part in parts:
        for name, count in part.items():
            whole[name] = whole.get(name, 0) + count
    return whole


def _highest(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    whole: dict[str, int] = {}
    for part in parts:
        for name, value in part.items():
            whole[name] = max(whole.get(name, value), value)
    return whole


def _together(parts: Sequence[Timing]) -> Timing:
    some = [part for part in parts if part is not NO_TIMES]
    if not some:
        return NO_TIMES
    counts = zip(*(part.counts for part in some), strict=True)
    return Timing(tuple(map(sum, counts)), sum(part.total_us for part in some))
