"""Where the dashboard's figures come from, how old they may be, and what is left of them without the store."""

from __future__ import annotations

import threading
from typing import Any

import msgspec
import pytest

from app.config import Config
from app.domain import minutes
from app.domain.alert_book import AlertBook
from app.domain.alerts import AlertState, Reading
from app.gateway.cluster import ClusterBook
from app.gateway.dashboard import MOST_ERRORS, READ_EVERY_S, DashboardBook
from app.gateway.dashboard_errors import ERRORS_EVERY_S
from app.gateway.report import Reports
from app.gateway.services import Services
from app.gateway.store_watch import AWAY_AFTER_S
from app.schemas.dashboard import Dashboard, Spend
from app.state import keys
from app.state.alerts import write_alerts
from app.state.figures import WorkerFigures, publish_command
from app.state.leader import lead
from app.state.request_log import add_records_commands
from tests.support.alerts import event
from tests.support.alerts import state as an_alert
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

    async def hear(self, *others: str, **figures: Any) -> None:
        """Other workers say how they are."""
        for name in others:
            said = WorkerFigures(
                worker_id=name, host=name, pid=1, started_at=self.services.now(), version="1", **figures
            )
            await self.services.state.pipeline([publish_command(said)])

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
    for window, points in (("15m", 15), ("1h", 60), ("24h", 24), ("48h", 48), ("24h", 24)):
        shown = msgspec.json.decode(await worker.book.read(window), type=Dashboard)  # type: ignore[arg-type]
        assert (shown.window.name, len(shown.performance.series)) == (window, points)
        assert (len(shown.performance.before), len(shown.recent.response_time)) == (points, 60)
        assert shown.performance.requests == 7


async def test_the_newest_failures_are_listed_and_all_that_were_read_are_counted() -> None:
    worker = Worker()
    records = [
        b'{"timestamp":"2026-01-01T00:00:%02dZ","level":"WARNING","status":503,"error_code":"overloaded"}' % second
        for second in range(MOST_ERRORS + 5)
    ]
    await worker.services.state.pipeline(add_records_commands(records))
    recent = (await worker.shown()).recent
    assert len(recent.errors) == MOST_ERRORS
    assert recent.errors[0].at == 1767225600 + MOST_ERRORS + 4
    assert [(kind.status, kind.code, kind.count) for kind in recent.error_kinds] == [
        (503, "overloaded", MOST_ERRORS + 5)
    ]


async def test_active_alerts_come_from_the_book() -> None:
    worker = Worker()
    now = worker.services.now()
    reading = Reading(alert="error_rate", value=0.2, unit="share", warning=0.05, critical=0.1)
    state = AlertState(reading=reading, level="critical", since=now, seen_since=now, read_at=now)
    overview = (await worker.shown()).overview
    assert (overview.monitored, overview.alert_level) == (False, "ok")
    await lead(worker.services.state, "me")
    await write_alerts(worker.services.state, AlertBook(alerts=(state,), evaluated_at=now), token="me")
    overview = (await worker.shown()).overview
    assert [(alert.name, alert.level) for alert in overview.alerts] == [("error_rate", "critical")]
    assert (overview.monitored, overview.alert_level) == (True, "critical")


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


async def test_while_the_store_is_away_the_alerts_are_those_last_known() -> None:
    state = SteeredState()
    worker = Worker(state)
    await lead(worker.services.state, "me")
    book = AlertBook(alerts=(an_alert("error_rate", "warning"),), history=(event("error_rate", "warning"),))
    await write_alerts(worker.services.state, book, token="me")

    async def alerts() -> list[tuple[str, str]]:
        return [(alert.name, alert.level) for alert in (await worker.shown()).overview.alerts]

    assert await alerts() == [("error_rate", "warning")]
    state.dead, state.away_s = True, AWAY_AFTER_S - 1
    assert await alerts() == [("error_rate", "warning")]
    state.away_s = AWAY_AFTER_S
    assert await alerts() == [("store_away", "critical"), ("error_rate", "warning")]
    shown = await worker.shown()
    assert (shown.degraded, shown.overview.alert_level) == (True, "critical")
    assert [told.name for told in shown.recent.alerts] == ["error_rate"]
    state.dead, state.away_s = False, 0.0
    assert await alerts() == [("error_rate", "warning")]


async def test_a_key_that_is_something_else_takes_away_only_what_it_should_hold() -> None:
    worker = Worker()
    await worker.report(requests=5)
    for name in (keys.REQUESTS, keys.WORKERS, keys.ALERTS):
        await worker.services.state.pipeline([("DEL", name), ("RPUSH", name, "junk"), ("EXPIRE", name, 60)])
    shown = await worker.shown()
    assert (shown.degraded, shown.scope, shown.performance.requests) == (False, "cluster", 5)
    assert [replica.host for replica in shown.resources.replicas] == ["here"]
    assert (shown.recent.errors, shown.overview.alerts) == ([], [])


async def test_the_event_loop_does_not_wait_for_the_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []

    def noting(*_: object) -> Spend:
        threads.append(threading.get_ident())
        return Spend(total_usd=0.0, by_tenant=[], by_model=[])

    monkeypatch.setattr("app.gateway.dashboard.spend", noting)
    await Worker().shown()
    assert threads
    assert threading.get_ident() not in threads


async def test_who_decides_without_the_store_says_so() -> None:
    worker = Worker()
    worker.services.admission.alone_at = worker.monotonic_s
    assert (await worker.read()).overview.status == "degraded"
    assert (await worker.shown()).overview.status == "healthy"


async def test_a_worker_that_is_stopping_says_so() -> None:
    worker = Worker()
    worker.services.process.draining = True
    assert (await worker.shown()).overview.status == "draining"


async def test_while_some_workers_serve_the_gateway_is_not_stopping() -> None:
    worker = Worker()
    worker.services.process.draining = True
    await worker.report()
    await worker.hear("w2")
    assert (await worker.shown()).overview.status == "healthy"
    await worker.hear("w2", draining=True)
    assert (await worker.shown()).overview.status == "draining"


async def test_one_worker_without_the_store_is_enough_to_say_so() -> None:
    worker = Worker()
    await worker.hear("w2", "w3")
    assert (await worker.shown()).overview.status == "healthy"
    await worker.hear("w3", breaker_open=True)
    assert (await worker.shown()).overview.status == "degraded"
