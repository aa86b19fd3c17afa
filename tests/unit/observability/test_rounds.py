"""Rounds: a thread that does its work again and again, and ends in time."""

from __future__ import annotations

import logging
import threading
import time

import pytest

from app.observability.rounds import Rounds

SOON_S = 10.0
NEVER_S = 3600.0


class Work:
    """Counts its rounds."""

    def __init__(self) -> None:
        self.rounds: list[bool] = []
        self.given_up = 0
        self.done = threading.Semaphore(0)
        self.fails = False

    def round(self, *, last: bool) -> None:
        self.rounds.append(last)
        self.done.release()
        if self.fails:
            raise ValueError("of the test")

    def give_up(self) -> None:
        self.given_up += 1


class Stuck(Work):
    """A round that ends when it is given up."""

    def __init__(self) -> None:
        super().__init__()
        self.released = threading.Event()

    def round(self, *, last: bool) -> None:
        super().round(last=last)
        assert self.released.wait(SOON_S)

    def give_up(self) -> None:
        super().give_up()
        self.released.set()


def started(work: Work, *, interval_s: float) -> Rounds:
    rounds = Rounds("test", lambda: work, interval_s=interval_s)
    rounds.start()
    return rounds


def finish(rounds: Rounds) -> None:
    rounds.end()
    rounds.join(time.monotonic() + SOON_S)
    assert not rounds.is_alive


def test_it_works_every_so_often_and_once_more_at_its_end() -> None:
    work = Work()
    rounds = started(work, interval_s=0.001)
    for _ in range(3):
        assert work.done.acquire(timeout=SOON_S)
    finish(rounds)
    assert work.rounds[-1]
    assert not any(work.rounds[:-1])
    assert work.given_up == 1


def test_it_can_be_woken() -> None:
    work = Work()
    rounds = started(work, interval_s=NEVER_S)
    rounds.wake()
    assert work.done.acquire(timeout=SOON_S)
    assert work.rounds == [False]
    finish(rounds)
    assert work.rounds == [False, True]


def test_a_round_that_fails_is_told_and_the_next_one_is_made(caplog: pytest.LogCaptureFixture) -> None:
    work = Work()
    work.fails = True
    rounds = started(work, interval_s=0.001)
    for _ in range(2):
        assert work.done.acquire(timeout=SOON_S)
    finish(rounds)
    assert "A round of test has failed." in caplog.messages


def test_what_hangs_is_given_up_at_the_deadline() -> None:
    work = Stuck()
    rounds = started(work, interval_s=0.001)
    assert work.done.acquire(timeout=SOON_S)
    rounds.end()
    began = time.monotonic()
    rounds.join(began + 0.05)
    assert time.monotonic() - began < SOON_S / 2
    assert work.given_up >= 1
    rounds.join(time.monotonic() + SOON_S)
    assert not rounds.is_alive


def test_what_cannot_be_opened_does_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> Work:
        raise ValueError("of the test")

    rounds = Rounds("test", fail, interval_s=0.001)
    with caplog.at_level(logging.ERROR):
        rounds.start()
        finish(rounds)
    assert caplog.messages == ["test could not be opened, and does nothing."]
