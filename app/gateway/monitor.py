"""The monitor: one of all workers evaluates the alerts, keeps their book and tells of every change.

Every candidate asks for the lead, every few seconds. The leader reads the figures of all replicas, decides, writes the
book and only then tells: to the log, and by a courier to the webhook. What the webhook has not taken yet stands in the
book, so that the next leader takes it there. A leader that lost the lead without noticing cannot write, and so tells
nothing. Source: DESIGN.md sections 2 and 9.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import random
import secrets
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from app.config import Config
from app.domain.alert_book import AlertBook
from app.domain.alert_rules import readings_of
from app.domain.alerts import AlertEvent, Reading, decide
from app.errors import StateError
from app.gateway.alert_announcer import Announcer
from app.gateway.alert_delivery import Teller, Webhook, post_over_http
from app.gateway.alert_settings import AlertSettings
from app.gateway.alert_sources import Sources
from app.gateway.cluster import ClusterBook
from app.gateway.host_claim import HostClaim
from app.gateway.services import Services
from app.gateway.store_watch import StoreWatch
from app.observability.version import VERSION
from app.state.alerts import kept_alerts, write_alerts
from app.state.connection import StateConnection
from app.state.leader import LEAD_INTERVAL_S, LEAD_TTL_S, Lead, lead, resign
from app.state.minutes import add_minute_command

log = logging.getLogger(__name__)

#: Those who tell of an outage beside whoever led last do so within this time of each other.
SPREAD_S: Final = 10.0


class Monitor:
    """One candidate.

    Args:
        state: the store.
        settings: of the alerts.
        sources: the figures.
        watch: keeps an eye on the store itself.
        tell: tells the webhook; ``None`` where there is none.
        token: of this candidate; nobody else's.
        name: of this candidate, for people.
        now: the wall clock, in Unix seconds.
        monotonic: a clock in seconds that never goes back.
    """

    def __init__(
        self,
        state: StateConnection,
        settings: AlertSettings,
        *,
        sources: Sources,
        watch: StoreWatch,
        tell: Teller | None,
        token: str,
        name: str,
        now: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self._state = state
        self._settings = settings
        self._sources = sources
        self._watch = watch
        self._token = token
        self._name = name
        self._monotonic = monotonic
        self._announcer = Announcer(tell, on_done=self._done, now=now)
        #: As this candidate knows it, for as long as nobody else is known to have the lead.
        self._book: AlertBook | None = None
        #: Events that the webhook has taken, and that still stand in the outbox of the book in the store.
        self._done_ids: set[str] = set()
        #: Events that were told while the book could not be written.
        self._told_alone: tuple[AlertEvent, ...] = ()
        self._due_at = float("-inf")
        self._has_waited = False
        self._woken = asyncio.Event()

    async def run(self) -> None:
        """Leads, or waits for the lead, for as long as it runs; gives the lead back at the end."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._announcer.run())
                while True:
                    await self.turn()
                    await self._pause()
        finally:
            self._watch.leave()
            if self._book is not None:
                with suppress(StateError):
                    await resign(self._state, self._token)

    async def turn(self) -> None:
        """Asks for the lead; evaluates where it has it and the time has come."""
        is_away = False
        try:
            answer = await lead(self._state, self._token)
            if answer.is_held:
                await self._lead(answer)
            else:
                self._follow()
        except StateError as exc:
            is_away = True
            self._wait(exc)
        alone = self._watch.turn(is_away=is_away, led_last=self._book is not None)
        self._announcer.tell_alone(alone)
        self._told_alone += alone

    async def _lead(self, answer: Lead) -> None:
        book = self._book
        if book is None or answer.is_new:
            # A store that has forgotten everything is given back what we knew; nothing is told again.
            book = await kept_alerts(self._state) or book or AlertBook()
            self._book, self._due_at = book, float("-inf")
            log.info("%s evaluates the alerts from now on.", self._name)
        if self._monotonic() >= self._due_at:
            await self._evaluate(book, answer.at)
            self._due_at = self._monotonic() + self._settings.interval_s
        elif self._done_ids:
            await self._write(book)

    async def _evaluate(self, book: AlertBook, at: float) -> None:
        read = await self._sources.read()
        readings = readings_of(read.situation, self._settings.thresholds)
        decision = decide(book.states, readings, now=at, hold_off_s=self._settings.hold_off_s)
        book = book.after(decision, now=at, leader=self._name, with_outbox=self._announcer.has_webhook)
        written = await self._write(book)
        if written is not None:
            self._announcer.deliver(written.without(self._done_ids).outbox)
            self._announcer.say(decision.events)
            await self._state.pipeline([add_minute_command({}, read.peaks)])

    async def _write(self, book: AlertBook) -> AlertBook | None:
        """Keeps the book, and returns it as it was kept; ``None``: somebody else has the lead."""
        done = frozenset(self._done_ids)
        book = book.without(done).remembering(self._told_alone)
        if not await write_alerts(self._state, book, token=self._token):
            self._follow()
            return None
        self._book, self._told_alone = book, ()
        self._done_ids -= done
        return book

    def _wait(self, error: StateError) -> None:
        """Nobody can lead; said once, and where nothing else says it: who has led tells of an outage that lasts."""
        if not self._has_waited and self._book is None:
            log.info("Alerts are not evaluated until the state store answers: %s", error.message)
        self._has_waited = True

    def _follow(self) -> None:
        """Somebody else has the lead."""
        if self._book is not None:
            log.info("%s does not evaluate the alerts any more.", self._name)
        self._book, self._told_alone = None, ()
        self._done_ids.clear()
        self._announcer.leave()

    def _done(self, event_id: str) -> None:
        """The webhook was told; the book is to say so soon, or the next leader would tell it again."""
        self._done_ids.add(event_id)
        self._woken.set()

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(min(LEAD_INTERVAL_S, self._settings.interval_s)):
                await self._woken.wait()
        self._woken.clear()


async def run_monitor(services: Services) -> None:
    """Evaluates the alerts in a worker of the gateway, while it has the lead among all; runs until it is cancelled."""
    await create_monitor(services.config, services.state, now=services.now, monotonic=services.monotonic).run()


def create_monitor(
    config: Config,
    state: StateConnection,
    *,
    now: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
) -> Monitor:
    """A candidate with all that it needs.

    Args:
        config: the settings.
        state: the store.
        now: the wall clock, in Unix seconds.
        monotonic: a clock in seconds that never goes back.

    Raises:
        SettingError: a setting of alerts makes no sense.
    """
    settings = AlertSettings.of(config)
    host = socket.gethostname()
    tell = None
    if settings.webhook is not None:
        tell = Webhook(settings.webhook, version=VERSION, host=host, post=post_over_http, now=now)
    return Monitor(
        state,
        settings,
        sources=_sources(state, settings, monotonic=monotonic),
        watch=StoreWatch(
            place=host,
            hold_off_s=settings.hold_off_s,
            others_wait_s=LEAD_TTL_S + random.uniform(0.0, SPREAD_S),  # noqa: S311 - no secret
            claim=HostClaim(f"store_away {config.redis_url} {config.alert_webhook_url}"),
            now=now,
            monotonic=monotonic,
        ),
        tell=tell,
        token=secrets.token_hex(8),
        name=f"{host}:{os.getpid()}",
        now=now,
        monotonic=monotonic,
    )


async def current_readings(config: Config, state: StateConnection) -> list[Reading]:
    """Every rule as it is now, evaluated here and told nobody.

    Raises:
        StateUnavailable: the store is away.
        SettingError: a setting of alerts makes no sense.
    """
    settings = AlertSettings.of(config)
    read = await _sources(state, settings, monotonic=time.monotonic).read()
    return readings_of(read.situation, settings.thresholds)


def _sources(state: StateConnection, settings: AlertSettings, *, monotonic: Callable[[], float]) -> Sources:
    calls, beginning = itertools.count(), secrets.token_hex(8)
    return Sources(
        state,
        cluster=ClusterBook(state, max_sessions=settings.max_sessions, monotonic=monotonic),
        window_minutes=settings.window_minutes,
        new_id=lambda: f"{beginning}-{next(calls):x}",
    )
