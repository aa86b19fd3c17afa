"""Alerts: from a reading to a level, and from levels to events that are told once; pure.

A reading is one figure with its thresholds (``alert_rules.py`` makes them). Its level is ``ok``, ``warning`` or
``critical``. How an alert stands is kept between evaluations, so that an event arises only where the level is another
one than was told last:

- After an event the next one of the same alert waits for the hold-off. If the level is back by then, nothing is told:
  what flaps is told of once.
- An alert that is not read (too few requests, no data) keeps its level for ``NO_DATA_AFTER_S``, then it is resolved and
  the event says why. So an alert of a budget or a credential that has disappeared resolves, too.

Source: DESIGN.md section 9.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

Level = Literal["ok", "warning", "critical"]

#: What a value is: seconds, a share of a whole (1.0), days, or a fact that holds (1.0) or does not (0.0).
Unit = Literal["s", "share", "days", "fact"]

SEVERITY: Final[Mapping[Level, int]] = {"ok": 0, "warning": 1, "critical": 2}

#: An alert that was not read for this long says nothing any more.
NO_DATA_AFTER_S: Final = 600.0


class Reading(Struct, frozen=True, kw_only=True):
    """One figure at one moment.

    Args:
        alert: the rule, and behind a colon what of many it is about: ``budget:acme:day``.
        value: in ``unit``.
        unit: of value and thresholds.
        warning: from here on it is a warning; ``None`` for a rule without one.
        critical: from here on it is critical.
        falling: a low value is the bad one.
        about: where it was read, such as the replica; empty where the name says it all.
    """

    alert: str
    value: float
    unit: Unit
    warning: float | None
    critical: float
    falling: bool = False
    about: str = ""

    @property
    def level(self) -> Level:
        """What the value amounts to."""
        if self._reaches(self.critical):
            return "critical"
        return "warning" if self.warning is not None and self._reaches(self.warning) else "ok"

    def threshold_of(self, level: Level) -> float:
        """What a value of this level has reached; of ``ok``, what it keeps clear of."""
        return self.critical if level == "critical" or self.warning is None else self.warning

    def _reaches(self, threshold: float) -> bool:
        return self.value <= threshold if self.falling else self.value >= threshold


class AlertState(Struct, frozen=True, kw_only=True):
    """How an alert stands.

    Args:
        reading: the last one.
        level: as it was told last.
        since: Unix seconds at which that level began.
        told_at: Unix seconds of the last event; 0 before the first one.
        seen: the level of the last reading; another one than ``level`` only during the hold-off.
        seen_since: Unix seconds since which it is.
        read_at: Unix seconds of the last reading.
    """

    reading: Reading
    level: Level = "ok"
    since: float
    told_at: float = 0.0
    seen: Level = "ok"
    seen_since: float
    read_at: float

    @property
    def alert(self) -> str:
        """Its name."""
        return self.reading.alert

    @property
    def rule(self) -> str:
        """The name without what it is about: one of a few."""
        return self.reading.alert.partition(":")[0]


class AlertEvent(Struct, frozen=True, kw_only=True):
    """A change of level that is told.

    Args:
        id: of this event; a receiver that gets it twice can tell by it.
        alert: the name of the alert.
        level: what it is now; ``ok`` for resolved.
        previous: what was told before.
        value: of the reading.
        threshold: what the value has reached; of a resolved alert, what it keeps clear of.
        unit: of value and threshold.
        at: Unix seconds of the event.
        since: Unix seconds since when the level holds.
        about: where it was read.
        no_data: it is resolved only because there is nothing to read any more.
    """

    id: str
    alert: str
    level: Level
    previous: Level
    value: float
    threshold: float
    unit: Unit
    at: float
    since: float
    about: str = ""
    no_data: bool = False


class Decision(Struct, frozen=True):
    """What an evaluation has come to.

    Args:
        states: by alert; those that are worth to be kept.
        events: to be told, in the order of their alerts.
    """

    states: dict[str, AlertState]
    events: tuple[AlertEvent, ...]


def decide(states: Mapping[str, AlertState], readings: Iterable[Reading], *, now: float, hold_off_s: float) -> Decision:
    """How the alerts stand after these readings, and what has to be told.

    Args:
        states: how they stood, by alert.
        readings: at most one of each alert.
        now: Unix seconds, of the same clock at every evaluation.
        hold_off_s: how long after an event the next one of the same alert waits.
    """
    after, events = {}, []
    read = {reading.alert: reading for reading in readings}
    for alert in sorted(states.keys() | read.keys()):
        reading = read.get(alert)
        state = _unread(states[alert], now) if reading is None else _read(states.get(alert), reading, now)
        if state.seen != state.level and not 0 <= now - state.told_at < hold_off_s:
            events.append(_event(state, now, no_data=reading is None))
            state = replace(state, level=state.seen, since=state.seen_since, told_at=now)
        if _is_kept(state, now, hold_off_s, is_read=reading is not None):
            after[alert] = state
    return Decision(after, tuple(events))


def worst(states: Iterable[AlertState]) -> Level:
    """The worst level that was told."""
    return max((state.level for state in states), key=SEVERITY.__getitem__, default="ok")


def event_id(alert: str, level: Level, moment: str) -> str:
    """The id of an event: the same for everybody who tells of this alert, level and moment."""
    return f"alert_{hashlib.sha256(f'{alert} {level} {moment}'.encode()).hexdigest()[:24]}"


def _read(state: AlertState | None, reading: Reading, now: float) -> AlertState:
    if state is None:
        return AlertState(reading=reading, since=now, seen=reading.level, seen_since=now, read_at=now)
    seen_since = state.seen_since if reading.level == state.seen else now
    return replace(state, reading=reading, seen=reading.level, seen_since=seen_since, read_at=now)


def _unread(state: AlertState, now: float) -> AlertState:
    if state.seen == "ok" or now - state.read_at < NO_DATA_AFTER_S:
        return state
    return replace(state, seen="ok", seen_since=now)


def _is_kept(state: AlertState, now: float, hold_off_s: float, *, is_read: bool) -> bool:
    """A fine alert is kept where it is one of the few rules, and as long as it holds its next event off."""
    if state.level != "ok" or state.seen != "ok" or 0 <= now - state.told_at < hold_off_s:
        return True
    return ":" not in state.alert and (is_read or now - state.read_at < NO_DATA_AFTER_S)


def _event(state: AlertState, now: float, *, no_data: bool) -> AlertEvent:
    reading = state.reading
    return AlertEvent(
        id=event_id(reading.alert, state.seen, f"{now:.6f}"),
        alert=reading.alert,
        level=state.seen,
        previous=state.level,
        value=reading.value,
        threshold=reading.threshold_of(state.seen),
        unit=reading.unit,
        at=now,
        since=state.seen_since,
        about=reading.about,
        no_data=no_data and state.seen == "ok",
    )
