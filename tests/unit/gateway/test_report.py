"""A worker's report: everything in one round trip, nothing counted twice, nothing lost while the store is away."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from app.domain import minutes
from app.domain.buckets import Bucket
from app.errors import RateLimited, StateError
from app.gateway.report import LATE_S, Reports
from app.state.exhausted import exhausted
from app.state.figures import read_all
from app.state.minutes import BucketReader
from app.state.watched import seated, watched
from tests.support.corridor import TRIP, Corridor
from tests.support.fake_upstream import FakeReply, message, text


def reports(corridor: Corridor) -> Reports:
    return Reports(corridor.services, worker_id="w1", host="here")


def answered(requests: int = 1, **settings: Any) -> Corridor:
    """A worker that has counted so many requests."""
    corridor = Corridor(FakeReply(message(text("Hello."))), **settings)
    corridor.services.metrics.minute[minutes.REQUESTS] = requests
    return corridor


async def minutes_of(corridor: Corridor) -> list[Bucket]:
    """The last minutes, as all replicas see them."""
    return await BucketReader(corridor.state).minutes(2)


async def counted(corridor: Corridor) -> int:
    """Requests of the last minutes."""
    return sum(bucket.requests for bucket in await minutes_of(corridor))


async def test_a_report_tells_how_the_worker_is_doing_and_what_it_has_counted() -> None:
    corridor = answered(7)
    await reports(corridor).report()
    (figures,) = await read_all(corridor.state)
    assert (figures.worker_id, figures.host, figures.max_in_flight) == ("w1", "here", 1000)
    assert await counted(corridor) == 7
    assert corridor.services.admission.workers_seen == 1


async def test_what_was_reported_is_not_reported_again() -> None:
    corridor = answered(7)
    await reports(corridor).report()
    await reports(corridor).report()
    assert await counted(corridor) == 7


async def test_accounts_with_budgets_and_tenants_with_sessions_are_told() -> None:
    corridor = answered(default_budget_day=1.0)
    await corridor.ask(wants=TRIP)
    await reports(corridor).report()
    assert [account.key_id for account in await watched(corridor.state)] == ["ann"]
    assert len(await seated(corridor.state)) == 1


async def test_budgets_that_have_refused_are_told() -> None:
    corridor = answered(default_budget_day=0.000001)
    corridor.services.now = corridor.services.admission._now = time.time  # the store's clock cannot be set
    with pytest.raises(RateLimited):
        await corridor.ask()
    await reports(corridor).report()
    [budget] = await exhausted(corridor.state)
    assert (budget.tenant, budget.key_id, budget.period, budget.budget_nano) == ("acme", "ann", "day", 1000)


async def test_while_the_store_is_away_counts_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    corridor = answered(7)
    with monkeypatch.context() as patch:
        patch.setattr(type(corridor.state), "available", False)
        await reports(corridor).report()
    assert corridor.services.metrics.minute[minutes.REQUESTS] == 7
    await reports(corridor).report()
    assert await counted(corridor) == 7


async def test_after_an_outage_the_minute_of_its_end_is_not_blamed_for_it() -> None:
    corridor = answered(7)
    corridor.services.metrics.minute[minutes.NANO] = 5
    told = reports(corridor)
    at = corridor.services.monotonic()
    corridor.services.monotonic = lambda: at + 2 * LATE_S
    await told.report()
    (bucket,) = [one for one in await minutes_of(corridor) if one.nano]
    assert (bucket.requests, bucket.nano) == (0, 5)


async def test_a_report_that_is_not_asked_at_all_is_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    corridor = answered(7)

    def turns_away(_: Any, **__: Any) -> Any:
        raise StateError("too many calls are waiting for it")

    with monkeypatch.context() as patch:
        patch.setattr(corridor.state, "pipeline", turns_away)
        await reports(corridor).report()
    assert corridor.services.metrics.minute[minutes.REQUESTS] == 7


async def test_counts_that_the_store_refuses_are_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    corridor = answered(7)

    async def refuses(_: Any, **__: Any) -> list[Any]:
        return [1, StateError("OOM command not allowed")]

    with monkeypatch.context() as patch:
        patch.setattr(corridor.state, "pipeline", refuses)
        await reports(corridor).report()
    assert corridor.services.metrics.minute[minutes.REQUESTS] == 7


async def test_a_worker_that_leaves_tells_what_it_still_has_and_takes_its_figures_away() -> None:
    corridor = answered(1)
    running = asyncio.create_task(reports(corridor).run())
    while not await read_all(corridor.state):  # noqa: ASYNC110 - the store is in this process
        await asyncio.sleep(0)
    corridor.services.metrics.minute[minutes.REQUESTS] = 4
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await read_all(corridor.state) == []
    assert await counted(corridor) == 5
