"""Which figures make which readings."""

from __future__ import annotations

import pytest

from app.domain.alert_rules import (
    FORECAST_PEAKS,
    MOST_BUDGETS,
    RULES,
    Situation,
    Threshold,
    Thresholds,
    fact_reading,
    readings_of,
)
from app.domain.alerts import Reading
from app.domain.buckets import Bucket, Timing
from app.domain.credentials import CredentialFigures
from app.domain.forecast import NEVER_DAYS
from app.domain.histograms import BUCKETS, bucket_of

THRESHOLDS = Thresholds(
    min_requests=20,
    response_time_s=Threshold(2.0, 5.0),
    error_rate=Threshold(0.05, 0.1),
    memory=Threshold(0.8, 0.9),
    sessions=Threshold(0.8, 0.95),
    budget=Threshold(0.8, 1.0),
    forecast_days=Threshold(7.0, 1.0),
)


def read(situation: Situation) -> dict[str, Reading]:
    return {reading.alert: reading for reading in readings_of(situation, THRESHOLDS)}


def window(requests: int, *, errors: int = 0, answered: int = 0, seconds: float = 1.0) -> Bucket:
    counts = [0] * BUCKETS
    counts[bucket_of(seconds)] = answered
    timing = Timing(tuple(counts), int(answered * seconds * 1e6))
    return Bucket(number=1, start_at=60, seconds=300, requests=requests, errors=errors, response=timing)


def hours(**shares: list[int]) -> dict[int, dict[str, int]]:
    """Peaks of hours in thousandths, by the ends of their names."""
    count = max(len(values) for values in shares.values())
    return {
        500_000 + hour: {f"peak:{name}": values[hour] for name, values in shares.items() if hour < len(values)}
        for hour in range(count)
    }


def test_where_nothing_is_known_only_the_store_is_told_of() -> None:
    assert list(read(Situation())) == ["store_away"]


def test_every_rule_can_be_read() -> None:
    situation = Situation(
        window=window(20, answered=20),
        replicas={"a": 0.5},
        store_memory=0.5,
        fullest_tenant=0.5,
        peaks=hours(sessions_share=[100] * 6, memory_share=[100] * 6),
    )
    assert set(read(situation)) == set(RULES)


def test_response_time_is_the_mean_of_the_window() -> None:
    reading = read(Situation(window=window(20, answered=20, seconds=3.0)))["response_time"]
    assert reading.value == pytest.approx(3.0)
    assert (reading.unit, reading.level) == ("s", "warning")


def test_error_rate_is_the_share_of_all_requests() -> None:
    reading = read(Situation(window=window(100, errors=10)))["error_rate"]
    assert (reading.value, reading.level) == (0.1, "critical")


def test_too_few_requests_say_nothing() -> None:
    assert set(read(Situation(window=window(19, errors=19, answered=19)))) == {"store_away"}
    assert set(read(Situation(window=window(20, answered=19)))) == {"error_rate", "store_away"}


def test_memory_is_that_of_the_fullest_replica() -> None:
    reading = read(Situation(replicas={"pod-1": 0.4, "pod-2": 0.85, "pod-3": 0.1}))["memory"]
    assert (reading.value, reading.level, reading.about) == (0.85, "warning", "replica pod-2")


def test_memory_of_the_store_is_a_rule_of_its_own() -> None:
    reading = read(Situation(store_memory=0.95))["store_memory"]
    assert (reading.value, reading.level) == (0.95, "critical")


def test_sessions_are_those_of_the_fullest_tenant() -> None:
    assert read(Situation(fullest_tenant=0.95))["sessions"].level == "critical"
    assert read(Situation(fullest_tenant=0.0))["sessions"].level == "ok"


def test_the_store_being_away_is_critical() -> None:
    assert read(Situation())["store_away"].level == "ok"
    assert fact_reading("store_away", True).level == "critical"
    assert fact_reading("store_away", True, about="as seen from a").about == "as seen from a"


def test_a_forecast_is_the_time_that_is_left() -> None:
    growing = [100 + 10 * hour for hour in range(31)]
    reading = read(Situation(peaks=hours(sessions_share=growing)))["forecast_sessions"]
    assert reading.value == pytest.approx(60 / 24)
    assert (reading.unit, reading.level) == ("days", "warning")


def test_too_few_hours_make_no_forecast() -> None:
    assert set(read(Situation(peaks=hours(sessions_share=[1] * 5, memory_share=[1] * 5)))) == {"store_away"}


def test_of_replicas_and_store_what_is_full_first_counts() -> None:
    growing, still = [100 + 10 * hour for hour in range(31)], [100] * 31
    reading = read(Situation(peaks=hours(memory_share=still, store_memory_share=growing)))["forecast_memory"]
    assert (reading.about, reading.level) == ("the state store", "warning")
    reading = read(Situation(peaks=hours(memory_share=growing)))["forecast_memory"]
    assert reading.about == "a replica"
    reading = read(Situation(peaks=hours(memory_share=still)))["forecast_memory"]
    assert (reading.value, reading.about) == (NEVER_DAYS, "")


def test_peaks_are_read_by_their_names() -> None:
    assert FORECAST_PEAKS == ("peak:sessions_share", "peak:memory_share", "peak:store_memory_share")


def test_budgets_are_alerts_of_their_own() -> None:
    found = read(Situation(budgets={"acme:day": 0.5, "acme/k1:month": 0.8, "other:total": 1.0}))
    levels = {alert: reading.level for alert, reading in found.items() if alert.startswith("budget:")}
    assert levels == {"budget:acme:day": "ok", "budget:acme/k1:month": "warning", "budget:other:total": "critical"}


def test_a_budget_that_refuses_says_so() -> None:
    found = read(Situation(budgets={"acme:day": 1.0, "acme:month": 1.0}, refusing={"acme:day"}))
    assert found["budget:acme:day"].about == "it refuses requests that need more than is left"
    assert found["budget:acme:month"].about == ""


def test_of_many_budgets_the_fullest_are_watched() -> None:
    budgets = {f"t{number}:day": number / 1000 for number in range(MOST_BUDGETS + 10)}
    found = read(Situation(budgets=budgets))
    assert "budget:t10:day" in found
    assert "budget:t9:day" not in found


@pytest.mark.parametrize(("status", "level"), [("ok", "ok"), ("limited", "ok"), ("failing", "critical")])
def test_a_credential_that_anthropic_refuses_is_critical(status: str, level: str) -> None:
    credential = CredentialFigures(label="0a1b2c3d", status=status)  # type: ignore[arg-type]
    assert read(Situation(credentials=[credential]))["upstream_credential:0a1b2c3d"].level == level
