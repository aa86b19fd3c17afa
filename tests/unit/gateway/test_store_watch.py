"""Whoever led last tells that the store is away, and that it is back."""

from __future__ import annotations

from app.domain.alerts import AlertEvent
from app.gateway.store_watch import AWAY_AFTER_S, StoreWatch
from tests.support.alerts import NOON

HOLD_OFF_S = 60.0


class Watched:
    """A watch whose clock is the test's."""

    def __init__(self) -> None:
        self.at = 0.0
        self._watch = StoreWatch(
            place="pod-1", hold_off_s=HOLD_OFF_S, now=lambda: NOON + self.at, monotonic=lambda: self.at
        )

    def events(self, at: float, *, is_away: bool, led_last: bool = True) -> tuple[AlertEvent, ...]:
        self.at = at
        return self._watch.turn(is_away=is_away, led_last=led_last)

    def told(self, at: float, *, is_away: bool, led_last: bool = True) -> list[str]:
        return [event.level for event in self.events(at, is_away=is_away, led_last=led_last)]


def test_an_outage_is_told_once_it_lasts_and_only_once() -> None:
    watched = Watched()
    assert watched.told(0, is_away=True) == []
    assert watched.told(AWAY_AFTER_S - 0.1, is_away=True) == []
    assert watched.told(AWAY_AFTER_S, is_away=True) == ["critical"]
    assert watched.told(100, is_away=True) == []


def test_a_blip_is_not_told() -> None:
    watched = Watched()
    assert [watched.told(at, is_away=at % 4 == 0) for at in range(0, 40, 2)] == [[]] * 20


def test_who_did_not_lead_tells_nothing() -> None:
    watched = Watched()
    assert [watched.told(at, is_away=True, led_last=False) for at in (0, 10, 1000)] == [[], [], []]


def test_its_end_is_told_once_also_when_somebody_else_leads() -> None:
    watched = Watched()
    watched.told(0, is_away=True)
    watched.told(10, is_away=True)
    assert watched.told(100, is_away=False, led_last=False) == ["ok"]
    assert watched.told(200, is_away=False, led_last=False) == []


def test_its_end_waits_for_the_hold_off() -> None:
    watched = Watched()
    watched.told(0, is_away=True)
    watched.told(10, is_away=True)
    assert watched.told(20, is_away=False) == []
    assert watched.told(69, is_away=False) == []
    assert watched.told(70, is_away=False) == ["ok"]


def test_a_store_that_comes_and_goes_is_told_of_once() -> None:
    watched = Watched()
    watched.told(0, is_away=True)
    watched.told(10, is_away=True)
    assert watched.told(20, is_away=False) == []
    assert watched.told(30, is_away=True) == []
    assert watched.told(80, is_away=True) == []
    assert watched.told(90, is_away=False) == ["ok"]


def test_the_next_outage_is_another_one() -> None:
    watched = Watched()
    for start in (0, 1000):
        watched.told(start, is_away=True)
        assert watched.told(start + 10, is_away=True) == ["critical"]
        assert watched.told(start + 100, is_away=False) == ["ok"]


def test_the_event_says_who_saw_it() -> None:
    watched = Watched()
    watched.told(0, is_away=True)
    [event] = watched.events(10, is_away=True)
    assert (event.alert, event.about, event.at) == ("store_away", "as seen from pod-1", NOON + 10)
