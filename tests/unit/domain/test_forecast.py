"""When something is full at its present trend."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.forecast import FEWEST_HOURS, NEVER_DAYS, days_until_full

FIRST_HOUR = 500_000


def hourly(*shares: float) -> list[tuple[int, float]]:
    return [(FIRST_HOUR + hour, share) for hour, share in enumerate(shares)]


def test_too_few_hours_tell_nothing() -> None:
    assert days_until_full([]) is None
    assert days_until_full(hourly(*[0.5] * (FEWEST_HOURS - 1))) is None


def test_what_grows_evenly_is_full_when_the_line_says_so() -> None:
    shares = [0.10 + 0.01 * hour for hour in range(31)]  # 0.4 by now, 60 hours to go
    assert days_until_full(hourly(*shares)) == pytest.approx(60 / 24)


def test_hours_without_a_peak_do_not_matter() -> None:
    points = hourly(*(0.10 + 0.01 * hour for hour in range(31)))
    assert days_until_full([*points[:5], *points[12:]]) == pytest.approx(60 / 24)


def test_their_order_does_not_matter() -> None:
    points = hourly(*(0.10 + 0.01 * hour for hour in range(31)))
    assert days_until_full(points[::-1]) == pytest.approx(60 / 24)


@pytest.mark.parametrize("shares", [[0.5] * 10, [0.9 - 0.05 * hour for hour in range(10)]])
def test_what_does_not_grow_is_never_full(shares: list[float]) -> None:
    assert days_until_full(hourly(*shares)) == NEVER_DAYS


def test_what_goes_up_and_down_with_the_day_has_no_trend() -> None:
    day = [0.2] * 8 + [0.6] * 10 + [0.3] * 6
    assert days_until_full(hourly(*day, *day, *day)) == NEVER_DAYS


def test_slow_growth_is_never() -> None:
    assert days_until_full(hourly(*(0.1 + 1e-6 * hour for hour in range(20)))) == NEVER_DAYS


def test_what_is_full_is_full_now() -> None:
    assert days_until_full(hourly(0.5, 0.6, 0.7, 0.8, 0.9, 1.02)) == 0.0


@given(st.lists(st.floats(0, 1.2), min_size=FEWEST_HOURS, max_size=100))
def test_days_stay_within_their_bounds(shares: list[float]) -> None:
    days = days_until_full(hourly(*shares))
    assert days is not None
    assert 0.0 <= days <= NEVER_DAYS
