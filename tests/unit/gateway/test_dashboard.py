"""Where the dashboard's figures come from, how old they may be, and what is left of them without the store."""

from __future__ import annotations

from typing import Any

import msgspec

from app.config import Config
from app.domain import minutes
from app.domain.alert_book import AlertBook
from app.domain.alerts import AlertState, Reading
from app.gateway.cluster import ClusterBook
from app.gateway.dashboard import ERRORS_EVERY_S, READ_EVERY_S, DashboardBook
from app.gateway.report import Reports
from app.gateway.services import Services
from app.schemas.dashboard import Dashboard
from app.state.alerts import write_alerts
from app.state.leader import lead
from app.state.request_log import add_records_commands
from tests.support.services import StateAway, make_services
from tests.support.steered_state import SteeredState


class Worker:
    """A worker whose clock stands still, and its dashboard."""

    def __init__(self, state: Any = None, **settings: Any) -> None:
        self.monotonic_s = 100.0
        self.services: Services = make_services(config=Config(**settings), state=state)
        self.services.monotonic = self.services.admission._monotonic = lambda: self.monotonic_s
        self.services.now = self.services.process._now
        cluster = ClusterBook(self.services.state, max_sessions=1000, monotonic=lambda: self.monotonic_s)
        self.book = DashboardBook(self.services, cluster, host="here")

    async def report(self, **figures: int) -> None:
        """Counts something, and reports it."""
        self.services.metrics.minute |= {name.replace("__", ":"): value for name, value in figures.items()}
        await Reports(self.services, worker_id="w1", host="pod-1").report()

    async def shown(self) -> Dashboard:
        """The dashboard of a moment at which nothing that was kept counts any more."""
        self.monotonic_s += max(READ_EVERY_S, ERRORS_EVERY_S)
        return await self.read()

    async def read(self) -> Dashboard:
        return msgspec.json.decode(await self.book.read("1h"), type=Dashboard)


async def test_it_shows_what_all_workers_have_counted() -> None:
    worker = Worker()
    await worker.report(requests=7, errors=1, tokens__input=100, nano=2_000_000_000, nano__tenant__acme=2_000_000_000)
    shown = await worker.shown()
    assert (shown.performance.requests, shown.performance.errors, shown.performance.tokens.input) == (7, 1, 100)
    assert [(one.name, one.usd) for one in shown.spend.by_tenant] == [("acme", 2.0)]
    assert sum(minute.requests for minute in shown.recent.response_time) == 7
    assert (shown.scope, shown.degraded, shown.overview.status) == ("cluster", False, "healthy")
    assert [replica.host for replica in shown.resources.replicas] == ["pod-1"]
    assert (shown.overview.replicas_alive, shown.overview.workers) == (1, 1)


async def test_a_worker_that_was_not_heard_of_yet_shows_itself() -> None:
    shown = await Worker().shown()
    assert [replica.host for replica in shown.resources.replicas] == ["here"]


async def test_many_pages_cost_no_more_than_one() -> None:
    state = SteeredState()
    worker = Worker(state)
    await worker.shown()
    asked = len(state.steps)
    for _ in range(10):
        await worker.read()
    assert len(state.steps) == asked
    worker.monotonic_s += READ_EVERY_S
    await worker.read()
    assert len(state.steps) > asked


async def test_windows_are_kept_apart() -> None:
    worker = Worker()
    await worker.report(requests=7)
    for window, points in (("1h", 60), ("24h", 24), ("48h", 48), ("24h", 24)):
        shown = msgspec.json.decode(await worker.book.read(window), type=Dashboard)  # type: ignore[arg-type]
        assert (shown.window.name, len(shown.performance.series)) == (window, points)
        assert shown.performance.requests == 7


async def test_failures_of_the_request_log_are_listed_newest_first() -> None:
    worker = Worker()
    records = [
        b'{"timestamp":"2026-01-01T00:00:00Z","level":"WARNING","request_id":"r1","status":502,"error_code":"overloaded",'
        b'"path":"/v1/chat/completions","model":"m","tenant":"acme"}',
        b'{"timestamp":"2026-01-01T00:00:01Z","level":"INFO","request_id":"r2","status":200}',
        b'{"timestamp":"2026-01-01T00:00:02Z","level":"WARNING","request_id":"r3","status":503}',
        b'{"timestamp":"2026-01-01T00:00:03Z","level":"WARNING","request_id":4}',
    ]
    await worker.services.state.pipeline(add_records_commands(records))
    errors = (await worker.shown()).recent.errors
    assert [error.request_id for error in errors] == ["", "r3", "r1"]
    first = errors[-1]
    assert (first.at, first.status, first.code, first.model, first.tenant) == (
        1767225600,
        502,
        "overloaded",
        "m",
        "acme",
    )
    assert errors[0].code == "unreadable"


async def test_active_alerts_come_from_the_book() -> None:
    worker = Worker()
    now = worker.services.now()
    reading = Reading(alert="error_rate", value=0.2, unit="share", warning=0.05, critical=0.1)
    state = AlertState(reading=reading, level="critical", since=now, seen_since=now, read_at=now)
    assert not (await worker.shown()).overview.monitored
    await lead(worker.services.state, "me")
    await write_alerts(worker.services.state, AlertBook(alerts=(state,), evaluated_at=now), token="me")
    overview = (await worker.shown()).overview
    assert [(alert.name, alert.level) for alert in overview.alerts] == [("error_rate", "critical")]
    assert overview.monitored


async def test_without_the_store_there_is_what_this_worker_could_not_report() -> None:
    worker = Worker(StateAway())
    worker.services.metrics.minute[minutes.REQUESTS] = 3
    shown = await worker.shown()
    assert (shown.scope, shown.degraded, shown.overview.status) == ("process", True, "degraded")
    assert shown.performance.requests == 3
    assert [replica.host for replica in shown.resources.replicas] == ["here"]
    assert (shown.resources.store.available, shown.resources.sessions.live) == (False, None)
    assert shown.window.now.end_at > shown.window.now.start_at


async def test_a_store_that_comes_back_is_shown_again() -> None:
    state = SteeredState()
    worker = Worker(state)
    await worker.report(requests=5)
    state.dead = True
    assert (await worker.shown()).degraded
    state.dead = False
    shown = await worker.shown()
    assert (shown.degraded, shown.performance.requests) == (False, 5)


async def test_who_decides_without_the_store_says_so() -> None:
    worker = Worker()
    worker.services.admission.alone_at = worker.monotonic_s
    assert (await worker.read()).overview.status == "degraded"
    assert (await worker.shown()).overview.status == "healthy"


async def test_a_worker_that_is_stopping_says_so() -> None:
    worker = Worker()
    worker.services.process.draining = True
    assert (await worker.shown()).overview.status == "draining"
