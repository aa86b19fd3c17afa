"""Keeps what a worker remembers of API keys true: changes are heard, and read again where hearing may have failed.

``api_keys.py`` publishes every change (``key <tag> <id>``) and keeps it in ``keys.REVOKED`` for an hour. That set is
read when a subscription begins and every ``REVALIDATE_S`` besides, for a push that was lost unnoticed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from app.errors import StateError
from app.state import keys
from app.state.connection import StateConnection
from app.state.key_memory import KeyMemory
from app.state.pushes import Ear

REVALIDATE_S = 30.0
#: When the reading failed; meanwhile the keys in memory go on, as the outage contract says.
RETRY_S = 1.0
#: Changes are dated by the clock of the replica that made them: clocks may differ by this much.
CLOCK_SKEW_S = 60.0


class KeyPushes:
    """Forgets the keys that were changed, from the start of the worker to its end.

    Args:
        state: the store.
        memory: what the worker remembers.
        now: the wall clock, in Unix seconds.
        revalidate_s: seconds between two readings of the changes.

    Attributes:
        ear: what has to be heard for it, by a ``PushListener``.
    """

    def __init__(
        self,
        state: StateConnection,
        memory: KeyMemory,
        *,
        now: Callable[[], float],
        revalidate_s: float = REVALIDATE_S,
    ) -> None:
        self._state = state
        self._memory = memory
        self._now = now
        self._revalidate_s = revalidate_s
        self._gap = asyncio.Event()
        self._read_at = float("-inf")
        self.ear = Ear(channel=keys.PUSH_CHANNEL, kind=b"key", heard=self._forget, gap=self._gap.set)

    async def revalidate(self) -> None:
        """Forgets every key that was changed since the last reading that worked.

        Raises:
            StateError: the changes could not be read.
        """
        asked_at = self._now()
        since_us = max(0.0, (self._read_at - CLOCK_SKEW_S) * 1e6)
        for name in await self._state.call("ZRANGEBYSCORE", keys.REVOKED, int(since_us), "+inf"):
            self._forget(name)
        self._read_at = asked_at

    async def keep_valid(self) -> None:
        """Reads the changes again and again, and at once after a gap; ends by cancellation only."""
        while True:
            self._gap.clear()
            try:
                await self.revalidate()
            except StateError:
                pause_s = RETRY_S
            else:
                pause_s = self._revalidate_s
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._gap.wait()

    def _forget(self, name: bytes) -> None:
        tag, _, key_id = name.decode(errors="replace").partition(" ")
        self._memory.forget(tag, key_id)
