"""What all workers have to hear at once: a worker's ear on ``keys.PUSH_CHANNEL``.

A push is a hint and may be lost: whoever subscribes again is told so (``on_gap``), and what must not be missed is read
from where it is kept. Publishing is a plain ``PUBLISH``.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from time import monotonic

from app.errors import StateError, StateUnavailable
from app.state import keys
from app.state.connection import StateConnection
from app.state.lane import BACKOFF_LIMIT_S, BACKOFF_S, GOOD_CONNECTION_S

log = logging.getLogger(__name__)


class PushListener:
    """Listens for as long as the worker runs, over a connection of its own.

    Args:
        state: the store.
        on_message: called with each message; must not raise.
        on_gap: called whenever a subscription begins, the first included: messages before it may have been missed.
            From then on none is, so what is read now is complete. Must not raise.
    """

    def __init__(self, state: StateConnection, on_message: Callable[[bytes], None], on_gap: Callable[[], None]) -> None:
        self._state = state
        self._on_message = on_message
        self._on_gap = on_gap
        self._has_told = False

    async def run(self) -> None:
        """Subscribes, and again whenever the subscription is lost; ends by cancellation only."""
        attempts = 0
        while True:
            started_at = monotonic()
            try:
                await self._state.listen(keys.PUSH_CHANNEL, on_subscribed=self._subscribed, on_message=self._on_message)
            except StateUnavailable:  # whose log is that of the store's main connection
                pass
            except StateError as error:
                self._tell(error)
            attempts = 0 if monotonic() - started_at >= GOOD_CONNECTION_S else attempts + 1
            await asyncio.sleep(_pause_s(attempts))

    def _subscribed(self) -> None:
        self._has_told = False
        self._on_gap()

    def _tell(self, error: StateError) -> None:
        """Once, as it is tried again every second."""
        if not self._has_told:
            self._has_told = True
            log.warning("Changes of API keys are noticed late: %s", error.message)


def _pause_s(attempts: int) -> float:
    jitter = random.uniform(0.5, 1.0)  # noqa: S311 - spreads replicas in time, guards nothing
    return jitter * min(BACKOFF_LIMIT_S, BACKOFF_S * 2.0 ** min(attempts, 10))
