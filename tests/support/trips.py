"""Counts round trips to the state store: calls that had to be made one after the other.

with counted_trips(services_of(gateway).state) as trips:
    await gateway.ask(...)
    trips.answered()            # what is called from now on, nobody waits for
await settled(gateway)
assert (trips.awaited, trips.all) == (1, 2)

Calls that are under way at the same time are one round trip, over whichever connection: they wait for the network
together.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from msgspec import Struct

from app.state.connection import StateConnection


class _Call(Struct):
    """When a call began and ended, in steps of one counter."""

    began: int
    ended: int = 1 << 62


class Trips:
    """The calls of a time."""

    def __init__(self) -> None:
        self._steps = itertools.count()
        self._calls: list[_Call] = []
        self._answered_at = 1 << 61

    def watched(self, ask: Callable[..., Any]) -> Callable[..., Any]:
        """The same method of the store, watched."""

        def asked(*args: Any, **options: Any) -> asyncio.Future[Any]:
            call = _Call(next(self._steps))
            self._calls.append(call)
            future: asyncio.Future[Any] = ask(*args, **options)
            future.add_done_callback(lambda _: self._end(call))  # before whoever waits for it goes on
            return future

        return asked

    def _end(self, call: _Call) -> None:
        call.ended = next(self._steps)

    def answered(self) -> None:
        """The client has its whole answer."""
        self._answered_at = next(self._steps)

    @property
    def awaited(self) -> int:
        """Round trips that were over before the client had its answer."""
        return _one_after_the_other([call for call in self._calls if call.ended < self._answered_at])

    @property
    def all(self) -> int:
        """All round trips, those beside the request and after it among them."""
        return _one_after_the_other(self._calls)


def _one_after_the_other(calls: list[_Call]) -> int:
    """The most calls of which each began after the one before it had ended."""
    count, last_end = 0, -1
    for call in sorted(calls, key=lambda call: call.ended):
        if call.began > last_end:
            count, last_end = count + 1, call.ended
    return count


@contextmanager
def counted_trips(state: StateConnection) -> Iterator[Trips]:
    """Counts the round trips of a gateway in this process until the block ends."""
    trips, names = Trips(), ("call", "pipeline", "run_script")
    for name in names:
        setattr(state, name, trips.watched(getattr(state, name)))
    try:
        yield trips
    finally:
        for name in names:
            delattr(state, name)
