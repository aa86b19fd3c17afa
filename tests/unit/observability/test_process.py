"""ProcessFigures: counters, the sliding window, the probe of the event loop."""

import asyncio
import os

import pytest

from app.observability.process import PROBE_TICKS, WINDOW_S, ProcessFigures


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self, at: float = 1000.0) -> None:
        self.at = at

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cpu() -> Clock:
    return Clock(0.0)


@pytest.fixture
def figures(clock: Clock, cpu: Clock) -> ProcessFigures:
    return ProcessFigures(monotonic=clock, now=lambda: 1_790_000_000.0, cpu_time=cpu)


def answer(figures: ProcessFigures, status: int = 200, *, failed: bool = False, response_s: float = 0.1) -> None:
    figures.begin()
    figures.end(status, failed=failed, response_s=response_s, duration_s=2 * response_s)


def test_a_request_counts_as_in_flight_until_it_ends(figures: ProcessFigures) -> None:
    figures.begin()
    assert figures.snapshot().in_flight == 1
    figures.end(200, failed=False, response_s=0.1, duration_s=0.2)
    assert figures.snapshot().in_flight == 0


def test_failures_and_client_errors_are_counted_apart(figures: ProcessFigures) -> None:
    answer(figures)
    answer(figures, 404)
    answer(figures, 502, failed=True)
    answer(figures, 200, failed=True)  # a stream that broke off
    snapshot = figures.snapshot()
    assert (snapshot.requests, snapshot.errors, snapshot.client_errors) == (4, 2, 1)


def test_means_are_of_the_window(figures: ProcessFigures, clock: Clock) -> None:
    answer(figures, response_s=0.1)
    clock.at += 1
    answer(figures, response_s=0.3)
    snapshot = figures.snapshot()
    assert snapshot.mean_response_ms == pytest.approx(200)
    assert snapshot.window_duration_ms == pytest.approx(800)


def test_what_is_older_than_the_window_no_longer_counts_in_it(figures: ProcessFigures, clock: Clock) -> None:
    answer(figures, 500, failed=True)
    clock.at += WINDOW_S
    answer(figures)
    snapshot = figures.snapshot()
    assert (snapshot.window_requests, snapshot.window_errors, snapshot.requests) == (1, 0, 2)


def test_an_idle_minute_empties_the_window(figures: ProcessFigures, clock: Clock) -> None:
    answer(figures)
    clock.at += WINDOW_S
    snapshot = figures.snapshot()
    assert snapshot.window_requests == 0
    assert snapshot.mean_response_ms == 0
    assert snapshot.requests_per_s == 0


def test_the_rate_of_a_young_process_is_over_its_age(figures: ProcessFigures, clock: Clock) -> None:
    for _ in range(20):
        answer(figures)
    clock.at += 10
    assert figures.snapshot().requests_per_s == pytest.approx(2.0)


def test_the_rate_of_an_old_process_is_over_the_window(figures: ProcessFigures, clock: Clock) -> None:
    clock.at += 1000
    for _ in range(WINDOW_S):
        answer(figures)
    assert figures.snapshot().requests_per_s == pytest.approx(1.0)


def test_a_process_that_was_just_born_has_no_rate(figures: ProcessFigures) -> None:
    answer(figures)
    assert figures.snapshot().requests_per_s == 0


def test_cpu_is_a_share_of_one_core(figures: ProcessFigures, clock: Clock, cpu: Clock) -> None:
    clock.at += 4
    cpu.at += 1
    assert figures.snapshot().cpu_percent == pytest.approx(25.0)


def test_cpu_forgets_what_was_long_ago(figures: ProcessFigures, clock: Clock, cpu: Clock) -> None:
    cpu.at += 100
    for _ in range(PROBE_TICKS + 1):
        clock.at += 0.5
        figures.note_lag(0.0)
    assert figures.cpu_percent == 0.0


def test_the_worst_recent_lag_is_reported(figures: ProcessFigures) -> None:
    figures.note_lag(1.5)
    figures.note_lag(0.01)
    assert figures.snapshot().loop_lag_ms == pytest.approx(1500)


def test_an_old_lag_is_forgotten(figures: ProcessFigures) -> None:
    figures.note_lag(1.5)
    for _ in range(PROBE_TICKS):
        figures.note_lag(0.0)
    assert figures.loop_lag_s == 0.0


def test_memory_and_pid_are_of_this_process(figures: ProcessFigures) -> None:
    snapshot = figures.snapshot()
    assert snapshot.pid == os.getpid()
    assert snapshot.rss_bytes > 1_000_000


async def test_the_probe_measures_the_running_loop_until_it_is_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.observability.process.PROBE_INTERVAL_S", 0.001)
    figures = ProcessFigures()
    ticked = asyncio.Event()
    monkeypatch.setattr(figures, "note_lag", lambda _lag_s: ticked.set())
    figures.start()
    assert figures.started
    await asyncio.wait_for(ticked.wait(), 5)
    figures.stop()
    assert not figures.started
    assert figures._probe is None
