"""Whether the state store is away, as one process sees it: the alert that nobody can lead for.

While the store is away there is no lead. Whoever had it last keeps watch: it tells that the store is away, once it has
been for a while, and later that it is back, also if somebody else leads by then. So of many replicas one tells. Where
nobody has led before, as when everything starts at once without a store, nobody tells; every worker's log does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from app.domain.alert_rules import STORE_AWAY, fact_reading
from app.domain.alerts import AlertEvent, AlertState, decide

#: What lasts shorter is no outage; a leader that was only halted has found its successor by then.
AWAY_AFTER_S: Final = 5.0


class StoreWatch:
    """The watch of one process.

    Args:
        place: who watches, such as the host.
        hold_off_s: how long after an event the next one waits.
        now: the wall clock, in Unix seconds.
        monotonic: a clock in seconds that never goes back.
    """

    def __init__(
        self, *, place: str, hold_off_s: float, now: Callable[[], float], monotonic: Callable[[], float]
    ) -> None:
        self._about = f"as seen from {place}"
        self._hold_off_s = hold_off_s
        self._now = now
        self._monotonic = monotonic
        self._away_since: float | None = None
        self._states: dict[str, AlertState] = {}

    def turn(self, *, is_away: bool, led_last: bool) -> tuple[AlertEvent, ...]:
        """What has to be told now.

        Args:
            is_away: the store does not answer, or cannot be written.
            led_last: nobody else is known to have had the lead since this process had it.
        """
        if not is_away:
            self._away_since = None
        elif self._away_since is None:
            self._away_since = self._monotonic()
        lasts = self._away_since is not None and self._monotonic() - self._away_since >= AWAY_AFTER_S
        if not self._states and not (lasts and led_last):
            return ()
        readings = [fact_reading(STORE_AWAY, is_away, about=self._about)] if lasts or not is_away else []
        decision = decide(self._states, readings, now=self._now(), hold_off_s=self._hold_off_s)
        self._states = {
            alert: state for alert, state in decision.states.items() if "critical" in (state.level, state.seen)
        }
        return decision.events
