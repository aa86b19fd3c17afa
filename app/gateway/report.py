"""What a worker tells all replicas every few seconds, in one round trip.

How it is doing (``/health``, ``claude-wrapper status``), what it has counted (dashboard, alerts), its latest request
records (``/logs``), and which accounts with budgets, budgets that have refused and tenants with sessions it has seen
(alerts). Contract: DESIGN.md section 9, "one flush per worker every few seconds".
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from app.domain.minutes import without_the_moment
from app.errors import StateError
from app.gateway.figures import worker_figures
from app.gateway.services import Services
from app.state.connection import Command
from app.state.exhausted import exhausted_commands
from app.state.figures import PUBLISH_INTERVAL_S, publish_command, withdraw
from app.state.minutes import add_minute_command
from app.state.request_log import add_records_commands
from app.state.watched import seated_commands, watch_commands

#: Counts that have waited for longer say nothing about the minute in which they are reported.
LATE_S: Final = 60.0


class Reports:
    """The reports of one worker.

    Args:
        services: the rooms.
        worker_id: unique among all workers of all replicas.
        host: host name of the machine or pod.
    """

    def __init__(self, services: Services, *, worker_id: str, host: str) -> None:
        self._services = services
        self._worker_id = worker_id
        self._host = host
        self._taken_at = services.monotonic()

    async def run(self) -> None:
        """Reports as long as the worker lives, and takes its figures away in the end; the store may be away."""
        try:
            while True:
                await self.report()
                await asyncio.sleep(PUBLISH_INTERVAL_S)
        finally:
            await self.report()
            with suppress(StateError):
                await withdraw(self._services.state, self._worker_id)

    async def report(self) -> None:
        """One report, if the store is there. What was not counted is reported next time; what may have been is not.

        After an outage tokens and money are reported, and how its minutes were is not: it would be taken for the minute
        in which the store came back.
        """
        services = self._services
        if not services.state.available:
            return
        counted = services.metrics.take_minute()
        if services.monotonic() - self._taken_at > LATE_S:
            counted = without_the_moment(counted)
        self._taken_at = services.monotonic()
        try:
            asking = services.state.pipeline(self._commands(counted))
        except StateError:  # it was not asked
            services.metrics.give_back_minute(counted)
            return
        with suppress(StateError):
            workers, added, *_ = await asking
            if not isinstance(workers, StateError):
                services.admission.workers_seen = int(workers)
            if isinstance(added, StateError):
                services.metrics.give_back_minute(counted)

    def _commands(self, counted: Mapping[str, int]) -> list[Command]:
        services, now = self._services, self._services.now()
        figures = worker_figures(services, worker_id=self._worker_id, host=self._host)
        return [
            publish_command(figures),
            add_minute_command(counted, {}),
            *watch_commands(services.admission.take_budgeted(), now),
            *exhausted_commands(services.admission.take_exhausted(), now),
            *seated_commands(services.take_to_report(), now),
            *add_records_commands(services.request_log.take_recent()),
        ]
