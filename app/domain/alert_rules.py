"""The rules: which figures are watched, and what their values are; pure. What follows from them is in ``alerts.py``.

| rule | value | needs |
|---|---|---|
| ``response_time`` | mean over the window, in seconds (plain: whole; streams: first token) | enough requests |
| ``error_rate`` | 5xx and broken streams over the window, as a share | enough requests |
| ``memory`` | of the fullest replica: what its workers have resident, of what it may use | a known limit |
| ``store_memory`` | of the state store: used, of what it may use | a known limit |
| ``sessions`` | of the fullest tenant, of its maximum | |
| ``store_away`` | whether the state store is away, or refuses to be written | |
| ``forecast_sessions``, ``forecast_memory`` | days until they are full at the present trend | six hours of peaks |
| ``budget:<tenant>[/<key id>]:<day, month, total>`` | spent, as a share; 1 where it refuses; the 200 fullest | |
| ``upstream_credential:<label>`` | whether Anthropic refuses the key | |

A rule without what it needs makes no reading. Source: DESIGN.md section 9; the thresholds of the mission are the
defaults of the settings.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct

from app.domain import minutes
from app.domain.alerts import Reading, Unit
from app.domain.buckets import Bucket
from app.domain.credentials import CredentialFigures
from app.domain.forecast import NEVER_DAYS, days_until_full

RESPONSE_TIME: Final = "response_time"
ERROR_RATE: Final = "error_rate"
MEMORY: Final = "memory"
STORE_MEMORY: Final = "store_memory"
SESSIONS: Final = "sessions"
STORE_AWAY: Final = "store_away"
FORECAST_SESSIONS: Final = "forecast_sessions"
FORECAST_MEMORY: Final = "forecast_memory"
BUDGET: Final = "budget"
CREDENTIAL: Final = "upstream_credential"

#: Rules that are about one thing, in the order in which they are shown.
RULES: Final = (
    RESPONSE_TIME,
    ERROR_RATE,
    MEMORY,
    STORE_MEMORY,
    SESSIONS,
    STORE_AWAY,
    FORECAST_SESSIONS,
    FORECAST_MEMORY,
)

#: Every rule, those that are about many things included: the values of a label.
ALL_RULES: Final = (*RULES, BUDGET, CREDENTIAL)

#: Gauges that forecasts go by.
FORECAST_PEAKS: Final = (minutes.SESSIONS_SHARE, minutes.MEMORY_SHARE, minutes.STORE_MEMORY_SHARE)

#: Budgets that are watched at a time, those that are nearest to their end.
MOST_BUDGETS: Final = 200

#: Shares in a bucket's peaks are thousandths.
_THOUSANDTH: Final = 0.001


class Threshold(Struct, frozen=True):
    """From where on a value is a warning, and from where on it is critical."""

    warning: float
    critical: float


class Thresholds(Struct, frozen=True, kw_only=True):
    """The settings of the rules.

    Args:
        min_requests: fewer requests in the window say nothing about times and errors.
        response_time_s: seconds.
        error_rate: of all requests, as the following of their maximum.
        memory: of a replica, and of the state store.
        sessions: of a tenant.
        budget: of a key or tenant.
        forecast_days: days; fewer are worse.
    """

    min_requests: int
    response_time_s: Threshold
    error_rate: Threshold
    memory: Threshold
    sessions: Threshold
    budget: Threshold
    forecast_days: Threshold


class Situation(Struct, frozen=True, kw_only=True):
    """The figures at one moment, of all replicas; ``None`` and empty stand for what could not be had.

    Args:
        window: the last minutes as one.
        replicas: of each replica (host or pod), what its workers have resident, as a share of what it may use.
        store_memory: of the state store, likewise.
        fullest_tenant: sessions of the tenant that is nearest to its maximum, as a share.
        peaks: gauges of the last hours (``minutes.PEAK``), by hour since 1970, for the trend.
        budgets: what is spent, as a share of a budget, by ``<tenant>[/<key id>]:<day, month, total>``.
        refusing: those that have refused a request, whatever is spent of them, by the same names.
        credentials: the gateway's own at Anthropic.
    """

    window: Bucket | None = None
    replicas: Mapping[str, float] = {}
    store_memory: float | None = None
    fullest_tenant: float | None = None
    peaks: Mapping[int, Mapping[str, int]] = {}
    budgets: Mapping[str, float] = {}
    refusing: Container[str] = ()
    credentials: Sequence[CredentialFigures] = ()


def readings_of(situation: Situation, thresholds: Thresholds) -> list[Reading]:
    """Every rule that can be read now, those of ``RULES`` first and in their order."""
    return [
        *_traffic(situation.window, thresholds),
        *_memory(situation, thresholds.memory),
        *_sessions(situation.fullest_tenant, thresholds.sessions),
        fact_reading(STORE_AWAY, False),  # whoever has the figures has reached it
        *_forecasts(situation.peaks, thresholds.forecast_days),
        *_budgets(situation, thresholds.budget),
        *(fact_reading(f"{CREDENTIAL}:{one.label}", one.status == "failing") for one in situation.credentials),
    ]


def fact_reading(alert: str, holds: bool, *, about: str = "") -> Reading:
    """The reading of a rule that is critical where something is the case."""
    return Reading(alert=alert, value=float(holds), unit="fact", warning=None, critical=1.0, about=about)


def _traffic(window: Bucket | None, thresholds: Thresholds) -> Iterator[Reading]:
    if window is None:
        return
    if window.response.count >= thresholds.min_requests:
        yield _reading(RESPONSE_TIME, window.response.mean_s, "s", thresholds.response_time_s)
    if window.requests >= thresholds.min_requests:
        yield _reading(ERROR_RATE, window.error_rate, "share", thresholds.error_rate)


def _memory(situation: Situation, threshold: Threshold) -> Iterator[Reading]:
    if situation.replicas:
        host, share = max(situation.replicas.items(), key=lambda one: one[1])
        yield _reading(MEMORY, share, "share", threshold, about=f"replica {host}")
    if situation.store_memory is not None:
        yield _reading(STORE_MEMORY, situation.store_memory, "share", threshold)


def _sessions(share: float | None, threshold: Threshold) -> Iterator[Reading]:
    if share is not None:
        yield _reading(SESSIONS, share, "share", threshold)


def _forecasts(hours: Mapping[int, Mapping[str, int]], threshold: Threshold) -> Iterator[Reading]:
    sessions = _days_until_full(hours, minutes.SESSIONS_SHARE)
    if sessions is not None:
        yield _reading(FORECAST_SESSIONS, sessions, "days", threshold)
    memory = [
        (days, about)
        for peak, about in ((minutes.MEMORY_SHARE, "a replica"), (minutes.STORE_MEMORY_SHARE, "the state store"))
        if (days := _days_until_full(hours, peak)) is not None
    ]
    if memory:
        days, about = min(memory)
        yield _reading(FORECAST_MEMORY, days, "days", threshold, about=about if days < NEVER_DAYS else "")


def _days_until_full(hours: Mapping[int, Mapping[str, int]], peak: str) -> float | None:
    return days_until_full([(hour, _THOUSANDTH * peaks[peak]) for hour, peaks in hours.items() if peak in peaks])


def _budgets(situation: Situation, threshold: Threshold) -> Iterator[Reading]:
    fullest = sorted(situation.budgets.items(), key=lambda one: (-one[1], one[0]))[:MOST_BUDGETS]
    for name, share in fullest:
        about = "it refuses requests that need more than is left" if name in situation.refusing else ""
        yield _reading(f"{BUDGET}:{name}", share, "share", threshold, about=about)


def _reading(alert: str, value: float, unit: Unit, threshold: Threshold, *, about: str = "") -> Reading:
    return Reading(
        alert=alert,
        value=value,
        unit=unit,
        warning=threshold.warning,
        critical=threshold.critical,
        falling=unit == "days",
        about=about,
    )
