from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.limits import NO_LIMITS, Limits
from app.domain.local_limits import UNBOUNDED, Held, LocalBook, Refusal, Scope

KEY: Scope = ("tag", "key")
TENANT: Scope = ("tag", "*")


def ask(
    book: LocalBook,
    key: Limits,
    tenant: Limits = NO_LIMITS,
    *,
    scope: Scope = KEY,
    workers: int = 1,
    now_s: float = 0.0,
    expected_input: int = 1,
    expected_output: int = 1,
    worst_nano: int | None = 1,
) -> Held | Refusal:
    return book.admit(
        [(scope, key), (TENANT, tenant)],
        workers=workers,
        now_s=now_s,
        expected_input=expected_input,
        expected_output=expected_output,
        worst_nano=worst_nano,
    )


def held(outcome: Held | Refusal) -> Held:
    assert isinstance(outcome, Held)
    return outcome


def refused(outcome: Held | Refusal) -> Refusal:
    assert isinstance(outcome, Refusal)
    return outcome


def admitted(outcomes: Sequence[Held | Refusal]) -> int:
    return sum(isinstance(outcome, Held) for outcome in outcomes)


def test_what_has_no_limit_is_admitted():
    book = LocalBook()
    assert admitted([ask(book, NO_LIMITS, worst_nano=None) for _ in range(1000)]) == 1000


# Rates


def test_a_worker_admits_its_share_of_the_requests():
    book = LocalBook()
    assert admitted([ask(book, Limits(requests_per_minute=100), workers=4) for _ in range(100)]) == 25


def test_a_share_is_never_less_than_one():
    book = LocalBook()
    limits = Limits(requests_per_minute=2)
    held(ask(book, limits, workers=10))
    assert refused(ask(book, limits, workers=10)) == Refusal(scope=0, limit="requests_per_minute", retry_after_s=60.0)


def test_a_refusal_says_when_the_next_request_is_admitted():
    book = LocalBook()
    limits = Limits(requests_per_minute=60)
    for _ in range(60):
        held(ask(book, limits))
    wait_s = refused(ask(book, limits, now_s=0.25)).retry_after_s
    assert wait_s == pytest.approx(0.75)
    refused(ask(book, limits, now_s=0.9))
    held(ask(book, limits, now_s=1.0))


def test_a_clock_that_goes_back_refills_nothing():
    book = LocalBook()
    limits = Limits(requests_per_minute=1)
    held(ask(book, limits, now_s=100.0))
    refused(ask(book, limits, now_s=10.0))


@pytest.mark.parametrize(
    ("limits", "name"),
    [
        (Limits(input_tokens_per_minute=100), "input_tokens_per_minute"),
        (Limits(output_tokens_per_minute=100), "output_tokens_per_minute"),
    ],
)
def test_tokens_may_go_into_debt_and_are_then_waited_for(limits: Limits, name: str):
    book = LocalBook()
    held(ask(book, limits, expected_input=199, expected_output=199))
    assert refused(ask(book, limits)) == Refusal(scope=0, limit=name, retry_after_s=pytest.approx(60.0))
    held(ask(book, limits, now_s=60.1))


def test_settling_gives_back_what_was_not_used():
    book = LocalBook()
    limits = Limits(output_tokens_per_minute=100)
    first = held(ask(book, limits, expected_output=100))
    refused(ask(book, limits))
    book.settle(first, actual_input=1, actual_output=40, cost_nano=0)
    held(ask(book, limits, expected_output=60))
    refused(ask(book, limits))


def test_settling_charges_what_was_used_beyond_expectation():
    book = LocalBook()
    limits = Limits(input_tokens_per_minute=100)
    first = held(ask(book, limits, expected_input=10))
    book.settle(first, actual_input=100, actual_output=1, cost_nano=0)
    refused(ask(book, limits))


def test_what_is_given_back_never_exceeds_the_share():
    book = LocalBook()
    limits = Limits(input_tokens_per_minute=100)
    first = held(ask(book, limits, expected_input=100))
    refused(ask(book, limits, now_s=0.0))
    book.settle(first, actual_input=0, actual_output=0, cost_nano=0)
    held(ask(book, limits, now_s=60.0, expected_input=100))
    refused(ask(book, limits, now_s=60.0))


def test_a_settled_request_stays_counted():
    book = LocalBook()
    limits = Limits(requests_per_minute=1)
    book.settle(held(ask(book, limits)), actual_input=1, actual_output=1, cost_nano=0)
    refused(ask(book, limits))


def test_a_released_request_was_never_there():
    book = LocalBook()
    limits = Limits(requests_per_minute=1, concurrency=1, budget_day_nano=1)
    book.release(held(ask(book, limits)))
    held(ask(book, limits))


# Concurrency


def test_a_share_of_the_concurrency_is_rounded_up():
    book = LocalBook()
    limits = Limits(concurrency=5)
    first, *_ = outcomes = [ask(book, limits, workers=2) for _ in range(5)]
    assert admitted(outcomes) == 3
    assert refused(outcomes[-1]) == Refusal(scope=0, limit="concurrency", retry_after_s=1.0)
    book.settle(held(first), actual_input=1, actual_output=1, cost_nano=0)
    held(ask(book, limits, workers=2))


# Budgets


def test_an_unknown_budget_is_taken_for_whole_and_shared():
    book = LocalBook()
    limits = Limits(budget_total_nano=100)
    held(ask(book, limits, workers=2, worst_nano=50))
    refused(ask(book, limits, workers=2, worst_nano=1))


def test_what_is_known_to_be_left_is_shared():
    book = LocalBook()
    book.note_budget_left(KEY, 40)
    limits = Limits(budget_total_nano=100)
    refused(ask(book, limits, workers=2, worst_nano=21))
    held(ask(book, limits, workers=2, worst_nano=20))


def test_a_budget_that_was_lowered_since_counts():
    book = LocalBook()
    book.note_budget_left(KEY, 40)
    refused(ask(book, Limits(budget_total_nano=10), worst_nano=11))


def test_money_that_running_requests_hold_is_soon_free():
    book = LocalBook()
    limits = Limits(budget_month_nano=100, budget_total_nano=1000)
    first = held(ask(book, limits, worst_nano=60))
    assert refused(ask(book, limits, worst_nano=60)) == Refusal(scope=0, limit="budget_month_nano", retry_after_s=1.0)
    book.settle(first, actual_input=1, actual_output=1, cost_nano=10)
    held(ask(book, limits, worst_nano=60))


def test_money_that_is_spent_does_not_come_back():
    book = LocalBook()
    limits = Limits(budget_day_nano=100)
    book.settle(held(ask(book, limits, worst_nano=60)), actual_input=1, actual_output=1, cost_nano=60)
    assert refused(ask(book, limits, worst_nano=60)) == Refusal(scope=0, limit="budget_day_nano", retry_after_s=None)


def test_a_cost_without_bound_is_refused_under_a_budget():
    book = LocalBook()
    outcome = ask(book, NO_LIMITS, Limits(budget_day_nano=100), worst_nano=None)
    assert refused(outcome) == Refusal(scope=1, limit=UNBOUNDED, retry_after_s=None)


# All or nothing


def test_a_refusal_takes_nothing():
    book = LocalBook()
    key = Limits(requests_per_minute=1, concurrency=1, budget_day_nano=1)
    blocked = Limits(concurrency=1)
    other = held(ask(book, NO_LIMITS, blocked, scope=("tag", "other")))
    assert refused(ask(book, key, blocked)).scope == 1
    book.release(other)
    held(ask(book, key, blocked))


def test_the_limit_that_lasts_longest_is_named():
    book = LocalBook()
    key, tenant = Limits(concurrency=1), Limits(requests_per_minute=1)
    held(ask(book, key, tenant))
    assert refused(ask(book, key, tenant)) == Refusal(scope=1, limit="requests_per_minute", retry_after_s=60.0)


# The end of an outage


def test_rates_and_spend_start_anew_when_the_store_is_back():
    book = LocalBook()
    limits = Limits(requests_per_minute=1, budget_day_nano=1)
    book.settle(held(ask(book, limits)), actual_input=1, actual_output=1, cost_nano=1)
    refused(ask(book, limits))
    book.forget()
    held(ask(book, limits))


def test_what_is_in_flight_stays_counted_when_the_store_is_back():
    book = LocalBook()
    limits = Limits(concurrency=1)
    first = held(ask(book, limits))
    book.forget()
    refused(ask(book, limits))
    book.settle(first, actual_input=1, actual_output=1, cost_nano=0)
    held(ask(book, limits))


def test_money_held_in_flight_stays_reserved_when_the_store_is_back():
    book = LocalBook()
    limits = Limits(budget_day_nano=100)
    first = held(ask(book, limits, worst_nano=60))
    book.forget()
    refused(ask(book, limits, worst_nano=60))
    book.settle(first, actual_input=1, actual_output=1, cost_nano=60)
    refused(ask(book, limits, worst_nano=60))


def test_tokens_taken_before_an_outage_ended_are_not_given_back_to_the_next():
    book = LocalBook()
    limits = Limits(output_tokens_per_minute=100)
    before = held(ask(book, limits, expected_output=100))
    book.forget()
    held(ask(book, limits, expected_output=100))
    book.settle(before, actual_input=1, actual_output=0, cost_nano=0)
    refused(ask(book, limits))


# Bounds


def test_the_scope_that_was_asked_for_longest_ago_goes():
    book = LocalBook(most_scopes=2)
    one = Limits(requests_per_minute=1)
    for name in ("a", "b"):
        book.note_budget_left(("tag", name), 0)
        book.release(held(book_one(book, name, one)))
        held_until_now = held(book_one(book, name, one))
        book.settle(held_until_now, actual_input=0, actual_output=0, cost_nano=0)
    refused(book_one(book, "a", one))
    held(book_one(book, "c", one))  # b goes
    refused(book_one(book, "a", one))
    held(book_one(book, "b", one))


def test_scopes_in_flight_are_kept_beyond_the_bound():
    book = LocalBook(most_scopes=1)
    one = Limits(concurrency=1)
    held(book_one(book, "a", one))
    held(book_one(book, "b", one))
    refused(book_one(book, "a", one))
    refused(book_one(book, "b", one))


def book_one(book: LocalBook, name: str, limits: Limits) -> Held | Refusal:
    return book.admit(
        [(("tag", name), limits)], workers=1, now_s=0.0, expected_input=0, expected_output=0, worst_nano=0
    )


# Under any sequence

RATE, TOKENS, CONCURRENCY, BUDGET = 30, 500, 5, 1000
ALL = Limits(
    requests_per_minute=RATE, input_tokens_per_minute=TOKENS, concurrency=CONCURRENCY, budget_total_nano=BUDGET
)

#: Seconds that pass; a request's expected input and worst cost; which part of these it used; which request ends.
steps = st.lists(
    st.tuples(
        st.sampled_from(["ask", "settle", "release"]),
        st.floats(0, 20),
        st.integers(0, 200),
        st.integers(0, 300),
        st.floats(0, 1),
        st.integers(0, 100),
    ),
    max_size=150,
)


@given(steps=steps, workers=st.integers(1, 4))
def test_no_sequence_exceeds_a_share(steps: list[tuple[str, float, int, int, float, int]], workers: int):
    book = LocalBook()
    now_s, requests, spent = 0.0, 0, 0
    used: dict[Held, int] = {}
    inputs_settled = 0
    for what, pause_s, tokens, worst_nano, part, which in steps:
        now_s += pause_s
        if what == "ask":
            outcome = ask(book, ALL, workers=workers, now_s=now_s, expected_input=tokens, worst_nano=worst_nano)
            if isinstance(outcome, Held):
                # Before it was admitted, what the bucket has given was less than what it has got.
                assert inputs_settled + sum(h.expected[1] for h in used) <= TOKENS / workers * (1 + now_s / 60) + 1e-6
                requests += 1
                used[outcome] = worst_nano
        elif used:
            ending = list(used)[which % len(used)]
            reserved = used.pop(ending)
            if what == "settle":
                cost, actual = round(reserved * part), round(ending.expected[1] * part)
                book.settle(ending, actual_input=actual, actual_output=1, cost_nano=cost)
                spent, inputs_settled = spent + cost, inputs_settled + actual
            else:
                book.release(ending)
                requests -= 1
        assert requests <= RATE / workers * (1 + now_s / 60) + 1e-6
        assert len(used) <= ceil(CONCURRENCY / workers)
        assert spent + sum(used.values()) <= BUDGET // workers
