"""Whoever led last tells that the store is away, and that it is back; others tell as well, later."""

from __future__ import annotations

from app.domain.alerts import AlertEvent
from app.gateway.store_watch import AWAY_AFTER_S, StoreWatch
from tests.support.alerts import NOON, FakeClaim

HOLD_OFF_S = 60.0
OTHERS_WAIT_S = 17.0


class Watched:
    """A watch whose clock is the test's."""

    def __init__(self, *, place: str = "pod-1", claim: FakeClaim | None = None, hold_off_s: float = HOLD_OFF_S) -> None:
        self.at = 0.0
        self._watch = StoreWatch(
            place=place,
            hold_off_s=hold_off_s,
            others_wait_s=OTHERS_WAIT_S,
            claim=claim or FakeClaim(),
            now=lambda: NOON + self.at,
            monotonic=lambda: self.at,
        )

    def events(self, at: float, *, is_away: bool, led_last: bool = True) -> tuple[AlertEvent, ...]:
        self.at = at
        return self._watch.turn(is_away=is_away, led_last=led_last)

    def leave(self) -> None:
        self._watch.leave()

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


def test_who_did_not_lead_waits_until_somebody_would_have_taken_the_lead_over() -> None:
    watched = Watched()
    times = (0, AWAY_AFTER_S, AWAY_AFTER_S + OTHERS_WAIT_S - 0.1, AWAY_AFTER_S + OTHERS_WAIT_S, 1000)
    assert [watched.told(at, is_away=True, led_last=False) for at in times] == [[], [], [], ["critical"], []]
    assert watched.told(1010, is_away=False, led_last=False) == ["ok"]


def test_of_those_on_a_host_who_did_not_lead_one_tells_until_it_dies() -> None:
    claim = FakeClaim(is_free=False)
    watched = Watched(claim=claim)
    assert [watched.told(at, is_away=True, led_last=False) for at in (0, 100, 1000)] == [[], [], []]
    claim.is_free = True
    assert watched.told(1003, is_away=True, led_last=False) == ["critical"]
    assert claim.is_held
    assert watched.told(2000, is_away=False, led_last=False) == ["ok"]
    assert not claim.is_held


def test_who_leaves_lets_another_one_tell() -> None:
    claim = FakeClaim()
    watched = Watched(claim=claim)
    watched.told(0, is_away=True)
    watched.told(10, is_away=True)
    watched.leave()
    assert not claim.is_held


def test_who_led_last_tells_whoever_else_does_and_keeps_its_neighbours_quiet() -> None:
    for is_free in (False, True):
        claim = FakeClaim(is_free=is_free)
        watched = Watched(claim=claim)
        watched.told(0, is_away=True)
        assert watched.told(10, is_away=True) == ["critical"]
        assert claim.is_held == is_free


def test_all_who_tell_of_an_outage_call_it_the_same() -> None:
    ids = []
    for place, began_at, led_last in (("pod-1", 0.0, True), ("pod-2", 4.0, False)):
        watched = Watched(place=place)
        watched.events(began_at, is_away=True, led_last=led_last)
        [away] = watched.events(began_at + 30, is_away=True, led_last=led_last)
        [back] = watched.events(began_at + 300, is_away=False, led_last=False)
        ids.append((away.id, back.id))
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 2


def test_two_outages_of_a_minute_have_names_of_their_own() -> None:
    watched = Watched(hold_off_s=0.0)
    ids = set()
    for start in (0, 20, 40):
        watched.events(start, is_away=True)
        ids |= {event.id for event in watched.events(start + 6, is_away=True)}
        ids |= {event.id for event in watched.events(start + 10, is_away=False)}
    assert len(ids) == 6


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
