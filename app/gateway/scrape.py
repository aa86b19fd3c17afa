"""The page ``/metrics`` of one gateway: what its workers have handed over, and what all replicas share.

Whoever is asked hands over its own figures first, so that the page is never older than the answer before it, whichever
worker gave that one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from app.domain.alert_book import AlertBook
from app.domain.alert_rules import ALL_RULES
from app.domain.alerts import SEVERITY
from app.gateway.cluster import ClusterBook, ClusterSample
from app.gateway.known_alerts import KnownAlerts
from app.observability.catalog import (
    ALERT,
    BREAKER,
    FULLEST,
    IN_FLIGHT,
    LOOP_LAG,
    RSS,
    SESSIONS,
    STARTED,
    STORE_MEMORY,
    STORE_MEMORY_MAX,
    STREAMS,
    UNSETTLED,
    Labels,
)
from app.observability.handover import Handover
from app.observability.process import ProcessFigures
from app.observability.totals import Gauges
from app.state.connection import StateConnection

if TYPE_CHECKING:
    from app.observability.exposition import Page

#: Stands for rules that this release does not know, as a newer one may write during a rollout.
OTHER_RULES: Final = "other"


class Scrape:
    """Makes the page.

    Args:
        handover: of this worker.
        state: the store, where the alerts stand.
        cluster: what all replicas share.
        now: the wall clock, in Unix seconds.
        monotonic: seconds.

    Attributes:
        handover: of this worker.
        alerts: how they stand, as this worker knows it.
    """

    def __init__(
        self,
        handover: Handover,
        *,
        state: StateConnection,
        cluster: ClusterBook,
        now: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self.handover = handover
        self.alerts = KnownAlerts(state, monotonic=monotonic)
        self._cluster = cluster
        self._now = now
        self._one_at_a_time = asyncio.Lock()

    async def page(self, accept: str) -> Page:
        """The page as of now. One at a time, as it costs CPU.

        While the store is away the alerts are those last known, and what else it knows is left out.

        Args:
            accept: the header of that name.
        """
        async with self._one_at_a_time:
            alerts = await self.alerts.latest(self._now())
            shared = {**cluster_gauges(await self._cluster.sample()), **alert_gauges(alerts)}
            self.handover.hand_over()
            return await asyncio.to_thread(self._render, shared, accept)

    def _render(self, shared: Gauges, accept: str) -> Page:
        from app.observability.exposition import render  # takes 0.1 s, and memory, where nobody scrapes

        return render(self.handover.pod(), shared, accept=accept, now=self._now())


def worker_gauges(process: ProcessFigures, *, breaker_open: bool, unsettled: int, worker: str) -> Gauges:
    """How one worker is doing.

    Args:
        process: its figures.
        breaker_open: the store counts as away for it.
        unsettled: settlements that it has still to make.
        worker: its label.
    """
    labels, now = (worker,), process.snapshot()
    values: dict[str, float] = {
        IN_FLIGHT.name: now.in_flight,
        STREAMS.name: now.streams,
        LOOP_LAG.name: now.loop_lag_ms / 1000,
        RSS.name: now.rss_bytes,
        STARTED.name: now.started_at,
        BREAKER.name: float(breaker_open),
        UNSETTLED.name: unsettled,
    }
    return {name: {labels: value} for name, value in values.items()}


def cluster_gauges(sample: ClusterSample | None) -> Gauges:
    """What all replicas share; nothing where it is not known."""
    if sample is None:
        return {}
    values: dict[str, float] = {SESSIONS.name: sample.sessions, FULLEST.name: sample.sessions_share}
    if sample.store_memory is not None:
        values |= {
            STORE_MEMORY.name: sample.store_memory.used_bytes,
            STORE_MEMORY_MAX.name: sample.store_memory.most_bytes,
        }
    return {name: {(): value} for name, value in values.items()}


def alert_gauges(book: AlertBook) -> Gauges:
    """How the alerts stand by rule, the worst of each: what they are about, such as a tenant, is not told here."""
    worst: dict[Labels, float] = {}
    for state in book.alerts:
        rule = state.rule if state.rule in ALL_RULES else OTHER_RULES
        worst[rule,] = max(SEVERITY[state.level], worst.get((rule,), 0))
    return {ALERT.name: worst}
