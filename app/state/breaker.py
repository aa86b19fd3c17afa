"""When to stop asking a store that does not answer, and when to ask it again; pure, with its clock injected.

Closed, the good state: calls pass. Three failures in a row open it; then calls fail at once and only one probe a second
asks whether the store is back. Any success closes it. Source: DESIGN.md section 4.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

FAILURES_TO_OPEN = 3
PROBE_INTERVAL_S = 1.0


class Breaker:
    """Counts failures in a row and says whether calls may pass.

    Args:
        clock: monotonic seconds.
        on_open: called each time it opens, after its state has changed.
        on_away: called with the reason at every failure that leaves it open.
        on_back: called each time it closes.
        failures_to_open: failures in a row that open it.
        probe_interval_s: seconds from the start of one probe to the next; the first is due at once.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        on_open: Callable[[], None] = lambda: None,
        on_away: Callable[[str], None] = lambda _: None,
        on_back: Callable[[], None] = lambda: None,
        failures_to_open: int = FAILURES_TO_OPEN,
        probe_interval_s: float = PROBE_INTERVAL_S,
    ) -> None:
        self._clock = clock
        self._on_open = on_open
        self._on_away = on_away
        self._on_back = on_back
        self._failures_to_open = failures_to_open
        self._probe_interval_s = probe_interval_s
        self._next_probe_at = 0.0
        self._opened_at = 0.0
        #: Whether calls must fail at once. Read on every call, so a plain attribute.
        self.is_open = False
        #: Failures since the last success.
        self.failures_in_a_row = 0
        #: Failures since start.
        self.failures = 0
        #: How often it opened since start.
        self.openings = 0
        #: Why it last counted a failure; ``None`` once the store has answered again.
        self.last_failure: str | None = None

    @property
    def state(self) -> Literal["closed", "open"]:
        """``closed`` while calls pass."""
        return "open" if self.is_open else "closed"

    @property
    def open_s(self) -> float:
        """Seconds since it opened; 0 while it is closed."""
        return self._clock() - self._opened_at if self.is_open else 0.0

    def failure(self, reason: str) -> None:
        """Counts one failed call, lost connection or failed attempt to connect."""
        self.failures += 1
        self.failures_in_a_row += 1
        self.last_failure = reason
        if not self.is_open and self.failures_in_a_row >= self._failures_to_open:
            self.is_open = True
            self.openings += 1
            self._opened_at = self._next_probe_at = self._clock()
            self._on_open()
        if self.is_open:
            self._on_away(reason)

    def success(self) -> None:
        """The store answered in time."""
        self.failures_in_a_row = 0
        self.last_failure = None
        if self.is_open:
            self.is_open = False
            self._on_back()

    def seconds_to_probe(self) -> float:
        """Seconds until the next probe is due; 0 when it is due now."""
        return max(0.0, self._next_probe_at - self._clock())

    def probe_started(self) -> None:
        """A probe begins now; the next one is due a whole interval later."""
        self._next_probe_at = self._clock() + self._probe_interval_s
