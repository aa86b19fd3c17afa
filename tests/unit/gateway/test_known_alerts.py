"""How the alerts stand for one worker: as the store says, and while that is away as it last said."""

from __future__ import annotations

import pytest

from app.domain.alert_book import AlertBook
from app.domain.alerts import NO_DATA_AFTER_S
from app.errors import StateUnavailable
from app.gateway.known_alerts import ALERTS_EVERY_S, KnownAlerts
from app.gateway.store_watch import AWAY_AFTER_S
from app.state import keys
from app.state.alerts import _encode
from tests.support.alerts import NOON
from tests.support.alerts import state as an_alert
from tests.support.steered_state import SteeredState


class Worker:
    """A worker whose clock is the test's, and its store."""

    def __init__(self) -> None:
        self.at = 1000.0
        self.state = SteeredState()
        self.alerts = KnownAlerts(self.state, monotonic=lambda: self.at)

    async def evaluated(self, book: AlertBook) -> None:
        """What a leader has found."""
        await self.state.call("SET", keys.ALERTS, _encode(book), "EX", 600)

    def loses_the_store(self, away_s: float) -> None:
        """It has been away for so long."""
        self.at += away_s
        self.state.dead, self.state.away_s = True, away_s

    def finds_the_store(self) -> None:
        """It is back."""
        self.state.dead, self.state.away_s = False, 0.0

    async def levels(self) -> dict[str, str]:
        return {alert.alert: alert.level for alert in (await self.alerts.latest(NOON)).alerts}


MEMORY = AlertBook(alerts=(an_alert("memory", "warning"),))


async def test_the_store_is_asked_now_and_then() -> None:
    worker = Worker()
    assert await worker.levels() == {"store_away": "ok"}
    await worker.evaluated(MEMORY)
    worker.at += ALERTS_EVERY_S - 1
    assert await worker.levels() == {"store_away": "ok"}
    worker.at += 1
    assert await worker.levels() == {"memory": "warning", "store_away": "ok"}


async def test_a_book_that_was_read_for_one_is_known_to_the_other() -> None:
    worker = Worker()
    await worker.levels()
    await worker.evaluated(MEMORY)
    assert await worker.alerts.read() == MEMORY
    assert (await worker.levels())["memory"] == "warning"


async def test_without_the_store_the_last_book_counts_and_soon_that_it_is_away() -> None:
    worker = Worker()
    await worker.evaluated(MEMORY)
    await worker.levels()
    worker.loses_the_store(AWAY_AFTER_S - 1)
    assert await worker.levels() == {"memory": "warning", "store_away": "ok"}
    worker.loses_the_store(AWAY_AFTER_S)
    assert await worker.levels() == {"memory": "warning", "store_away": "critical"}
    worker.finds_the_store()
    assert await worker.levels() == {"memory": "warning", "store_away": "ok"}


async def test_it_tells_since_when_the_store_is_away() -> None:
    worker = Worker()
    worker.loses_the_store(60)
    [away] = worker.alerts.last_known(NOON).active
    assert (away.alert, away.since, away.read_at) == ("store_away", NOON - 60, NOON)


async def test_that_the_store_is_away_comes_before_what_a_leader_has_said_of_it() -> None:
    worker = Worker()
    await worker.evaluated(AlertBook(alerts=(an_alert("store_away", "ok"), an_alert("zebra", "ok"))))
    assert await worker.levels() == {"store_away": "ok", "zebra": "ok"}
    worker.loses_the_store(60)
    assert await worker.levels() == {"store_away": "critical", "zebra": "ok"}


async def test_however_long_the_store_is_away_the_last_book_counts() -> None:
    worker = Worker()
    await worker.evaluated(MEMORY)
    await worker.levels()
    worker.loses_the_store(10 * NO_DATA_AFTER_S)
    assert (await worker.levels())["memory"] == "warning"


async def test_a_book_that_was_old_when_the_store_went_away_says_nothing() -> None:
    worker = Worker()
    await worker.evaluated(MEMORY)
    await worker.levels()
    worker.at += NO_DATA_AFTER_S
    worker.loses_the_store(60)
    assert await worker.levels() == {"store_away": "critical"}


async def test_who_needs_the_book_of_now_is_told_that_it_cannot_be_had() -> None:
    worker = Worker()
    worker.loses_the_store(1)
    with pytest.raises(StateUnavailable):
        await worker.alerts.read()
