"""Whether the state store is away, as one process sees it: the alert that nobody can lead for.

While the store is away there is no lead. Whoever had it last keeps watch: it tells that the store is away, once it has
been for a while, and later that it is back, also if somebody else leads by then. So of many replicas one tells.

That one may have died with the store, or nobody has ever led, and no other can know: whoever could have led by then if
the store were there tells as well, one process of each host (``HostClaim``). They call the outage by the minute of its
beginning, so a receiver knows by the id of the event what it has heard already.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from msgspec.structs import replace

from app.domain.alert_rules import STORE_AWAY, fact_reading
from app.domain.alerts import AlertEvent, AlertState, decide, event_id

#: What lasts shorter is no outage; a leader that was only halted has found its successor by then.
AWAY_AFTER_S: Final = 5.0


class Claim(Protocol):
    """To be the one of a host that tells, beside whoever led last."""

    def take(self) -> bool:
        """Whether this process is it, from now on or already."""
        ...

    def give_back(self) -> None:
        """Somebody else may be it."""
        ...


class StoreWatch:
    """The watch of one process.

    Args:
        place: who watches, such as the host.
        hold_off_s: how long after an event the next one waits.
        others_wait_s: how much longer than whoever led last this process waits before it tells of an outage.
        claim: to be the one of this host that tells.
        now: the wall clock, in Unix seconds.
        monotonic: a clock in seconds that never goes back.
    """

    def __init__(
        self,
        *,
        place: str,
        hold_off_s: float,
        others_wait_s: float,
        claim: Claim,
        now: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self._about = f"as seen from {place}"
        self._hold_off_s = hold_off_s
        self._others_wait_s = others_wait_s
        self._claim = claim
        self._now = now
        self._monotonic = monotonic
        self._away_since: float | None = None
        self._away_at = 0.0
        """Unix seconds at which the last outage began."""
        self._minute = 0
        """Since 1970: the name of the last outage that was told."""
        self._states: dict[str, AlertState] = {}

    def turn(self, *, is_away: bool, led_last: bool) -> tuple[AlertEvent, ...]:
        """What has to be told now.

        Args:
            is_away: the store does not answer, or cannot be written.
            led_last: nobody else is known to have had the lead since this process had it.
        """
        lasts_s = self._lasts_s(is_away)
        if not self._states and not (is_away and self._may_tell(lasts_s, led_last)):
            return ()
        lasts = lasts_s >= AWAY_AFTER_S
        readings = [fact_reading(STORE_AWAY, is_away, about=self._about)] if lasts or not is_away else []
        decision = decide(self._states, readings, now=self._now(), hold_off_s=self._hold_off_s)
        self._states = {
            alert: state for alert, state in decision.states.items() if "critical" in (state.level, state.seen)
        }
        if not self._states:
            self._claim.give_back()
        return tuple(self._named(event) for event in decision.events)

    def leave(self) -> None:
        """This process watches no more; another one of this host may tell."""
        self._claim.give_back()

    def _lasts_s(self, is_away: bool) -> float:
        if not is_away:
            self._away_since = None
            return 0.0
        if self._away_since is None:
            self._away_since, self._away_at = self._monotonic(), self._now()
        return self._monotonic() - self._away_since

    def _may_tell(self, lasts_s: float, led_last: bool) -> bool:
        if lasts_s < AWAY_AFTER_S + (0.0 if led_last else self._others_wait_s):
            return False
        return self._claim.take() or led_last

    def _named(self, event: AlertEvent) -> AlertEvent:
        """The event with the id that others give it, too; two outages of a minute are two all the same."""
        if event.level != "ok":
            self._minute = max(int(self._away_at // 60), self._minute + 1)
        return replace(event, id=event_id(event.alert, event.level, str(self._minute)))
