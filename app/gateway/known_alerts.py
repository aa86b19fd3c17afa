"""How the alerts stand, as one worker knows it: as the store says, and while that is away as it last said.

Whoever leads cannot write that the store is away, so every worker sees that by its own connection.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final

from msgspec.structs import replace

from app.domain.alert_book import AlertBook
from app.domain.alert_rules import STORE_AWAY, fact_reading
from app.domain.alerts import NO_DATA_AFTER_S, AlertState
from app.errors import StateError
from app.gateway.store_watch import AWAY_AFTER_S
from app.state.alerts import read_alerts
from app.state.connection import StateConnection

#: The store is asked this often, however often the latest book is wanted.
ALERTS_EVERY_S: Final = 10.0


class KnownAlerts:
    """The alerts of one worker.

    Args:
        state: the store.
        monotonic: a clock in seconds that never goes back.
    """

    def __init__(self, state: StateConnection, *, monotonic: Callable[[], float]) -> None:
        self._state = state
        self._monotonic = monotonic
        self._book = AlertBook()
        self._read_at = float("-inf")
        self._due_at = float("-inf")

    async def read(self) -> AlertBook:
        """The book as it is now.

        Raises:
            StateError: the store did not answer.
        """
        self._book = await read_alerts(self._state)
        self._read_at = self._monotonic()
        return self._book

    async def latest(self, at: float) -> AlertBook:
        """The book, at most ``ALERTS_EVERY_S`` old while the store answers, and whether the store is away.

        Args:
            at: now, in Unix seconds.
        """
        if self._monotonic() >= self._due_at:
            with suppress(StateError):
                await self.read()
            self._due_at = self._monotonic() + ALERTS_EVERY_S
        return self.last_known(at)

    def last_known(self, at: float) -> AlertBook:
        """The same without asking: the book that was read last, and whether the store is away.

        A book that was old when the store went away says nothing any more.

        Args:
            at: now, in Unix seconds.
        """
        away_s = self._state.status.away_s
        is_outdated = self._monotonic() - away_s - self._read_at >= NO_DATA_AFTER_S
        return _seeing_the_store(AlertBook() if is_outdated else self._book, away_s, at)


def _seeing_the_store(book: AlertBook, away_s: float, at: float) -> AlertBook:
    is_away = away_s >= AWAY_AFTER_S
    states = book.states
    if is_away or STORE_AWAY not in states:
        reading, since = fact_reading(STORE_AWAY, is_away), at - away_s
        states[STORE_AWAY] = AlertState(
            reading=reading, level=reading.level, since=since, seen=reading.level, seen_since=since, read_at=at
        )
    return replace(book, alerts=tuple(states[alert] for alert in sorted(states)))
