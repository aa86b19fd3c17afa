"""When something is full at its present trend: a least-squares line through hourly peaks; pure.

A trend counts only where the line explains at least half of how the peaks differ: a figure that goes up and down with
the hours of the day has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import StatisticsError, correlation, linear_regression
from typing import Final

#: Fewer hours than these tell no trend.
FEWEST_HOURS: Final = 6
#: What does not fill up at its present trend, or later than this.
NEVER_DAYS: Final = 365.0

_EXPLAINED: Final = 0.5
_HOURS_A_DAY: Final = 24.0


def days_until_full(peaks: Sequence[tuple[int, float]]) -> float | None:
    """Days until the share is 1, from 0 to ``NEVER_DAYS``; ``None`` where there are too few hours to tell.

    Args:
        peaks: hour since 1970, and the highest share (1.0 is full) in it, each hour once; hours may be missing.
    """
    if len(peaks) < FEWEST_HOURS:
        return None
    _, last = max(peaks)
    if last >= 1.0:
        return 0.0
    growth = _growth_an_hour(peaks)
    if growth <= 0.0:
        return NEVER_DAYS
    return min(NEVER_DAYS, (1.0 - last) / growth / _HOURS_A_DAY)


def _growth_an_hour(peaks: Sequence[tuple[int, float]]) -> float:
    """The slope of the line, 0 where it explains too little."""
    hours, shares = zip(*peaks, strict=True)
    try:
        explained = correlation(hours, shares) ** 2
    except StatisticsError:  # all peaks are the same
        return 0.0
    return linear_regression(hours, shares).slope if explained >= _EXPLAINED else 0.0
