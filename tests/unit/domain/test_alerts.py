"""Levels of readings, and what is told of their changes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.alerts import NO_DATA_AFTER_S, AlertEvent, AlertState, Level, Reading, decide, worst
from tests.support.alerts import NOON, error_rate, state

HOLD_OFF_S = 60.0
FINE, WARNING, CRITICAL = 0.01, 0.07, 0.5


def evaluated(
    *steps: tuple[float, float | None], alert: str = "error_rate", hold_off_s: float = HOLD_OFF_S
) -> tuple[list[AlertEvent], dict[str, AlertState]]:
    """What is told of readings at seconds after noon; ``None``: it is not read."""
    states: dict[str, AlertState] = {}
    events: list[AlertEvent] = []
    for at, share in steps:
        readings = [] if share is None else [error_rate(share, alert=alert)]
        decision = decide(states, readings, now=NOON + at, hold_off_s=hold_off_s)
        states = decision.states
        events += decision.events
    return events, states


def told(*steps: tuple[float, float | None], alert: str = "error_rate") -> list[tuple[float, Level, Level]]:
    """When, the level before and the level after."""
    return [(event.at - NOON, event.previous, event.level) for event in evaluated(*steps, alert=alert)[0]]


@pytest.mark.parametrize(
    ("value", "level"), [(0.0, "ok"), (0.0499, "ok"), (0.05, "warning"), (0.0999, "warning"), (0.1, "critical")]
)
def test_a_threshold_that_is_reached_counts(value: float, level: Level) -> None:
    assert error_rate(value).level == level


@pytest.mark.parametrize(("days", "level"), [(8.0, "ok"), (7.0, "warning"), (1.5, "warning"), (1.0, "critical")])
def test_of_days_fewer_are_worse(days: float, level: Level) -> None:
    reading = Reading(alert="forecast_memory", value=days, unit="days", warning=7.0, critical=1.0, falling=True)
    assert reading.level == level


@pytest.mark.parametrize(("value", "level"), [(0.0, "ok"), (1.0, "critical")])
def test_a_fact_is_never_a_warning(value: float, level: Level) -> None:
    assert Reading(alert="store_away", value=value, unit="fact", warning=None, critical=1.0).level == level


def test_what_is_fine_is_not_told() -> None:
    assert told((0, FINE), (10, FINE)) == []


def test_a_level_is_told_once_for_as_long_as_it_holds() -> None:
    assert told((0, FINE), (10, CRITICAL), (20, CRITICAL), (500, CRITICAL)) == [(10, "ok", "critical")]


def test_every_change_of_level_is_told() -> None:
    steps = ((0, WARNING), (100, CRITICAL), (200, WARNING), (300, FINE))
    assert told(*steps) == [
        (0, "ok", "warning"),
        (100, "warning", "critical"),
        (200, "critical", "warning"),
        (300, "warning", "ok"),
    ]


def test_a_change_within_the_hold_off_is_told_after_it() -> None:
    assert told((0, WARNING), (10, CRITICAL), (59, CRITICAL), (60, CRITICAL)) == [
        (0, "ok", "warning"),
        (60, "warning", "critical"),
    ]


def test_what_is_back_by_the_end_of_the_hold_off_is_not_told() -> None:
    assert told((0, CRITICAL), (10, FINE), (20, CRITICAL), (30, FINE), (50, CRITICAL), (90, CRITICAL)) == [
        (0, "ok", "critical")
    ]


def test_the_event_tells_since_when_the_level_holds_and_what_it_has_reached() -> None:
    [first, second] = evaluated((0, CRITICAL), (20, FINE), (40, FINE), (70, FINE))[0]
    assert (first.value, first.threshold, first.since) == (CRITICAL, 0.1, NOON)
    assert (second.value, second.threshold, second.since) == (FINE, 0.05, NOON + 20)
    assert not second.no_data


def test_a_rule_without_a_warning_has_one_threshold() -> None:
    reading = Reading(alert="store_away", value=1.0, unit="fact", warning=None, critical=1.0, about="as seen from a")
    [event] = decide({}, [reading], now=NOON, hold_off_s=HOLD_OFF_S).events
    assert (event.threshold, event.about) == (1.0, "as seen from a")
    calm = Reading(alert="store_away", value=0.0, unit="fact", warning=None, critical=1.0)
    states = decide({}, [reading], now=NOON, hold_off_s=0.0).states
    [resolved] = decide(states, [calm], now=NOON + 1, hold_off_s=0.0).events
    assert (resolved.level, resolved.threshold) == ("ok", 1.0)


def test_an_alert_that_is_not_read_keeps_its_level_for_a_while() -> None:
    events, states = evaluated((0, CRITICAL), (NO_DATA_AFTER_S - 1, None))
    assert len(events) == 1
    assert states["error_rate"].level == "critical"


def test_an_alert_that_is_not_read_for_long_is_resolved_and_says_why() -> None:
    [_, resolved] = evaluated((0, CRITICAL), (NO_DATA_AFTER_S, None))[0]
    assert (resolved.level, resolved.no_data) == ("ok", True)


def test_an_alert_that_is_read_again_in_time_goes_on() -> None:
    assert told((0, CRITICAL), (500, None), (550, CRITICAL), (1000, None), (1100, CRITICAL)) == [(0, "ok", "critical")]


def test_a_change_that_waits_is_told_also_when_it_is_not_read_any_more() -> None:
    [_, later] = evaluated((0, WARNING), (10, CRITICAL), (60, None))[0]
    assert (later.level, later.no_data) == ("critical", False)


def test_fine_alerts_of_many_things_are_not_kept() -> None:
    _, states = evaluated((0, FINE), alert="budget:acme:day")
    assert states == {}


def test_an_alert_of_many_things_is_kept_while_it_holds_off_its_next_event() -> None:
    assert "budget:acme:day" in evaluated((0, WARNING), (70, FINE), (100, FINE), alert="budget:acme:day")[1]
    assert evaluated((0, WARNING), (70, FINE), (131, FINE), alert="budget:acme:day")[1] == {}


def test_a_budget_that_disappears_resolves() -> None:
    assert told((0, CRITICAL), (NO_DATA_AFTER_S, None), alert="budget:acme:day") == [
        (0, "ok", "critical"),
        (NO_DATA_AFTER_S, "critical", "ok"),
    ]


def test_a_fine_rule_is_forgotten_once_it_is_not_read_for_long() -> None:
    assert "error_rate" in evaluated((0, FINE), (NO_DATA_AFTER_S - 1, None))[1]
    assert evaluated((0, FINE), (NO_DATA_AFTER_S, None))[1] == {}


def test_a_clock_that_went_back_holds_nothing_off() -> None:
    assert told((7200, CRITICAL), (0, FINE)) == [(7200, "ok", "critical"), (0, "critical", "ok")]


def test_each_event_has_an_id_of_its_own() -> None:
    events = evaluated((0, WARNING), (100, CRITICAL), (200, FINE))[0]
    assert len({event.id for event in events}) == len(events)


def test_alerts_do_not_hold_each_other_off() -> None:
    first = decide({}, [error_rate(CRITICAL)], now=NOON, hold_off_s=HOLD_OFF_S)
    readings = [error_rate(CRITICAL), error_rate(CRITICAL, alert="budget:acme:day")]
    second = decide(first.states, readings, now=NOON + 1, hold_off_s=HOLD_OFF_S)
    assert [event.alert for event in second.events] == ["budget:acme:day"]


def test_the_worst_level_is_that_of_all() -> None:
    assert worst([]) == "ok"
    assert worst([state(level="warning"), state(level="critical"), state()]) == "critical"


def test_a_rule_is_the_name_without_what_it_is_about() -> None:
    assert state("budget:acme/k1:day").rule == "budget"
    assert state("memory").rule == "memory"


_STEPS = st.lists(st.tuples(st.floats(0.1, 700), st.sampled_from([None, FINE, WARNING, CRITICAL])), max_size=60)


@given(_STEPS, st.sampled_from([0.0, 1.0, 60.0, 400.0]))
def test_levels_alternate_and_events_keep_their_distance(
    steps: Sequence[tuple[float, float | None]], hold_off_s: float
) -> None:
    at, timed = 0.0, []
    for gap, share in steps:
        at += gap
        timed.append((at, share))
    events, states = evaluated(*timed, hold_off_s=hold_off_s)
    levels: list[Level] = ["ok", *(event.level for event in events)]
    assert [event.previous for event in events] == levels[:-1]
    assert all(one != next_ for one, next_ in pairwise(levels))
    assert all(later.at - one.at >= hold_off_s for one, later in pairwise(events))
    standing = states.get("error_rate")
    assert (standing.level if standing is not None else "ok") == levels[-1]


@given(_STEPS)
def test_without_a_hold_off_the_last_reading_is_what_was_told_last(steps: Sequence[tuple[float, float | None]]) -> None:
    at, timed = 0.0, []
    for gap, share in steps:
        at += gap
        timed.append((at, share))
    events, _ = evaluated(*timed, hold_off_s=0.0)
    if timed and timed[-1][1] is not None:
        assert (events[-1].level if events else "ok") == error_rate(timed[-1][1] or 0.0).level
