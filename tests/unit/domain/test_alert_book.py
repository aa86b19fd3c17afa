"""The book of alerts: what is kept of evaluations."""

from __future__ import annotations

from app.domain.alert_book import MOST_REMEMBERED, MOST_WAITING, UNMONITORED_S, AlertBook
from app.domain.alerts import AlertEvent, Decision
from tests.support.alerts import NOON, event, state


def after(book: AlertBook, *events: AlertEvent, with_outbox: bool = True) -> AlertBook:
    return book.after(Decision(book.states, events), now=NOON, leader="host:1", with_outbox=with_outbox)


def ids(events: tuple[AlertEvent, ...]) -> list[str]:
    return [one.id for one in events]


def test_an_evaluation_replaces_how_alerts_stand() -> None:
    decision = Decision({"memory": state("memory", "warning")}, ())
    book = AlertBook(alerts=(state(),)).after(decision, now=NOON, leader="host:1", with_outbox=True)
    assert [one.alert for one in book.alerts] == ["memory"]
    assert (book.evaluated_at, book.leader) == (NOON, "host:1")


def test_events_wait_in_their_order_and_are_remembered_newest_first() -> None:
    book = after(after(AlertBook(), event(id="a", at=NOON)), event(id="b", at=NOON + 1))
    assert ids(book.outbox) == ["a", "b"]
    assert ids(book.history) == ["b", "a"]


def test_without_a_webhook_nothing_waits() -> None:
    book = after(after(AlertBook(), event(id="a")), event(id="b"), with_outbox=False)
    assert book.outbox == ()
    assert len(book.history) == 2


def test_what_was_told_does_not_wait_any_more() -> None:
    book = after(AlertBook(), event(id="a"), event(id="b")).without({"a"})
    assert ids(book.outbox) == ["b"]
    assert len(book.history) == 2


def test_both_are_bounded_and_lose_the_oldest() -> None:
    book = AlertBook()
    for number in range(MOST_WAITING + 5):
        book = after(book, event(id=str(number), at=NOON + number))
    assert (len(book.outbox), len(book.history)) == (MOST_WAITING, MOST_REMEMBERED)
    assert (book.outbox[0].id, book.history[-1].id) == ("5", "5")


def test_events_that_were_told_alone_are_put_in_their_place() -> None:
    book = after(AlertBook(), event(id="a", at=NOON), event(id="c", at=NOON + 9))
    assert ids(book.remembering((event(id="b", at=NOON + 5),)).history) == ["c", "b", "a"]
    assert book.remembering(()).history == book.history


def test_active_alerts_are_those_that_are_not_fine_critical_ones_first() -> None:
    book = AlertBook(alerts=(state("a"), state("b", "warning"), state("c", "critical")))
    assert [one.alert for one in book.active] == ["c", "b"]
    assert book.level == "critical"


def test_alerts_that_were_not_evaluated_for_long_nobody_evaluates() -> None:
    book = after(AlertBook())
    assert book.is_kept_up(NOON + UNMONITORED_S - 1, interval_s=10.0)
    assert not book.is_kept_up(NOON + UNMONITORED_S, interval_s=10.0)
    assert book.is_kept_up(NOON + UNMONITORED_S, interval_s=30.0)
    assert not AlertBook().is_kept_up(NOON, interval_s=10.0)
