"""Reads the figures that alerts go by, of all replicas, from the state store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import Struct

from app.domain.alert_rules import FORECAST_PEAKS, Situation
from app.domain.buckets import total
from app.domain.credentials import together
from app.gateway.budgets_watch import BudgetShare, budget_shares
from app.gateway.cluster import ClusterBook, memory_shares, peaks_of
from app.gateway.refusals import Refusals
from app.state.connection import StateConnection
from app.state.figures import read_all
from app.state.hourly_peaks import read_hourly_peaks
from app.state.minutes import BucketReader

#: The trend is that of so many hours: four days, so that the hours of a day do not look like one.
TREND_HOURS: Final = 96


class Sources:
    """Everything that there is to read.

    Args:
        state: the store.
        cluster: what all replicas share.
        window_minutes: of response time and errors: so many whole minutes, and the one that runs.
        new_id: makes unique ids of calls.
    """

    def __init__(
        self, state: StateConnection, *, cluster: ClusterBook, window_minutes: int, new_id: Callable[[], str]
    ) -> None:
        self._state = state
        self._cluster = cluster
        self._buckets = BucketReader(state)
        self._window_minutes = window_minutes
        self._new_id = new_id
        self._refusals = Refusals("Alerts are evaluated")

    async def read(self) -> Read:
        """The situation now; what the store refuses to tell is left out.

        Raises:
            StateUnavailable: the store is away.
        """
        window = await self._refusals.had("the last minutes", self._buckets.minutes(self._window_minutes + 1))
        peaks = await self._refusals.had("the trend", read_hourly_peaks(self._state, FORECAST_PEAKS, last=TREND_HOURS))
        workers = await self._refusals.had("the figures of the workers", read_all(self._state)) or []
        budgets = await self._refusals.had("budgets", budget_shares(self._state, new_id=self._new_id)) or []
        sample = await self._cluster.sample()
        memory = sample.store_memory if sample is not None else None
        return Read(
            situation=Situation(
                window=None if window is None else total(window),
                replicas=memory_shares(workers),
                store_memory=None if memory is None else memory.share,
                fullest_tenant=None if sample is None else sample.sessions_share,
                peaks=peaks or {},
                budgets={_name(one): one.share for one in budgets},
                refusing=frozenset(_name(one) for one in budgets if one.has_refused),
                credentials=together(one for worker in workers for one in worker.credentials),
            ),
            peaks=peaks_of(sample, workers),
        )


class Read(Struct, frozen=True):
    """What was read.

    Args:
        situation: for the rules.
        peaks: gauges for this minute's bucket.
    """

    situation: Situation
    peaks: dict[str, int]


def _name(budget: BudgetShare) -> str:
    key = "" if budget.key_id is None else f"/{budget.key_id}"
    return f"{budget.tenant}{key}:{budget.period}"
