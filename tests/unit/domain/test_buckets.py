"""Buckets of figures: made of their names, added up, and what they tell."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain import minutes
from app.domain.buckets import MOST_TENANTS, NO_TIMES, Bucket, Timing, bucket_from, condensed, total
from app.domain.histograms import BOUNDS_S, BUCKETS, bucket_of
from app.domain.limits import NANO_PER_USD
from tests.support.buckets import timed

COUNTS = st.integers(0, 2**63)
FIGURES = st.dictionaries(
    st.sampled_from(
        [
            *(minutes.REQUESTS, minutes.ERRORS, minutes.BROKEN, minutes.CLIENT_ERRORS, minutes.REFUSED),
            *(minutes.STREAMS, minutes.NANO, minutes.SAVED_NANO),
            *(minutes.TOKENS + name for name in ("input", "output")),
            *(minutes.CACHE + name for name in ("hit", "miss", "joined", "bypass")),
            *(minutes.OF_MODEL + name for name in ("a", "b")),
            *(minutes.NANO_OF_MODEL + name for name in ("a", "b")),
            *(minutes.NANO_OF_TENANT + name for name in ("acme", minutes.OTHER)),
        ]
    ),
    COUNTS,
)
TIMES = st.lists(st.floats(0, 200), max_size=20)


def bucket(figures: dict[str, int], number: int = 7, seconds: int = 60) -> Bucket:
    return bucket_from(figures, number=number, start_at=60 * number, seconds=seconds)


def added(parts: list[dict[str, int]]) -> dict[str, int]:
    names = {name for part in parts for name in part}
    return {name: sum(part.get(name, 0) for part in parts) for name in names}


def test_figures_find_their_places() -> None:
    made = bucket(
        {
            "requests": 10,
            "errors": 3,
            "broken": 1,
            "client_errors": 2,
            "refused": 1,
            "streams": 4,
            "nano": 5,
            "saved_nano": 6,
            "tokens:input": 7,
            "cache:hit": 8,
            "model:claude-x": 9,
            "nano:model:claude-x": 10,
            "nano:tenant:acme": 11,
            "peak:sessions": 12,
        }
    )
    assert made == Bucket(
        number=7,
        start_at=420,
        seconds=60,
        requests=10,
        errors=3,
        broken=1,
        client_errors=2,
        refused=1,
        streams=4,
        nano=5,
        saved_nano=6,
        tokens={"input": 7},
        cache={"hit": 8},
        of_model={"claude-x": 9},
        nano_of_model={"claude-x": 10},
        nano_of_tenant={"acme": 11},
        peaks={"peak:sessions": 12},
    )


def test_times_come_as_a_histogram_and_a_sum() -> None:
    made = bucket(timed(minutes.RESPONSE, [0.1, 0.3]) | timed(minutes.FIRST_TOKEN, [0.2]))
    assert (made.response.count, made.response.total_us, made.response.mean_s) == (2, 400_000, 0.2)
    assert made.response.counts[bucket_of(0.1)] == made.response.counts[bucket_of(0.3)] == 1
    assert made.first_token.count == 1


def test_figures_of_another_release_are_left_out() -> None:
    assert bucket({"novelty": 1, "nano:nobody:x": 2, "response:9999": 3, "response_seconds": 4}) == bucket({})


def test_a_bucket_of_nothing_tells_nothing_bad() -> None:
    nothing = bucket({})
    assert nothing.response is NO_TIMES
    assert (nothing.error_rate, nothing.availability, nothing.cache_hit_rate) == (0.0, 1.0, 0.0)
    assert (nothing.response.mean_s, nothing.response.percentile_s(0.95), nothing.requests_per_minute) == (
        0.0,
        0.0,
        0.0,
    )
    assert nothing.end_at == 480


def test_shares_and_rates() -> None:
    made = bucket(
        {"requests": 40, "errors": 1, "cache:hit": 2, "cache:joined": 1, "cache:miss": 3, "cache:bypass": 99},
        seconds=30,
    )
    assert (made.error_rate, made.availability, made.requests_per_minute) == (0.025, 0.975, 80.0)
    assert (made.cache_lookups, made.cache_hit_rate) == (6, 0.5)


def test_a_percentile_is_right_within_a_bucket() -> None:
    p95 = bucket(timed(minutes.RESPONSE, [0.1] * 90 + [2.0] * 10)).response.percentile_s(0.95)
    upper = BOUNDS_S[bucket_of(2.0)]
    assert BOUNDS_S[bucket_of(2.0) - 1] <= p95 <= upper


@given(st.lists(st.tuples(FIGURES, TIMES), max_size=5))
def test_the_whole_is_the_sum_of_its_parts(parts: list[tuple[dict[str, int], list[float]]]) -> None:
    figures = [part | timed(minutes.RESPONSE, times) | timed(minutes.FIRST_TOKEN, times[:2]) for part, times in parts]
    apart = total([bucket(part, number) for number, part in enumerate(figures)])
    together = bucket_from(added(figures), number=0, start_at=0, seconds=60 * len(parts))
    assert apart == together


@given(st.lists(st.dictionaries(st.sampled_from([minutes.REPLICAS, minutes.MEMORY_SHARE]), COUNTS), max_size=5))
def test_of_gauges_the_highest_is_kept(parts: list[dict[str, int]]) -> None:
    peaks = total([bucket(part, number) for number, part in enumerate(parts)]).peaks
    assert peaks == {name: max(part[name] for part in parts if name in part) for part in parts for name in part}


@pytest.mark.parametrize("order", [(3, 4), (4, 3)])
def test_the_whole_begins_with_the_first_whatever_the_order(order: tuple[int, ...]) -> None:
    whole = total([bucket({"requests": 1}, number) for number in order])
    assert (whole.number, whole.start_at, whole.seconds, whole.requests) == (3, 180, 120, 2)


def test_of_no_buckets_the_whole_is_nothing() -> None:
    nothing = total([])
    assert (nothing.seconds, nothing.requests, nothing.requests_per_minute) == (0, 0, 0.0)


def test_a_bucket_that_is_kept_tells_the_dearest_tenants_apart() -> None:
    costs = {f"t{number:03}": number for number in range(MOST_TENANTS + 50)}
    kept = condensed(bucket({minutes.NANO_OF_TENANT + name: cost for name, cost in costs.items()}))
    assert kept.nano_of_tenant == {
        **{name: cost for name, cost in costs.items() if cost >= 50},
        minutes.OTHER: sum(range(50)),
    }
    assert condensed(kept) is kept


def test_tenants_that_were_one_already_stay_so() -> None:
    costs = {minutes.NANO_OF_TENANT + f"t{number}": 5 for number in range(MOST_TENANTS + 1)}
    kept = condensed(bucket(costs | {minutes.NANO_OF_TENANT + minutes.OTHER: 1})).nano_of_tenant
    assert (len(kept), kept[minutes.OTHER]) == (MOST_TENANTS + 1, 6)


def test_money_beyond_what_a_float_holds_is_exact() -> None:
    million = 1_000_000 * NANO_PER_USD
    assert total([bucket({"nano": 10 * million + 1}), bucket({"nano": 2})]).nano == 10 * million + 3


def test_a_timing_has_a_count_for_each_bucket() -> None:
    assert len(Timing().counts) == BUCKETS
