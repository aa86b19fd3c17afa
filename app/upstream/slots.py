"""How many calls of Anthropic may run at once, and how long a further one waits for its turn.

First come, first served; taking a free slot costs neither a timer nor a turn of the loop. Counting is done here, not in
the HTTP library's pool, so that "no free connection" and "no connection" are different errors on every lane.
"""

from __future__ import annotations

import asyncio
from collections import deque

from app.errors import Overloaded, ShuttingDown

#: ``retry-after`` of a call that found no slot: calls last seconds, so one second is a fair guess.
_RETRY_AFTER_S = 1.0


class Slots:
    """A bound on concurrent calls.

    Args:
        limit: calls at once, at least 1.
        wait_s: a call that has waited this long is refused; 0 refuses at once.
    """

    def __init__(self, *, limit: int, wait_s: float) -> None:
        self._free = limit
        self._wait_s = wait_s
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._closed = False

    @property
    def free(self) -> int:
        """Slots that nobody holds."""
        return self._free

    @property
    def waiting(self) -> int:
        """Calls that wait for a slot."""
        return len(self._waiting)

    async def take(self) -> None:
        """Takes a slot; whoever takes one gives it back exactly once.

        Raises:
            Overloaded: none became free in time.
            ShuttingDown: ``close`` was called.
        """
        if self._closed:
            raise _closed()
        if self._free:
            self._free -= 1
            return
        if self._wait_s <= 0:
            raise _overloaded()
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(self._wait_s):
                await turn
        except TimeoutError:
            self._leave(turn)
            raise _overloaded() from None
        except BaseException:
            self._leave(turn)
            raise

    def give_back(self) -> None:
        """Returns a slot, to whoever waits longest."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def close(self) -> None:
        """Refuses everyone who waits, and everyone who comes."""
        self._closed = True
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_exception(_closed())

    def _leave(self, turn: asyncio.Future[None]) -> None:
        """Gives up waiting; a slot that was handed over in the same moment goes to the next one."""
        if turn in self._waiting:
            self._waiting.remove(turn)
        elif turn.done() and not turn.cancelled() and turn.exception() is None:
            self.give_back()


def _overloaded() -> Overloaded:
    return Overloaded("Every connection to Anthropic is in use; try again in a moment.", retry_after_s=_RETRY_AFTER_S)


def _closed() -> ShuttingDown:
    return ShuttingDown("This worker is shutting down; try again.", retry_after_s=_RETRY_AFTER_S)
