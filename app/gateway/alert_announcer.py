"""Tells of alerts: to the log at once, to the webhook by couriers that never hold anybody up."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Final

from app.domain.alert_words import event_in_words
from app.domain.alerts import AlertEvent, Level
from app.gateway.alert_delivery import Courier, Teller

log = logging.getLogger(__name__)

_LOG_LEVELS: Final[dict[Level, int]] = {"ok": logging.INFO, "warning": logging.WARNING, "critical": logging.ERROR}


class Announcer:
    """Everybody who is told.

    What stands in the book and what this process tells alone are taken by two couriers: the first loses its events to
    the next leader, the second does not.

    Args:
        tell: tells the webhook; ``None`` where there is none.
        on_done: called with the id of an event of the book that need not be told any more.
        now: the wall clock, in Unix seconds.
    """

    def __init__(self, tell: Teller | None, *, on_done: Callable[[str], None], now: Callable[[], float]) -> None:
        self.has_webhook = tell is not None
        self._couriers: list[Courier] = []
        if tell is not None:
            self._couriers = [Courier(tell, on_done=on_done, now=now), Courier(tell, now=now)]

    def say(self, events: Iterable[AlertEvent]) -> None:
        """Tells the log."""
        for event in events:
            fields = {
                "alert": event.alert,
                "alert_level": event.level,
                "previous": event.previous,
                "value": event.value,
                "threshold": event.threshold,
                "unit": event.unit,
                "event_id": event.id,
            }
            log.log(_LOG_LEVELS[event.level], "%s", event_in_words(event), extra=fields)

    def deliver(self, outbox: Iterable[AlertEvent]) -> None:
        """Has the webhook told of what waits in the book."""
        for courier in self._couriers[:1]:
            courier.take(outbox)

    def leave(self) -> None:
        """Somebody else has the book, and delivers what waits in it."""
        for courier in self._couriers[:1]:
            courier.drop_all()

    def tell_alone(self, events: Iterable[AlertEvent]) -> None:
        """Tells everybody of what stands in no book."""
        events = tuple(events)
        for courier in self._couriers[1:]:
            courier.take(events)
        self.say(events)

    async def run(self) -> None:
        """Runs the couriers, for as long as it runs."""
        async with asyncio.TaskGroup() as tasks:
            for courier in self._couriers:
                tasks.create_task(courier.run())
