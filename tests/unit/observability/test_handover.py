"""From the counters of one worker to the page of all."""

from __future__ import annotations

import asyncio

import pytest

from app.domain.credentials import CredentialFigures
from app.observability import handover as handover_module
from app.observability.board import MetricsBoard
from app.observability.catalog import (
    CPU,
    HTTP_DURATION,
    REDIS,
    REQUESTS,
    RSS,
)
from app.observability.handover import Handover
from app.observability.metrics import WorkerMetrics
from app.observability.seats import Seat, only_seat
from tests.support.chat_wire import until


def worker(seat: Seat, *, cpu_s: float = 0.5) -> tuple[WorkerMetrics, Handover]:
    metrics = WorkerMetrics()
    return metrics, Handover(
        metrics,
        seat,
        gauges=lambda: {RSS.name: {(seat.label,): 1e8}},
        credentials=lambda: (CredentialFigures(label="0123abcd"),),
        cpu_time=lambda: cpu_s,
    )


def seats(count: int, **board: int) -> list[Seat]:
    shared = MetricsBoard(count + 1, **board)
    return [Seat(board=shared, slot=slot, age=slot) for slot in range(1, count + 1)]


def answer(metrics: WorkerMetrics, times: int = 1) -> None:
    for _ in range(times):
        metrics.count(REQUESTS, "/v1/models", "", "200", "anonymous")
        metrics.histogram(HTTP_DURATION, "/v1/models").observe(0.01)


def test_whichever_worker_is_asked_tells_of_all() -> None:
    (one, first), (other, second) = (worker(seat) for seat in seats(2))
    answer(one, 3)
    answer(other, 4)
    for each in (first, second):
        each.hand_over()
    for each in (first, second):
        pod = each.pod()
        assert pod.counters[REQUESTS.name] == {("/v1/models", "", "200", "anonymous"): 7}
        counts, total_ns = pod.histograms[HTTP_DURATION.name]["/v1/models",]
        assert (sum(counts), total_ns) == (7, 70_000_000)
        assert pod.gauges[RSS.name] == {("1",): 1e8, ("2",): 1e8}
        assert [one.label for one in pod.credentials] == ["0123abcd"]


def test_what_was_not_handed_over_is_not_told() -> None:
    metrics, handover = worker(only_seat())
    handover.hand_over()
    answer(metrics)
    assert handover.pod().counters[REQUESTS.name] == {}
    handover.hand_over()
    assert sum(handover.pod().counters[REQUESTS.name].values()) == 1


def test_cpu_is_told_by_worker_in_microseconds() -> None:
    _, handover = worker(only_seat(), cpu_s=1.25)
    handover.hand_over()
    assert handover.pod().counters[CPU.name] == {("1",): 1_250_000}


def test_a_histogram_without_labels_is_told_too() -> None:
    metrics, handover = worker(only_seat())
    metrics.redis.observe(0.001)
    handover.hand_over()
    counts, total_ns = handover.pod().histograms[REDIS.name][()]
    assert (sum(counts), total_ns) == (1, 1_000_000)


def test_a_sum_of_fractions_loses_no_nanosecond() -> None:
    metrics, handover = worker(only_seat())
    for _ in range(7):
        metrics.redis.observe(0.003)
    handover.hand_over()
    assert handover.pod().histograms[REDIS.name][()][1] == 21_000_000


def test_a_worker_without_a_slot_tells_of_the_others() -> None:
    with_slot, without = seats(1)[0], None
    metrics, handover = worker(with_slot)
    answer(metrics)
    handover.hand_over()
    _, lost = worker(Seat(board=with_slot.board, slot=without, age=2))
    lost.hand_over()
    assert sum(lost.pod().counters[REQUESTS.name].values()) == 1


def test_figures_that_do_not_fit_stand_still_and_are_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    metrics, handover = worker(seats(1, slot_bytes=4096)[0])
    answer(metrics)
    handover.hand_over()
    for number in range(200):
        metrics.count(REQUESTS, f"/v1/{number}", "", "200", "anonymous")
    handover.hand_over()
    handover.hand_over()
    assert sum(handover.pod().counters[REQUESTS.name].values()) == 1
    assert caplog.text.count("stand still") == 1


async def test_a_worker_hands_over_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover_module, "EVERY_S", 0.001)
    metrics, handover = worker(only_seat())
    running = asyncio.create_task(handover.run())
    answer(metrics)
    await until(lambda: bool(handover.pod().counters.get(REQUESTS.name)), within_s=10)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
