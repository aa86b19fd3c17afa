"""Leases that have to be given back though the store is away: a held session, the flight of a shared answer.

What takes a lease may have run though nobody got its answer. Nobody renews such a lease, and everybody else would wait
until it ends by itself; so it is given back as soon as the store is there again. Contract: DESIGN.md section 4.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from msgspec import Struct

from app.errors import StateError
from app.state import answers, limits
from app.state.connection import StateConnection

#: A lease ends by itself after as long as one lives.
WORTH_IT_S: Final = max(limits.LEASE_S, answers.LEASE_S)
#: Whoever waits for a lease looks once a second.
AGAIN_AFTER_S: Final = 0.25
#: So many are remembered; the oldest ones end first by themselves.
MOST_KEPT: Final = 10_000

GiveBack = Callable[[], Awaitable[object]]


class _Kept(Struct, frozen=True):
    """A lease that could not be given back.

    Args:
        ends_at: when it has ended by itself, monotonic seconds.
        give_back: does it.
    """

    ends_at: float
    give_back: GiveBack


class LeaseReturns:
    """Gives leases back, for one worker.

    Args:
        state: the store.
        monotonic: seconds.
    """

    def __init__(self, state: StateConnection, *, monotonic: Callable[[], float]) -> None:
        self._state = state
        self._monotonic = monotonic
        self._kept: deque[_Kept] = deque(maxlen=MOST_KEPT)
        self._is_repeating = False
        self._is_closing = False

    async def give_back(self, give_back: GiveBack) -> None:
        """Returns once it is done, has ended by itself, or others see to it.

        Args:
            give_back: does it; raises ``StateError`` where it may not have been done; may be called after it was.
        """
        await self._try(_Kept(self._monotonic() + WORTH_IT_S, give_back))
        if self._kept and not self._is_repeating:
            self._is_repeating = True
            try:
                await self._repeat()
            finally:
                self._is_repeating = False

    def close(self) -> None:
        """What could not be given back is tried once more, and then left to end by itself."""
        self._is_closing = True

    async def _try(self, lease: _Kept) -> None:
        try:
            await lease.give_back()
        except StateError:
            self._kept.append(lease)

    async def _repeat(self) -> None:
        while self._kept:
            is_last = self._is_closing
            if not is_last:
                await asyncio.sleep(AGAIN_AFTER_S)
            while self._kept and self._kept[0].ends_at <= self._monotonic():
                self._kept.popleft()
            if self._state.available:
                due = list(self._kept)
                self._kept.clear()
                await asyncio.gather(*map(self._try, due))
            if is_last:
                self._kept.clear()
