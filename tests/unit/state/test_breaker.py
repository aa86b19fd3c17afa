"""When the breaker opens, when it probes, when it closes."""

from __future__ import annotations

from app.state.breaker import Breaker


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_two_failures_in_a_row_leave_it_closed() -> None:
    breaker = Breaker(clock=Clock())
    breaker.failure("gone")
    breaker.failure("gone")
    assert breaker.state == "closed"


def test_three_failures_in_a_row_open_it() -> None:
    breaker = Breaker(clock=Clock())
    for _ in range(3):
        breaker.failure("gone")
    assert breaker.state == "open"
    assert breaker.is_open


def test_a_success_between_failures_starts_the_count_again() -> None:
    breaker = Breaker(clock=Clock())
    for _ in range(10):
        breaker.failure("gone")
        breaker.failure("gone")
        breaker.success()
    assert breaker.state == "closed"
    assert breaker.failures == 20


def test_a_success_closes_it() -> None:
    breaker = Breaker(clock=Clock())
    for _ in range(5):
        breaker.failure("gone")
    breaker.success()
    assert breaker.state == "closed"
    assert breaker.failures_in_a_row == 0


def test_opening_is_told_once() -> None:
    told: list[str] = []
    breaker = Breaker(clock=Clock(), on_open=lambda: told.append(breaker.state))
    for _ in range(10):
        breaker.failure("gone")
    assert told == ["open"]
    assert breaker.openings == 1


def test_it_tells_for_how_long_it_has_been_open() -> None:
    clock = Clock()
    breaker = Breaker(clock=clock)
    assert breaker.open_s == 0
    for _ in range(5):
        breaker.failure("gone")
        clock.now_s += 1
    assert breaker.open_s == 3
    breaker.success()
    assert breaker.open_s == 0


def test_the_first_probe_is_due_at_once() -> None:
    breaker = Breaker(clock=Clock())
    for _ in range(3):
        breaker.failure("gone")
    assert breaker.seconds_to_probe() == 0.0


def test_a_probe_is_due_every_second() -> None:
    clock = Clock()
    breaker = Breaker(clock=clock)
    for _ in range(3):
        breaker.failure("gone")
    breaker.probe_started()
    clock.now_s += 0.25
    breaker.failure("the probe failed")
    assert breaker.seconds_to_probe() == 0.75
    clock.now_s += 2.0
    assert breaker.seconds_to_probe() == 0.0


def test_it_says_why_it_last_failed() -> None:
    breaker = Breaker(clock=Clock())
    breaker.failure("refused")
    breaker.failure("silent")
    assert breaker.last_failure == "silent"
    breaker.success()
    assert breaker.last_failure is None
