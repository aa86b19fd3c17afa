"""Readings, states and events of alerts, as short as tests want them."""

from __future__ import annotations

import asyncio
from typing import Any

from app.domain.alerts import AlertEvent, AlertState, Level, Reading
from app.gateway.alert_delivery import NotTold

#: Unix seconds.
NOON = 1_800_014_400.0


def error_rate(share: float, *, alert: str = "error_rate") -> Reading:
    """A reading with the thresholds of the mission."""
    return Reading(alert=alert, value=share, unit="share", warning=0.05, critical=0.1)


def state(alert: str = "error_rate", level: Level = "ok", *, read_at: float = NOON) -> AlertState:
    """An alert that has stood at a level for a while."""
    value = {"ok": 0.0, "warning": 0.07, "critical": 0.5}[level]
    return AlertState(
        reading=error_rate(value, alert=alert),
        level=level,
        since=read_at - 300,
        told_at=read_at - 300,
        seen=level,
        seen_since=read_at - 300,
        read_at=read_at,
    )


def event(alert: str = "error_rate", level: Level = "critical", *, id: str = "alert_1", **fields: Any) -> AlertEvent:  # noqa: A002
    """An event."""
    told: dict[str, Any] = {
        "previous": "ok",
        "value": 0.125,
        "threshold": 0.1,
        "unit": "share",
        "at": NOON,
        "since": NOON,
    }
    return AlertEvent(id=id, alert=alert, level=level, **(told | fields))


class FakeClaim:
    """A claim that somebody else has or not, as a test says.

    Args:
        is_free: nobody else has it.
    """

    def __init__(self, *, is_free: bool = True) -> None:
        self.is_free = is_free
        self.is_held = False

    def take(self) -> bool:
        """Takes it where it is free."""
        self.is_held = self.is_held or self.is_free
        return self.is_held

    def give_back(self) -> None:
        """Nobody has it."""
        self.is_held = False


class FakeReceiver:
    """A ``Teller`` that answers as a test says, and remembers what it was told.

    Args:
        answers: of its attempts in turn; once they are used up everything succeeds.

    Attributes:
        attempts: ids of the events, one for each attempt.
        told: events that it took.
    """

    def __init__(self, *answers: NotTold | None) -> None:
        self._answers = list(answers)
        self.attempts: list[str] = []
        self.told: list[AlertEvent] = []

    async def __call__(self, event: AlertEvent) -> None:
        self.attempts.append(event.id)
        answer = self._answers.pop(0) if self._answers else None
        if answer is not None:
            raise answer
        self.told.append(event)

    async def has_told(self, count: int) -> list[AlertEvent]:
        """What it was told, once it was so much."""
        async with asyncio.timeout(10):
            while len(self.told) < count:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0)
        return self.told
