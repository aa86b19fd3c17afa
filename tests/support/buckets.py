"""Figures of minute buckets as workers count them."""

from __future__ import annotations

from collections.abc import Iterable

from app.domain import minutes
from app.domain.histograms import bucket_of


def timed(kind: minutes.Times, seconds: Iterable[float]) -> dict[str, int]:
    """The figures of some times.

    Args:
        kind: of which kind they are.
        seconds: the times.
    """
    figures: dict[str, int] = {}
    for one in seconds:
        field = kind.fields[bucket_of(one)]
        figures[field] = figures.get(field, 0) + 1
        figures[kind.total] = figures.get(kind.total, 0) + int(one * 1e6)
    return figures
