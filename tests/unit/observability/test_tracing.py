"""Tracer: what is put aside of requests that are over, and what is not."""

from __future__ import annotations

import math
from random import Random

import pytest

from app.observability import tracing
from app.observability.record import RequestRecord
from app.observability.tracing import MOST_WAITING, SETTLES_WITHIN_S, Tracer

CHAT = "/v1/chat/completions"


def request(tracer: Tracer, number: int = 0, *, headers: tuple[tuple[bytes, bytes], ...] = ()) -> RequestRecord:
    record = RequestRecord(f"req-{number}", "POST", CHAT, status=200, began_at=10.0)
    record.trace = tracer.begin(headers)
    return record


def ended(tracer: Tracer, number: int = 0) -> RequestRecord:
    record = request(tracer, number)
    tracer.ended(record, route=CHAT, duration_s=0.5)
    return record


@pytest.fixture
def tracer() -> Tracer:
    return Tracer(sample=1.0, bits=Random(1).getrandbits)


def taken(tracer: Tracer, most: int = 100, *, now: float = 11.0) -> list[str]:
    return [one.record.request_id for one in tracer.take(most, now=now)]


def test_what_is_over_is_taken_once_and_in_order(tracer: Tracer) -> None:
    for number in range(3):
        ended(tracer, number)
    assert taken(tracer, 2) == ["req-0", "req-1"]
    assert taken(tracer, 2) == ["req-2"]
    assert taken(tracer) == []


def test_it_knows_its_route_and_its_end(tracer: Tracer) -> None:
    ended(tracer)
    (one,) = tracer.take(1, now=11.0)
    assert (one.route, one.ended_at) == (CHAT, 10.5)


def test_what_is_not_sampled_or_not_traced_is_not_put_aside() -> None:
    tracer = Tracer(sample=0.0, bits=Random(1).getrandbits)
    ended(tracer)
    tracer.ended(RequestRecord("req", "GET", "/"), route="other", duration_s=0.1)
    assert taken(tracer) == []
    assert tracer.dropped == 0


def test_what_waits_is_bounded_and_what_is_lost_is_counted(tracer: Tracer) -> None:
    for number in range(MOST_WAITING + 5):
        ended(tracer, number)
    assert tracer.dropped == 5
    assert len(taken(tracer, 10 * MOST_WAITING)) == MOST_WAITING


def test_many_that_wait_wake_who_takes_them(tracer: Tracer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "WAKES_AT", 2)
    woken: list[int] = []
    tracer.wake = lambda: woken.append(1)
    for _ in range(2):
        ended(tracer)
    assert not woken
    for _ in range(5):
        ended(tracer)
    assert len(woken) == 1


def test_a_settlement_is_waited_for_but_not_for_long(tracer: Tracer) -> None:
    record = request(tracer, 0)
    assert record.trace is not None
    record.trace.settling(10.4)
    tracer.ended(record, route=CHAT, duration_s=0.5)
    ended(tracer, 1)
    assert taken(tracer, now=10.6) == []
    assert taken(tracer, now=10.5 + SETTLES_WITHIN_S) == ["req-0", "req-1"]


def test_at_the_end_nothing_is_waited_for(tracer: Tracer) -> None:
    record = request(tracer)
    assert record.trace is not None
    record.trace.settling(10.4)
    tracer.ended(record, route=CHAT, duration_s=0.5)
    assert taken(tracer, now=math.inf) == ["req-0"]
