"""Guessing keys is slowed: wrong keys are counted by client address, over all replicas, in windows of a minute.

The count lives in Redis; what this worker heard of it stays in its memory, so that a blocked address costs no call.
While Redis is away the worker counts on its own, from where the count was. One good key does not clear the count:
whoever owns a key could go on guessing others. Source: DESIGN.md section 4; issue 3.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from app.errors import StateError
from app.state import keys
from app.state.connection import StateConnection
from app.state.scripts import load_script

COUNT_GUESS: Final = load_script("count_guess")

#: Groups that a worker remembers; the one heard of longest ago leaves first.
MAX_GROUPS: Final = 10_000


class _Window(Struct, frozen=True):
    count: int
    ends_at: float


class GuessBook:
    """Wrong keys by throttle group (``client_address.throttle_group``), as one worker knows them.

    Args:
        state: the store where they are counted.
        per_minute: wrong keys that a group may try in a window; with the last of them it is blocked until the window
            ends.
    """

    def __init__(self, state: StateConnection, *, per_minute: int) -> None:
        self._state = state
        self._per_minute = per_minute
        self._windows: dict[str, _Window] = {}

    def blocked_for(self, group: str, now: float) -> float:
        """Seconds for which a group is still blocked, 0 when it is free; from memory, without asking the store.

        Args:
            group: who asks.
            now: seconds, of any clock that never goes back; the same for every call.
        """
        window = self._windows.get(group)
        if window is None or window.count < self._per_minute:
            return 0.0
        return max(0.0, window.ends_at - now)

    async def wrong(self, group: str, now: float) -> float:
        """Counts one wrong key: in the store, and in this worker alone while the store is away. Never raises.

        Args:
            group: who tried it.
            now: as for ``blocked_for``.

        Returns:
            Seconds for which the group is blocked now, 0 while it may try on.
        """
        try:
            count, left_ms = await self._state.run_script(COUNT_GUESS, (keys.guesses(group),), (keys.GUESSES_TTL_S,))
        except StateError:
            self._remember(group, self._counted_here(group, now))
        else:
            self._remember(group, _Window(count, now + left_ms / 1000))
        return self.blocked_for(group, now)

    def _counted_here(self, group: str, now: float) -> _Window:
        window = self._windows.get(group)
        if window is None or window.ends_at <= now:
            return _Window(1, now + keys.GUESSES_TTL_S)
        return _Window(window.count + 1, window.ends_at)

    def _remember(self, group: str, window: _Window) -> None:
        self._windows.pop(group, None)
        self._windows[group] = window
        if len(self._windows) > MAX_GROUPS:
            del self._windows[next(iter(self._windows))]
