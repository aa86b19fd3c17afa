"""Waiting for what another worker does: the end of a flight, a session that becomes free.

A request expects a wake before it asks the store, so that none is lost; the store then keeps the channel of its worker
with what it waits for, and who brings that about publishes ``wake <name>`` there. A wake is a hint: asking again may be
worth it. ``PushListener`` hears for the whole worker, over one connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from app.state import keys
from app.state.pushes import Ear


class Wake:
    """One who waits."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        """Ends the wait that runs, or else the next one."""
        self._event.set()

    async def wait(self, timeout_s: float) -> bool:
        """Waits to be woken, since the last time or since it was expected.

        Args:
            timeout_s: seconds to wait at most.

        Returns:
            Whether it was woken.
        """
        try:
            async with asyncio.timeout(timeout_s):
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        return True


class Wakes:
    """Who of one worker waits for what.

    Args:
        worker_id: unique among all workers of all replicas.

    Attributes:
        channel: on which this worker is woken.
        ear: what has to be heard for it, by a ``PushListener``.
    """

    def __init__(self, worker_id: str) -> None:
        self.channel = keys.wake_channel(worker_id)
        self.ear = Ear(channel=self.channel, kind=b"wake", heard=self._heard, gap=self._gap)
        self._waiting: dict[bytes, set[Wake]] = {}

    @contextmanager
    def expect(self, name: str) -> Iterator[Wake]:
        """Has whoever waits woken when ``name`` is, until the context ends; many may expect the same name."""
        key, wake = name.encode(), Wake()
        waiting = self._waiting.setdefault(key, set())
        waiting.add(wake)
        try:
            yield wake
        finally:
            waiting.discard(wake)
            if not waiting:
                del self._waiting[key]

    def _heard(self, name: bytes) -> None:
        for wake in self._waiting.get(name, ()):
            wake.set()

    def _gap(self) -> None:
        """A wake may have been lost: everybody asks again."""
        for waiting in self._waiting.values():
            for wake in waiting:
                wake.set()
