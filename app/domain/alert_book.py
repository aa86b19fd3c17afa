"""What all replicas know of the alerts: how each stands, what is still to be told, what was told lately; pure.

The book is one JSON document in the store, written by the leader alone (``app.state.alerts``); dashboard and metrics
read it. All parts are bounded.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from app.domain.alerts import AlertEvent, AlertState, Decision, Level, worst

#: Events that are remembered.
MOST_REMEMBERED: Final = 100
#: Events that wait for the webhook; beyond it the oldest go untold there (the log has them).
MOST_WAITING: Final = 100
#: Alerts that were not evaluated for this long, or three times in a row, nobody evaluates.
UNMONITORED_S: Final = 60.0


class AlertBook(Struct, frozen=True, kw_only=True):
    """The alerts of a deployment.

    Args:
        alerts: how each stands, ordered by name; a fine one of many (budgets, credentials) is not listed.
        outbox: events that the webhook has not taken yet, the oldest first.
        history: the latest events, the newest first.
        evaluated_at: Unix seconds of the store's clock of the last evaluation; 0 before the first one.
        leader: who evaluated, as host and process.
    """

    alerts: tuple[AlertState, ...] = ()
    outbox: tuple[AlertEvent, ...] = ()
    history: tuple[AlertEvent, ...] = ()
    evaluated_at: float = 0.0
    leader: str = ""

    @property
    def states(self) -> dict[str, AlertState]:
        """How each stands, by name."""
        return {state.alert: state for state in self.alerts}

    @property
    def active(self) -> tuple[AlertState, ...]:
        """Those that are not fine, the critical ones first."""
        found = [state for state in self.alerts if state.level != "ok"]
        return tuple(sorted(found, key=lambda state: state.level != "critical"))

    @property
    def level(self) -> Level:
        """The worst of all."""
        return worst(self.alerts)

    def is_kept_up(self, now: float, *, interval_s: float) -> bool:
        """Whether somebody evaluates the alerts.

        Args:
            now: Unix seconds.
            interval_s: seconds from one evaluation to the next.
        """
        return now - self.evaluated_at < max(UNMONITORED_S, 3 * interval_s)

    def after(self, decision: Decision, *, now: float, leader: str, with_outbox: bool) -> AlertBook:
        """The book after an evaluation.

        Args:
            decision: what it came to.
            now: Unix seconds of the store's clock.
            leader: who evaluated.
            with_outbox: there is a webhook that has to be told.
        """
        return AlertBook(
            alerts=tuple(decision.states.values()),
            outbox=(*self.outbox, *decision.events)[-MOST_WAITING:] if with_outbox else (),
            history=self._remembering(decision.events),
            evaluated_at=now,
            leader=leader,
        )

    def remembering(self, events: tuple[AlertEvent, ...]) -> AlertBook:
        """With events that were told while the book could not be written."""
        return replace(self, history=self._remembering(events))

    def without(self, event_ids: Container[str]) -> AlertBook:
        """The book once events have been told."""
        return replace(self, outbox=tuple(event for event in self.outbox if event.id not in event_ids))

    def _remembering(self, events: tuple[AlertEvent, ...]) -> tuple[AlertEvent, ...]:
        if not events:
            return self.history
        merged = sorted((*self.history, *events), key=lambda event: event.at, reverse=True)
        return tuple(merged[:MOST_REMEMBERED])
