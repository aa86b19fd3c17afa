"""Two lines of log about an outage of the state store: that it is away and why, and that it is back.

A store that comes and goes is told of once a minute, so that it cannot fill the log.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

log = logging.getLogger(__name__)

#: Outages that begin within this long of one that was told stay untold, unless they last until it is over.
INTERVAL_S = 60.0


class OutageLog:
    """Tells the operator.

    Args:
        place: where the store is, without user and password.
        clock: monotonic seconds.
    """

    def __init__(self, place: str, *, clock: Callable[[], float]) -> None:
        self._place = place
        self._clock = clock
        self._quiet_until = float("-inf")
        self._told_at: float | None = None

    def away(self, reason: str) -> None:
        """The store is known to be away; said at the first of many calls."""
        now = self._clock()
        if self._told_at is None and now >= self._quiet_until:
            self._told_at, self._quiet_until = now, now + INTERVAL_S
            log.warning("The state store at %s is away: %s. Requests go on without it.", self._place, reason)

    def back(self) -> None:
        """It answers again."""
        if self._told_at is not None:
            log.warning("The state store at %s is back after %.1f s.", self._place, self._clock() - self._told_at)
            self._told_at = None
