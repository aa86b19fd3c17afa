"""Limits of a key over its defaults, and use added up."""

from __future__ import annotations

import msgspec
import pytest

from app.domain.limits import LIMIT_FIELDS, MAX_BUDGET_NANO, MAX_RATE, NO_LIMITS, Limits, Use

DEFAULTS = Limits(requests_per_minute=60, concurrency=5, budget_day_nano=1_000)


def test_a_limit_that_is_not_set_falls_back_to_the_default() -> None:
    own = Limits(requests_per_minute=10, output_tokens_per_minute=7)
    assert own.over(DEFAULTS) == Limits(
        requests_per_minute=10, output_tokens_per_minute=7, concurrency=5, budget_day_nano=1_000
    )


def test_a_budget_of_nothing_is_a_limit() -> None:
    assert Limits(budget_day_nano=0).over(DEFAULTS).budget_day_nano == 0


def test_no_limits_are_the_defaults_as_they_are() -> None:
    assert NO_LIMITS.over(DEFAULTS) is DEFAULTS
    assert Limits(concurrency=1).over(NO_LIMITS) == Limits(concurrency=1)


@pytest.mark.parametrize("name", LIMIT_FIELDS)
def test_a_budget_is_told_from_a_rate(name: str) -> None:
    assert Limits(**{name: 1}).has_budget is name.startswith("budget")


def test_without_limits_there_is_no_budget() -> None:
    assert not NO_LIMITS.has_budget
    assert Limits(budget_total_nano=0).has_budget


@pytest.mark.parametrize(
    "wire",
    [
        b'{"requests_per_minute": 0}',
        b'{"concurrency": -1}',
        b'{"input_tokens_per_minute": %d}' % (MAX_RATE + 1),
        b'{"budget_day_nano": -1}',
        b'{"budget_total_nano": %d}' % (MAX_BUDGET_NANO + 1),
    ],
)
def test_what_the_scripts_cannot_count_exactly_is_refused(wire: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(wire, type=Limits)


def test_the_largest_limits_are_counted_exactly_by_lua() -> None:
    assert MAX_RATE * 60_000_000 < 2**53
    assert MAX_BUDGET_NANO < 2**53


def test_use_adds_up_and_one_estimate_makes_the_sum_one() -> None:
    first = Use(
        input_tokens=1, cache_write_tokens=2, cache_read_tokens=3, output_tokens=4, nano=5, complete=True, cache_hits=1
    )
    second = Use(input_tokens=10, output_tokens=40, nano=50, estimated=True, complete=True, requests=2, cache_hits=3)
    assert first + second == Use(
        input_tokens=11,
        cache_write_tokens=2,
        cache_read_tokens=3,
        output_tokens=44,
        nano=55,
        estimated=True,
        complete=True,
        requests=3,
        cache_hits=4,
    )


def test_a_sum_is_complete_only_when_both_are() -> None:
    assert not (Use(complete=True) + Use()).complete
    assert not (Use() + Use(complete=True)).complete
