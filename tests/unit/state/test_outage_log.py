from __future__ import annotations

import logging

import pytest

from app.state.breaker import FAILURES_TO_OPEN, Breaker
from app.state.outage_log import INTERVAL_S, OutageLog


class Store:
    """A breaker with its log, at a time that is set."""

    def __init__(self) -> None:
        self.now_s = 100.0
        log = OutageLog("redis.internal:6379", clock=lambda: self.now_s)
        self._breaker = Breaker(clock=lambda: self.now_s, on_away=log.away, on_back=log.back)

    def fails(self, times: int = FAILURES_TO_OPEN) -> None:
        for _ in range(times):
            self._breaker.failure("the connection is refused")

    def answers(self) -> None:
        self._breaker.success()


AWAY = "The state store at redis.internal:6379 is away: the connection is refused. Requests go on without it."


@pytest.fixture
def store(caplog: pytest.LogCaptureFixture) -> Store:
    caplog.set_level(logging.INFO)
    return Store()


def test_outage_is_told_once_when_it_begins_and_once_when_it_ends(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    store.fails(50)
    store.now_s += 12.5
    store.answers()
    store.answers()
    assert caplog.messages == [AWAY, "The state store at redis.internal:6379 is back after 12.5 s."]


def test_failures_that_do_not_open_the_breaker_are_not_told(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    store.fails(FAILURES_TO_OPEN - 1)
    store.answers()
    assert caplog.messages == []


def test_store_that_comes_and_goes_is_told_of_once_a_minute(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(10):
        store.fails()
        store.answers()
    assert len(caplog.messages) == 2
    store.now_s += INTERVAL_S
    store.fails()
    assert caplog.messages[2:] == [AWAY]


def test_outage_that_began_in_the_quiet_time_is_told_when_it_lasts(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    store.fails()
    store.answers()
    store.fails()
    assert len(caplog.messages) == 2
    store.now_s += INTERVAL_S
    store.fails(1)
    assert caplog.messages[2:] == [AWAY]
