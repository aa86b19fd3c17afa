"""The page of metrics: what this worker and its neighbours have counted, and what the store knows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.domain.alert_book import AlertBook
from app.domain.alerts import AlertState, Level, Reading
from app.gateway.cluster import ClusterBook, ClusterSample
from app.gateway.known_alerts import ALERTS_EVERY_S
from app.gateway.scrape import Scrape, alert_gauges, cluster_gauges, worker_gauges
from app.gateway.store_watch import AWAY_AFTER_S
from app.observability.catalog import (
    ALERT,
    BREAKER,
    IN_FLIGHT,
    REQUESTS,
    RSS,
    SESSIONS,
    STORE_MEMORY,
    UNSETTLED,
)
from app.observability.handover import Handover
from app.observability.metrics import WorkerMetrics
from app.observability.process import ProcessFigures
from app.observability.seats import only_seat
from app.state import connect, keys
from app.state.alerts import _encode
from app.state.connection import StateConnection
from app.state.store_memory import StoreMemory
from tests.support.scraped import Scraped
from tests.support.services import StateAway
from tests.support.steered_state import SteeredState

NOW = 1_790_000_000.0


class Clock:
    """Stands still until it is moved."""

    at = 1000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def state() -> AsyncIterator[StateConnection]:
    connection = connect("memory://")
    yield connection
    await connection.close()


def alert(name: str, level: Level) -> AlertState:
    reading = Reading(alert=name, value=1.0, unit="share", warning=0.8, critical=1.0)
    return AlertState(reading=reading, level=level, since=NOW, seen_since=NOW, read_at=NOW)


def scrape_of(metrics: WorkerMetrics, state: Any, clock: Clock) -> Scrape:
    return Scrape(
        Handover(metrics, only_seat(), gauges=dict, credentials=tuple),
        state=state,
        cluster=ClusterBook(state, max_sessions=10, monotonic=clock),
        now=lambda: NOW,
        monotonic=clock,
    )


async def scraped(scrape: Scrape) -> Scraped:
    return Scraped((await scrape.page("")).body.decode())


async def test_the_page_has_what_was_counted_up_to_now(state: StateConnection, clock: Clock) -> None:
    metrics = WorkerMetrics()
    scrape = scrape_of(metrics, state, clock)
    for count in (1, 2, 3):
        metrics.count(REQUESTS, "/v1/models", "", "200", "stored")
        assert (await scraped(scrape)).total(f"{REQUESTS.name}_total") == count


async def test_the_page_has_what_the_store_knows(state: StateConnection, clock: Clock) -> None:
    scrape = scrape_of(WorkerMetrics(), state, clock)
    await state.call("SET", keys.ALERTS, _encode(AlertBook(alerts=(alert("memory", "warning"),))), "EX", 60)
    page = await scraped(scrape)
    assert page.total(ALERT.name, alert="memory") == 1
    assert (SESSIONS.name, ()) in page.values


async def test_without_the_store_the_page_has_what_the_workers_know(clock: Clock) -> None:
    metrics = WorkerMetrics()
    metrics.count(REQUESTS, "/v1/models", "", "200", "stored")
    page = await scraped(scrape_of(metrics, StateAway(), clock))
    assert page.total(f"{REQUESTS.name}_total") == 1
    assert SESSIONS.name not in {name for name, _ in page.values}
    assert page.values[ALERT.name, (("alert", "store_away"),)] == 2


async def test_the_page_keeps_the_alerts_while_the_store_is_away(clock: Clock) -> None:
    state = SteeredState()
    scrape = scrape_of(WorkerMetrics(), state, clock)
    book = AlertBook(alerts=(alert("memory", "critical"), alert("store_away", "ok")))
    await state.call("SET", keys.ALERTS, _encode(book), "EX", 600)

    async def shown() -> dict[str, float]:
        clock.at += ALERTS_EVERY_S
        page = await scraped(scrape)
        return {dict(labels)["alert"]: value for (name, labels), value in page.values.items() if name == ALERT.name}

    assert await shown() == {"memory": 2, "store_away": 0}
    state.dead, state.away_s = True, AWAY_AFTER_S
    assert await shown() == {"memory": 2, "store_away": 2}
    state.dead, state.away_s = False, 0.0
    assert await shown() == {"memory": 2, "store_away": 0}


async def test_many_who_ask_at_once_are_all_answered(state: StateConnection, clock: Clock) -> None:
    scrape = scrape_of(WorkerMetrics(), state, clock)
    asked = [asyncio.create_task(scrape.page("")) for _ in range(5)]
    asked[1].cancel()
    pages = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(pages[1], asyncio.CancelledError)
    assert sum(isinstance(page, BaseException) for page in pages) == 1


def test_a_worker_tells_how_it_is_doing_under_its_own_label() -> None:
    process = ProcessFigures()
    process.begin()
    gauges = worker_gauges(process, breaker_open=True, unsettled=3, worker="2")
    assert gauges[IN_FLIGHT.name] == {("2",): 1}
    assert gauges[BREAKER.name] == {("2",): 1.0}
    assert gauges[UNSETTLED.name] == {("2",): 3}
    assert gauges[RSS.name]["2",] > 1e6
    handover = Handover(WorkerMetrics(), only_seat(), gauges=lambda: gauges, credentials=tuple)
    handover.hand_over()
    assert handover.pod().gauges == gauges


def test_memory_of_a_store_that_does_not_tell_is_left_out() -> None:
    sample = ClusterSample(
        sessions=4, fullest_sessions=3, fullest_tag="t", max_sessions=12, tenants=2, store_memory=None
    )
    assert STORE_MEMORY.name not in cluster_gauges(sample)
    assert cluster_gauges(sample)["claude_wrapper_sessions_fullest_tenant_ratio"] == {(): 0.25}
    assert cluster_gauges(None) == {}


def test_memory_of_the_store_is_told() -> None:
    sample = ClusterSample(
        sessions=0,
        fullest_sessions=0,
        fullest_tag="",
        max_sessions=1,
        tenants=0,
        store_memory=StoreMemory(used_bytes=5, most_bytes=0),
    )
    gauges = cluster_gauges(sample)
    assert gauges[STORE_MEMORY.name] == {(): 5}
    assert gauges["claude_wrapper_redis_memory_max_bytes"] == {(): 0}


def test_alerts_about_tenants_are_one_of_their_rule_and_name_nobody() -> None:
    book = AlertBook(
        alerts=(alert("budget:acme:day", "warning"), alert("budget:canary:month", "critical"), alert("memory", "ok"))
    )
    assert alert_gauges(book) == {ALERT.name: {("budget",): 2, ("memory",): 0}}


def test_rules_that_are_not_known_are_one_series() -> None:
    book = AlertBook(alerts=(alert("a_newer_rule:acme", "critical"), alert("another", "ok"), alert("memory", "ok")))
    assert alert_gauges(book) == {ALERT.name: {("other",): 2, ("memory",): 0}}
