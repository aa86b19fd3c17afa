"""What the dashboard shows: collected from the shared store, for all replicas by any of them.

A reading counts for ``READ_EVERY_S``, so that ten open pages cost a worker no more than one. While the store is away
there are this worker's own figures, marked: what it has counted since it last reached the store, and the alerts as it
last knew them. Source: DESIGN.md sections 4 and 9.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Struct

from app.domain.alert_book import AlertBook
from app.domain.buckets import Bucket, bucket_from, total
from app.domain.dashboard_figures import active_alerts, failure_kinds, performance, response_times, spend, told_alerts
from app.errors import StateError
from app.gateway.cluster import ClusterBook, ClusterSample
from app.gateway.dashboard_errors import RecentErrors
from app.gateway.dashboard_resources import resources
from app.gateway.figures import worker_figures
from app.gateway.refusals import Refusals
from app.gateway.services import Services
from app.observability.version import VERSION
from app.schemas import dashboard as wire
from app.state.figures import WorkerFigures, by_replica, read_all
from app.state.minutes import BucketReader

#: A reading counts for this long.
READ_EVERY_S: Final = 2.0
#: Failures that are shown.
MOST_ERRORS: Final = 20
#: Changes of alerts that are shown.
MOST_EVENTS: Final = 20

_MINUTES_OF_AN_HOUR: Final = 60
#: Minutes of the windows that are shown by the minute.
_MINUTES: Final[dict[wire.WindowName, int]] = {"15m": 15, "1h": 60}
#: Hours of the windows that are shown by the hour.
_HOURS: Final[dict[wire.WindowName, int]] = {"24h": 24, "48h": 48}

_encode = msgspec.json.Encoder().encode


class _Reading(Struct, frozen=True, kw_only=True):
    """What the store, or this worker alone, says.

    Args:
        workers: of all replicas, or this one.
        now: the minutes or hours of the window, oldest first.
        before: as many before them.
        step_s: length of one of them.
        last_hour: the last 60 minutes.
        book: the alerts.
        errors: requests that failed lately, newest first.
        sample: what all replicas share.
    """

    workers: Sequence[WorkerFigures]
    now: Sequence[Bucket]
    before: Sequence[Bucket]
    step_s: int
    last_hour: Sequence[Bucket]
    book: AlertBook
    errors: Sequence[wire.RequestFailure]
    sample: ClusterSample | None


class _Figures(Struct, frozen=True, kw_only=True):
    """What is computed of a reading."""

    performance: wire.Performance
    response_times: list[wire.ResponseTime]
    spend: wire.Spend


class DashboardBook:
    """The readings of one worker.

    Args:
        services: the rooms.
        cluster: what all replicas share.
        host: name of this machine or pod.
    """

    def __init__(self, services: Services, cluster: ClusterBook, *, host: str) -> None:
        self._services = services
        self._cluster = cluster
        self._host = host
        self._buckets = BucketReader(services.state)
        self._reading = asyncio.Lock()
        self._kept: dict[wire.WindowName, tuple[float, bytes]] = {}
        self._refusals = Refusals("The dashboard is shown")
        self._errors = RecentErrors(services.state, monotonic=services.monotonic)
        self._reached_at = services.process.started_at

    async def read(self, window: wire.WindowName) -> bytes:
        """``app.schemas.dashboard.Dashboard`` as JSON, at most ``READ_EVERY_S`` old. The store may be away.

        Args:
            window: the time that is shown.
        """
        async with self._reading:  # whoever comes meanwhile waits for the same answer
            now = self._services.monotonic()
            made_at, kept = self._kept.get(window, (float("-inf"), b""))
            if now - made_at < READ_EVERY_S:
                return kept
            made = await self._collect(window)
            self._kept[window] = (self._services.monotonic(), made)
            return made

    async def _collect(self, window: wire.WindowName) -> bytes:
        try:
            reading, degraded = await self._of_cluster(window), False
            self._reached_at = self._services.now()
        except StateError:
            reading, degraded = self._of_worker(), True
        figures = await asyncio.to_thread(_figures, reading)
        return _encode(self._shown(window, reading, figures, degraded=degraded))

    async def _of_cluster(self, window: wire.WindowName) -> _Reading:
        """What all replicas say; a part that the store refuses to tell is what this worker knows of it.

        Raises:
            StateError: the store did not answer, or does not tell the minutes and hours.
        """
        services, had = self._services, self._refusals.had
        alerts = services.scrape.alerts
        minutes = await self._buckets.minutes(2 * _MINUTES_OF_AN_HOUR)
        if (hours := _HOURS.get(window)) is None:
            points, count, step_s = minutes, _MINUTES[window], 60
        else:
            points, count, step_s = await self._buckets.hours(2 * hours), hours, 3600
        return _Reading(
            workers=await had("the figures of the workers", read_all(services.state)) or [self._own_figures()],
            now=points[-count:],
            before=points[-2 * count : -count],
            step_s=step_s,
            last_hour=minutes[-_MINUTES_OF_AN_HOUR:],
            book=await had("the alerts", alerts.read()) or alerts.last_known(services.now()),
            errors=await had("the latest failures", self._errors.read()) or self._errors.latest,
            sample=await self._cluster.sample(),
        )

    def _of_worker(self) -> _Reading:
        """What this worker knows alone: what it has not been able to report yet, and how the alerts stood last."""
        start_at = int(self._reached_at)
        seconds = max(1, int(self._services.now()) - start_at)
        counted = bucket_from(self._services.metrics.minute_so_far(), number=0, start_at=start_at, seconds=seconds)
        return _Reading(
            workers=[self._own_figures()],
            now=[counted],
            before=[],
            step_s=seconds,
            last_hour=[counted],
            book=self._services.scrape.alerts.last_known(self._services.now()),
            errors=self._errors.latest,
            sample=None,
        )

    def _shown(
        self, window: wire.WindowName, reading: _Reading, figures: _Figures, *, degraded: bool
    ) -> wire.Dashboard:
        services, at, start_at = self._services, self._services.now(), reading.now[0].start_at
        before = reading.before or [Bucket(number=0, start_at=start_at, seconds=0)]
        return wire.Dashboard(
            at=at,
            scope="process" if degraded else "cluster",
            degraded=degraded,
            window=wire.Window(
                name=window,
                now=wire.Span(start_at=start_at, end_at=reading.now[-1].end_at),
                before=wire.Span(start_at=before[0].start_at, end_at=before[-1].end_at),
                step_s=reading.step_s,
            ),
            overview=self._overview(reading, at, degraded=degraded),
            performance=figures.performance,
            resources=resources(
                reading.workers,
                sample=reading.sample,
                at=at,
                max_sessions=services.session_rules.max_sessions,
                store_available=not degraded,
            ),
            recent=wire.Recent(
                response_time=figures.response_times,
                errors=list(reading.errors[:MOST_ERRORS]),
                error_kinds=failure_kinds(reading.errors),
                alerts=told_alerts(reading.book.history[:MOST_EVENTS]),
            ),
            spend=figures.spend,
        )

    def _overview(self, reading: _Reading, at: float, *, degraded: bool) -> wire.Overview:
        services, workers = self._services, reading.workers
        is_without_store = (
            degraded or services.admission.is_alone_lately or any(worker.breaker_open for worker in workers)
        )
        is_draining = all(worker.draining for worker in workers)
        return wire.Overview(
            status="draining" if is_draining else "degraded" if is_without_store else "healthy",
            alert_level=reading.book.level,
            uptime=round(max(0.0, at - min(worker.started_at for worker in workers)), 1),
            version=VERSION,
            versions=sorted({worker.version for worker in workers}),
            replicas_alive=len(by_replica(workers)),
            workers=len(workers),
            alerts=active_alerts(reading.book.active),
            monitored=reading.book.is_kept_up(at, interval_s=services.config.monitor_interval_s),
        )

    def _own_figures(self) -> WorkerFigures:
        return worker_figures(self._services, worker_id="", host=self._host)


def _figures(reading: _Reading) -> _Figures:
    """Milliseconds of work, more than the event loop should wait for; in a thread, as nothing changes meanwhile."""
    whole = total(reading.now)
    return _Figures(
        performance=performance(
            reading.now,
            reading.before,
            whole=whole,
            step_s=reading.step_s,
            requests_per_minute_now=sum(worker.requests_per_minute for worker in reading.workers),
        ),
        response_times=response_times(reading.last_hour),
        spend=spend(whole),
    )
