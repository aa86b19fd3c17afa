"""What a worker has to hear at once: changes of API keys, and that what its requests wait for may have come.

A message is a word that says its kind, and what the kind makes of the rest (``key <tag> <id>``, ``wake <name>``). It
is a hint and may be lost: whoever subscribes again is told so (``Ear.gap``), and what must not be missed is read from
where it is kept. Publishing is a plain ``PUBLISH``.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from time import monotonic

from msgspec import Struct

from app.errors import StateError, StateUnavailable
from app.state.connection import StateConnection
from app.state.lane import BACKOFF_LIMIT_S, BACKOFF_S, GOOD_CONNECTION_S

log = logging.getLogger(__name__)


class Ear(Struct, frozen=True, kw_only=True):
    """Who hears messages of one kind.

    Args:
        channel: where they are published.
        kind: their first word.
        heard: called with the rest of each message; must not raise.
        gap: called whenever a subscription begins, the first included: messages before it may have been missed. From
            then on none is, so what is read now is complete. Must not raise.
    """

    channel: str
    kind: bytes
    heard: Callable[[bytes], None]
    gap: Callable[[], None]


class PushListener:
    """Listens for as long as the worker runs, for all of its ears, over one connection of its own.

    Args:
        state: the store.
        ears: one for each kind.
    """

    def __init__(self, state: StateConnection, *ears: Ear) -> None:
        self._state = state
        self._channels = tuple(dict.fromkeys(ear.channel for ear in ears))
        self._ears = {ear.kind: ear for ear in ears}
        self._has_told = False

    async def run(self) -> None:
        """Subscribes, and again whenever the subscription is lost; ends by cancellation only."""
        attempts = 0
        while True:
            started_at = monotonic()
            try:
                await self._state.listen(*self._channels, on_subscribed=self._subscribed, on_message=self._heard)
            except StateUnavailable:  # whose log is that of the store's main connection
                pass
            except StateError as error:
                self._tell(error)
            attempts = 0 if monotonic() - started_at >= GOOD_CONNECTION_S else attempts + 1
            await asyncio.sleep(_pause_s(attempts))

    def _subscribed(self) -> None:
        self._has_told = False
        for ear in self._ears.values():
            ear.gap()

    def _heard(self, message: bytes) -> None:
        kind, _, rest = message.partition(b" ")
        if ear := self._ears.get(kind):  # other kinds are another release's
            ear.heard(rest)

    def _tell(self, error: StateError) -> None:
        """Once, as it is tried again every second."""
        if not self._has_told:
            self._has_told = True
            log.warning("Changes of API keys and the answers of other workers are noticed late: %s", error.message)


def _pause_s(attempts: int) -> float:
    jitter = random.uniform(0.5, 1.0)  # noqa: S311 - spreads replicas in time, guards nothing
    return jitter * min(BACKOFF_LIMIT_S, BACKOFF_S * 2.0 ** min(attempts, 10))
