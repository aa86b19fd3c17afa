"""Times in buckets whose bounds grow by a fourth of an octave (19 %), from 39 us to 164 s.

All workers, releases and metrics share the bounds, so that histograms are added up by bucket: over workers, minutes and
hours. Every fourth bound is one of the OpenTelemetry GenAI conventions for ``gen_ai.server.request.duration`` (0.01 s
times a power of two), so that the same counts make a Prometheus histogram without another observation. A percentile is
right within a bucket, 19 % at most, and usually much closer. Source: DESIGN.md section 9.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

#: Buckets of one octave.
PER_OCTAVE: Final = 4
_LOWEST: Final = -8
_HIGHEST: Final = 14
#: Upper bounds of the buckets in seconds, ascending; one more bucket holds what is longer.
BOUNDS_S: Final[tuple[float, ...]] = tuple(
    0.01 * 2.0 ** (step / PER_OCTAVE) for step in range(_LOWEST * PER_OCTAVE, _HIGHEST * PER_OCTAVE + 1)
)
#: Buckets there are.
BUCKETS: Final = len(BOUNDS_S) + 1
#: What grows from one bound to the next.
_GROWTH: Final[float] = 2.0 ** (1 / PER_OCTAVE)


class Histogram:
    """Times of one kind.

    Attributes:
        counts: by bucket.
        total_s: their sum.
    """

    __slots__ = ("counts", "total_s")

    def __init__(self) -> None:
        self.counts = [0] * BUCKETS
        self.total_s = 0.0

    def observe(self, seconds: float) -> None:
        """One more; a negative time counts as none."""
        if seconds < 0:
            seconds = 0.0
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.total_s += seconds

    def add(self, bucket: int, seconds: float) -> None:
        """One more, whose bucket is known; not negative."""
        self.counts[bucket] += 1
        self.total_s += seconds


def bucket_of(seconds: float) -> int:
    """The bucket of a time."""
    return bisect_left(BOUNDS_S, seconds)


def percentile_s(counts: Sequence[int], share: float) -> float:
    """The time that ``share`` of all stayed within, in seconds; 0 without any.

    Args:
        counts: by bucket.
        share: such as 0.95.
    """
    total = sum(counts)
    if not total:
        return 0.0
    rank, seen = share * total, 0
    for bucket, count in enumerate(counts):
        if count and seen + count >= rank:
            return _within(bucket, max(0.0, rank - seen) / count)
        seen += count
    return BOUNDS_S[-1]


def _within(bucket: int, share: float) -> float:
    """A time inside a bucket, as if its times were spread evenly on the scale of the bounds."""
    if bucket >= len(BOUNDS_S):
        return BOUNDS_S[-1]
    return BOUNDS_S[bucket] * float(_GROWTH ** (share - 1.0))
