"""One monitor leads; what it finds is told once, whatever becomes of leaders, store and webhook."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from app.config import Config
from app.domain import minutes
from app.domain.alert_book import AlertBook
from app.domain.alert_rules import Situation
from app.domain.buckets import Bucket
from app.errors import StateError
from app.gateway.alert_delivery import NotTold
from app.gateway.alert_settings import AlertSettings
from app.gateway.alert_sources import Read
from app.gateway.monitor import Monitor, create_monitor, current_readings, run_monitor
from app.gateway.store_watch import AWAY_AFTER_S, StoreWatch
from app.state import connect, keys
from app.state.alerts import read_alerts
from app.state.connection import StateConnection
from app.state.figures import WorkerFigures
from app.state.minutes import BucketReader, add_minute_command
from tests.support.alerts import FakeClaim, FakeReceiver
from tests.support.services import make_services
from tests.support.steered_state import SteeredState
from tests.support.worker_figures import publish

AWAY = NotTold("it cannot be reached", may_pass=True)
OTHERS_WAIT_S = 100.0


class FakeSources:
    """Figures of a deployment, as the test says.

    Attributes:
        error_rate: of the window.
    """

    def __init__(self) -> None:
        self.error_rate = 0.0

    async def read(self) -> Read:
        window = Bucket(number=1, start_at=60, seconds=300, requests=1000, errors=int(1000 * self.error_rate))
        return Read(Situation(window=window), {minutes.REPLICAS: 2})


class Deployment:
    """Monitors over one store; time passes only as the test says.

    Attributes:
        state: the store.
        sources: the figures.
        receiver: of the webhook.
        at: seconds since noon.
    """

    def __init__(self, receiver: FakeReceiver | None = None) -> None:
        self.state = connect("memory://")
        self.sources = FakeSources()
        self.receiver = receiver or FakeReceiver()
        self.at = 0.0

    def monitor(self, name: str, state: Any = None, **settings: Any) -> Monitor:
        config = Config(**{"monitor_interval_s": 10.0, "alert_hold_off_s": 0.0} | settings)
        return Monitor(
            state or self.state,
            AlertSettings.of(config),
            sources=self.sources,  # type: ignore[arg-type]
            watch=StoreWatch(
                place=name,
                hold_off_s=0.0,
                others_wait_s=OTHERS_WAIT_S,
                claim=FakeClaim(),
                now=self._now,
                monotonic=self._monotonic,
            ),
            tell=self.receiver,
            token=name,
            name=name,
            now=self._now,
            monotonic=self._monotonic,
        )

    async def turn(self, *monitors: Monitor, after_s: float = 10.0) -> None:
        self.at += after_s
        for monitor in monitors:
            await monitor.turn()

    async def book(self) -> AlertBook:
        return await read_alerts(self.state)

    async def end_lease(self) -> None:
        """What ten seconds without its holder do."""
        await self.state.call("DEL", keys.LEADER)

    def _now(self) -> float:
        return time.time() + self.at  # the store's clock cannot be set

    def _monotonic(self) -> float:
        return self.at


@asynccontextmanager
async def couriers_of(*monitors: Monitor) -> AsyncIterator[None]:
    """What the monitors have to tell is delivered meanwhile."""
    tasks = [asyncio.create_task(monitor._announcer.run()) for monitor in monitors]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def alerts_in(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Level of the record and of the alert."""
    return [
        (record.levelname, vars(record)["alert_level"]) for record in caplog.records if "alert_level" in vars(record)
    ]


async def test_a_change_is_logged_written_and_delivered_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    deployment = Deployment()
    monitor = deployment.monitor("a")
    async with couriers_of(monitor):
        await deployment.turn(monitor)
        deployment.sources.error_rate = 0.5
        await deployment.turn(monitor)
        await deployment.turn(monitor)
        await deployment.receiver.has_told(1)
        deployment.sources.error_rate = 0.0
        await deployment.turn(monitor)
        await deployment.receiver.has_told(2)
    assert alerts_in(caplog) == [("ERROR", "critical"), ("INFO", "ok")]
    assert [event.level for event in deployment.receiver.told] == ["critical", "ok"]
    assert [event.level for event in (await deployment.book()).history] == ["ok", "critical"]


async def test_only_the_leader_evaluates() -> None:
    deployment = Deployment()
    first, second = deployment.monitor("a"), deployment.monitor("b")
    await deployment.turn(first, second)
    await deployment.turn(second, first)
    assert (await deployment.book()).leader == "a"


async def test_it_evaluates_no_more_often_than_it_should() -> None:
    deployment = Deployment()
    monitor = deployment.monitor("a")
    await deployment.turn(monitor)
    first = (await deployment.book()).evaluated_at
    await deployment.turn(monitor, after_s=3.0)
    assert (await deployment.book()).evaluated_at == first
    await deployment.turn(monitor, after_s=7.0)
    assert (await deployment.book()).evaluated_at > first


async def test_the_next_leader_does_not_tell_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    deployment = Deployment()
    first, second = deployment.monitor("a"), deployment.monitor("b")
    deployment.sources.error_rate = 0.5
    async with couriers_of(first, second):
        await deployment.turn(first)
        await deployment.receiver.has_told(1)
        await deployment.turn(first, after_s=1.0)  # notes that it was told
        await deployment.end_lease()
        await deployment.turn(second)
        deployment.sources.error_rate = 0.0
        await deployment.turn(second)
        await deployment.receiver.has_told(2)
    assert [level for _, level in alerts_in(caplog)] == ["critical", "ok"]
    assert [event.level for event in deployment.receiver.told] == ["critical", "ok"]


async def test_the_next_leader_delivers_what_the_webhook_has_not_taken() -> None:
    deployment = Deployment()
    first, second = deployment.monitor("a"), deployment.monitor("b")
    deployment.sources.error_rate = 0.5
    await deployment.turn(first)  # dies before its courier has run
    await deployment.end_lease()
    async with couriers_of(second):
        await deployment.turn(second)
        [told] = await deployment.receiver.has_told(1)
        await deployment.turn(second, after_s=1.0)
    book = await deployment.book()
    assert (told.level, book.outbox) == ("critical", ())
    assert book.history == (told,)


async def test_what_was_delivered_is_noted_before_the_next_evaluation() -> None:
    deployment = Deployment()
    monitor = deployment.monitor("a")
    deployment.sources.error_rate = 0.5
    async with couriers_of(monitor):
        await deployment.turn(monitor)
        assert len((await deployment.book()).outbox) == 1
        await deployment.receiver.has_told(1)
        await deployment.turn(monitor, after_s=0.1)
    assert (await deployment.book()).outbox == ()


async def test_once_it_is_noted_that_all_was_delivered_the_book_is_left_alone() -> None:
    deployment = Deployment()
    steered = SteeredState(deployment.state)
    monitor = deployment.monitor("a", steered)
    deployment.sources.error_rate = 0.5
    async with couriers_of(monitor):
        await deployment.turn(monitor)
        await deployment.receiver.has_told(1)
        await deployment.turn(monitor, after_s=0.1)
        noted = steered.steps.count("write_alerts")
        await deployment.turn(monitor, after_s=0.1)
    assert noted == 2
    assert steered.steps.count("write_alerts") == noted


async def test_what_is_delivered_while_the_book_is_written_is_not_delivered_again() -> None:
    deployment = Deployment()
    steered = SteeredState(deployment.state)
    monitor = deployment.monitor("a", steered)
    deployment.sources.error_rate = 0.5
    await deployment.turn(monitor)
    held = steered.hold("write_alerts")
    writing = asyncio.create_task(deployment.turn(monitor))
    await held.reached.wait()
    async with couriers_of(monitor):
        await deployment.receiver.has_told(1)
        assert len((await deployment.book()).outbox) == 1, "as it was when the writing began"
        held.let_go()
        await writing
        deployment.sources.error_rate = 0.0
        await deployment.turn(monitor)
        await deployment.receiver.has_told(2)
        await deployment.turn(monitor, after_s=0.1)
    assert [event.level for event in deployment.receiver.told] == ["critical", "ok"]
    assert (await deployment.book()).outbox == ()


async def test_a_leader_that_was_halted_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    deployment = Deployment()
    steered = SteeredState(deployment.state)
    first, second = deployment.monitor("a", steered), deployment.monitor("b")
    await deployment.turn(first)
    deployment.sources.error_rate = 0.5
    held = steered.slow("write_alerts")
    halted = asyncio.create_task(deployment.turn(first))
    await held.reached.wait()
    await deployment.end_lease()
    await deployment.turn(second)
    held.let_go()
    await halted
    assert [level for _, level in alerts_in(caplog)] == ["critical"]
    assert (await deployment.book()).leader == "b"


async def test_a_leader_that_was_halted_goes_on_from_the_book_of_the_next_one() -> None:
    deployment = Deployment()
    first, second = deployment.monitor("a"), deployment.monitor("b")
    await deployment.turn(first)
    await deployment.end_lease()
    deployment.sources.error_rate = 0.5
    await deployment.turn(second)
    await deployment.end_lease()
    await deployment.turn(first)
    assert len((await deployment.book()).history) == 1


async def test_a_store_that_forgot_everything_is_not_told_again() -> None:
    deployment = Deployment()
    monitor = deployment.monitor("a")
    deployment.sources.error_rate = 0.5
    await deployment.turn(monitor)
    await deployment.state.call("FLUSHALL")
    await deployment.turn(monitor)
    book = await deployment.book()
    assert len(book.history) == 1
    assert book.level == "critical"


async def test_a_book_that_could_not_be_written_is_told_later_and_once(caplog: pytest.LogCaptureFixture) -> None:
    deployment = Deployment()
    steered = SteeredState(deployment.state)
    monitor = deployment.monitor("a", steered)
    await deployment.turn(monitor)
    deployment.sources.error_rate = 0.5
    steered.lost["write_alerts"] = 1
    await deployment.turn(monitor)
    assert alerts_in(caplog) == []
    await deployment.turn(monitor, after_s=1.0)
    assert alerts_in(caplog) == [("ERROR", "critical")]
    assert len((await deployment.book()).history) == 1


async def test_an_outage_of_the_store_is_told_by_the_last_leader_alone(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    deployment = Deployment()
    states = [SteeredState(deployment.state), SteeredState(deployment.state)]
    monitors = [deployment.monitor(name, state) for name, state in zip("ab", states, strict=True)]
    await deployment.turn(*monitors)
    for state in states:
        state.dead = True
    async with couriers_of(*monitors):
        for _ in range(4):
            await deployment.turn(*monitors, after_s=AWAY_AFTER_S)
        [told] = await deployment.receiver.has_told(1)
        assert (told.alert, told.level) == ("store_away", "critical")
        await deployment.end_lease()
        for state in states:
            state.dead = False
        await deployment.turn(*reversed(monitors))  # the other one leads from now on
        await deployment.turn(*reversed(monitors))
        await deployment.receiver.has_told(2)
    assert [event.level for event in deployment.receiver.told] == ["critical", "ok"]
    assert [level for _, level in alerts_in(caplog)] == ["critical", "ok"]
    assert (await deployment.book()).leader == "b"


async def test_who_told_of_an_outage_and_leads_again_writes_it_into_the_book() -> None:
    deployment = Deployment()
    steered = SteeredState(deployment.state)
    monitor = deployment.monitor("a", steered)
    await deployment.turn(monitor)
    steered.dead = True
    await deployment.turn(monitor)
    await deployment.turn(monitor)
    steered.dead = False
    await deployment.turn(monitor)
    await deployment.turn(monitor)
    assert [event.level for event in (await deployment.book()).history] == ["ok", "critical"]


async def test_a_store_that_refuses_to_be_written_counts_as_away() -> None:
    deployment = Deployment()
    monitor = deployment.monitor("a")

    async def refuse(*_: Any, **__: Any) -> Any:
        raise StateError("OOM command not allowed when used memory > 'maxmemory'.")

    await deployment.turn(monitor)
    monitor._state.run_script = refuse  # type: ignore[method-assign]
    async with couriers_of(monitor):
        await deployment.turn(monitor)
        await deployment.turn(monitor)
        [told] = await deployment.receiver.has_told(1)
    assert told.alert == "store_away"


async def test_peaks_go_into_the_bucket_of_the_minute() -> None:
    deployment = Deployment()
    await deployment.turn(deployment.monitor("a"))
    [bucket] = await BucketReader(deployment.state).minutes(1)
    assert bucket.peaks == {minutes.REPLICAS: 2}


async def test_it_gives_the_lead_back_when_it_ends() -> None:
    deployment = Deployment()
    running = asyncio.create_task(deployment.monitor("a").run())
    async with asyncio.timeout(10):
        while not (await deployment.book()).evaluated_at:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)
    assert await deployment.state.call("GET", keys.LEADER) == b"a"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert running.cancelled()
    assert await deployment.state.call("GET", keys.LEADER) is None


async def test_a_webhook_that_is_away_does_not_hold_evaluations_up() -> None:
    deployment = Deployment(FakeReceiver(*[AWAY] * 100))
    monitor = deployment.monitor("a")
    deployment.sources.error_rate = 0.5
    async with couriers_of(monitor):
        await deployment.turn(monitor)
        first = (await deployment.book()).evaluated_at
        await deployment.turn(monitor)
    book = await deployment.book()
    assert book.evaluated_at > first
    assert len(book.outbox) == 1


async def test_who_waits_for_the_store_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    deployment = Deployment()
    steered = SteeredState(deployment.state)
    steered.dead = True
    monitor = deployment.monitor("a", steered)
    await deployment.turn(monitor)
    await deployment.turn(monitor)
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "Alerts are not evaluated until the state store answers"
    ]


@pytest.fixture
async def state() -> AsyncIterator[StateConnection]:
    connection = connect("memory://")
    yield connection
    await connection.close()


async def worker(state: StateConnection, **fields: Any) -> None:
    told: Mapping[str, Any] = {"worker_id": "w1", "host": "pod-1", "pid": 1, "started_at": 1.0, "version": "1"}
    await publish(state, WorkerFigures(**{**told, **fields}))


async def test_a_monitor_reads_what_workers_have_told(state: StateConnection) -> None:
    await worker(state, rss_bytes=95, memory_limit_bytes=100)
    await state.pipeline([add_minute_command({minutes.REQUESTS: 100, minutes.ERRORS: 7}, {})])
    await create_monitor(Config(), state).turn()
    book = await read_alerts(state)
    assert {one.alert: one.level for one in book.active} == {"memory": "critical", "error_rate": "warning"}
    [bucket] = await BucketReader(state).minutes(1)
    assert bucket.peaks[minutes.MEMORY_SHARE] == 950


async def test_with_a_webhook_what_has_to_be_told_waits_in_the_book(state: StateConnection) -> None:
    await worker(state, rss_bytes=95, memory_limit_bytes=100)
    await create_monitor(Config(alert_webhook_url="http://127.0.0.1:9/hook"), state).turn()
    assert [event.alert for event in (await read_alerts(state)).outbox] == ["memory"]


async def test_looking_tells_nobody(state: StateConnection) -> None:
    await state.pipeline([add_minute_command({minutes.REQUESTS: 100, minutes.ERRORS: 50}, {})])
    readings = {one.alert: one.level for one in await current_readings(Config(), state)}
    assert readings["error_rate"] == "critical"
    assert await state.call("GET", keys.ALERTS) is None
    assert await state.call("GET", keys.LEADER) is None


async def test_what_the_store_refuses_to_tell_is_left_out_and_said_once(
    state: StateConnection, caplog: pytest.LogCaptureFixture
) -> None:
    await state.call("SET", keys.WATCHED, "no sorted set", "EX", 60)
    clock = itertools.count(0.0, 1000.0)
    monitor = create_monitor(Config(), state, monotonic=lambda: next(clock))
    for _ in range(3):
        await monitor.turn()
    assert len([record for record in caplog.records if "without budgets" in record.message]) == 1
    assert (await read_alerts(state)).evaluated_at


async def test_a_worker_of_the_gateway_runs_one() -> None:
    services = make_services()
    running = asyncio.create_task(run_monitor(services))
    async with asyncio.timeout(10):
        while not (await read_alerts(services.state)).evaluated_at:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await services.state.close()
