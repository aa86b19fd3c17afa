"""Slots of workers: each has one, what it leaves is counted once, and nothing piles up."""

from __future__ import annotations

import random

import pytest

from app.observability.board import MetricsBoard
from app.observability.seats import Seat, Seats, only_seat
from app.observability.totals import WorkerTotals, encode, pod_totals, read_departed


@pytest.fixture
def board() -> MetricsBoard:
    return MetricsBoard(4, 4096)


@pytest.fixture
def seats(board: MetricsBoard) -> Seats:
    return Seats(board)


def count(seat: Seat, requests: int) -> None:
    """What a worker hands over."""
    assert seat.slot is not None
    totals = WorkerTotals(
        age=seat.age, counters={"requests": {(): requests}}, gauges={"memory": {(seat.label,): float(requests)}}
    )
    seat.board.write(seat.slot, encode(totals))


def requests_of(board: MetricsBoard) -> int:
    return pod_totals(board.read_all()).counters.get("requests", {}).get((), 0)


def test_workers_have_slots_of_their_own(seats: Seats) -> None:
    given = [seats.assign(age) for age in (1, 2, 3)]
    assert [(seat.slot, seat.label, seat.age) for seat in given] == [(1, "1", 1), (2, "2", 2), (3, "3", 3)]


def test_counts_stay_when_a_worker_goes_and_its_gauges_do_not(board: MetricsBoard, seats: Seats) -> None:
    for age, requests in ((1, 10), (2, 5)):
        count(seats.assign(age), requests)
    seats.free({2})
    assert requests_of(board) == 15
    assert pod_totals(board.read_all()).gauges == {"memory": {("2",): 5.0}}


def test_a_successor_counts_on_from_what_its_predecessor_has_left(board: MetricsBoard, seats: Seats) -> None:
    first = seats.assign(1)
    count(first, 10)
    seats.free(set())
    second = seats.assign(2)
    assert second.slot == first.slot
    assert requests_of(board) == 10  # it has not handed over anything yet
    count(second, 1)
    assert requests_of(board) == 11


def test_what_a_worker_leaves_is_counted_once_however_often_the_master_looks(board: MetricsBoard, seats: Seats) -> None:
    count(seats.assign(1), 10)
    for _ in range(3):
        seats.free(set())
    assert requests_of(board) == 10


def test_several_that_go_together_are_counted_each(board: MetricsBoard, seats: Seats) -> None:
    for age in (1, 2, 3):
        count(seats.assign(age), 10**age)
    seats.free({3})
    assert requests_of(board) == 1110
    seats.free(set())
    assert requests_of(board) == 1110


def test_a_worker_that_ends_before_it_has_counted_leaves_nothing(board: MetricsBoard, seats: Seats) -> None:
    count(seats.assign(1), 10)
    seats.free(set())
    seats.assign(2)
    seats.free(set())  # its slot still holds what the first one wrote
    assert requests_of(board) == 10
    assert read_departed(board.read(0)).folded == {1: 2}


def test_without_a_free_slot_a_worker_goes_without(seats: Seats, caplog: pytest.LogCaptureFixture) -> None:
    given = [seats.assign(age) for age in range(1, 5)]
    assert [seat.slot for seat in given] == [1, 2, 3, None]
    assert given[-1].label == "0"
    assert "missing from /metrics" in caplog.text


def test_slots_do_not_run_out_over_any_number_of_replacements(board: MetricsBoard, seats: Seats) -> None:
    living: dict[int, Seat] = {}
    counted = 0
    dice = random.Random(5)
    for age in range(1, 400):
        living[age] = seats.assign(age)
        for seat in living.values():
            count(seat, seat.age)
        counted += age
        if len(living) == 3 or dice.random() < 0.5:
            for gone in dice.sample(sorted(living), dice.randint(1, len(living))):
                del living[gone]
            seats.free(living.keys())
        assert requests_of(board) == counted


def test_counts_of_the_departed_that_fit_nowhere_do_not_end_the_master(caplog: pytest.LogCaptureFixture) -> None:
    board = MetricsBoard(3, 200)
    seats = Seats(board)
    for age in (1, 2):
        seats.assign(age)
        board.write(age, encode(WorkerTotals(age=age, counters={f"{age}" * 100: {(): 1}})))
    seats.free(set())
    assert "missing from /metrics" in caplog.text
    assert seats.assign(3).slot == 1


def test_what_cannot_be_read_does_not_end_the_master_either(
    board: MetricsBoard, seats: Seats, caplog: pytest.LogCaptureFixture
) -> None:
    board.write(seats.assign(1).age, b"\xff")
    seats.free(set())
    assert "missing from /metrics" in caplog.text


def test_a_worker_without_a_master_has_a_board_of_its_own() -> None:
    seat = only_seat()
    count(seat, 3)
    assert requests_of(seat.board) == 3
