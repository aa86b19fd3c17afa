from __future__ import annotations

import pytest

from app.domain.retry import Failure, RetryPolicy, wait_before_retry

ONE = RetryPolicy()


def wait(failure: Failure, *, policy: RetryPolicy = ONE, attempts: int = 1, jitter: float = 0.0) -> float | None:
    return wait_before_retry(policy, failure, attempts=attempts, jitter=jitter)


def test_a_failed_connection_is_tried_again():
    assert wait(Failure()) == 0.25


def test_a_kept_connection_that_was_dead_is_replaced_without_a_wait():
    assert wait(Failure(at_once=True), jitter=0.9) == 0.0


def test_a_dead_kept_connection_counts_against_the_budget():
    assert wait(Failure(at_once=True), attempts=2) is None


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504, 529])
def test_a_status_that_passes_is_tried_again(status):
    assert wait(Failure(status=status)) == 0.25


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 409, 413, 422, 499, 501, 505])
def test_a_status_that_stays_is_not(status):
    assert wait(Failure(status=status)) is None


def test_the_budget_ends():
    assert wait(Failure(status=500), attempts=2) is None


def test_no_budget_means_no_retry():
    assert wait(Failure(), policy=RetryPolicy(retries=0)) is None


def test_the_wait_is_spread_between_half_and_all_of_the_backoff():
    assert wait(Failure(status=500), jitter=0.5) == pytest.approx(0.375)
    assert wait(Failure(status=500), jitter=0.999999) == pytest.approx(0.5, abs=1e-5)


def test_the_backoff_doubles_up_to_its_bound():
    policy = RetryPolicy(retries=10)
    waits = [wait(Failure(status=500), policy=policy, attempts=n) for n in range(1, 7)]
    assert waits == [0.25, 0.5, 1.0, 2.0, 2.0, 2.0]


def test_retry_after_is_waited_for_and_a_little_longer():
    assert wait(Failure(status=529, retry_after_s=2.0)) == 2.0
    assert wait(Failure(status=529, retry_after_s=2.0), jitter=1.0) == 2.25


def test_retry_after_zero_is_no_backoff():
    assert wait(Failure(status=503, retry_after_s=0.0)) == 0.0


@pytest.mark.parametrize("status", [429, 503, 529])
def test_a_long_retry_after_is_left_to_the_client(status):
    assert wait(Failure(status=status, retry_after_s=5.0)) == 5.0
    assert wait(Failure(status=status, retry_after_s=5.1)) is None


def test_a_rate_limit_without_a_time_is_not_tried_again():
    assert wait(Failure(status=429)) is None


@pytest.mark.parametrize("code", ["enforced_spend_limit_reached", "contract_spend_limit_reached"])
def test_a_spend_limit_is_not_tried_again(code):
    assert wait(Failure(status=429, retry_after_s=1.0, error_code=code)) is None


def test_another_cause_of_a_rate_limit_is():
    assert wait(Failure(status=429, retry_after_s=1.0, error_code="ramp_limit_exceeded")) == 1.0


def test_x_should_retry_false_vetoes():
    assert wait(Failure(status=500, should_retry=False)) is None


def test_x_should_retry_true_adds_no_status_to_the_table():
    assert wait(Failure(status=409, should_retry=True)) is None


def test_x_should_retry_true_does_not_shorten_a_wait():
    assert wait(Failure(status=429, should_retry=True, retry_after_s=60.0)) is None


def test_x_should_retry_true_does_not_lengthen_the_budget():
    assert wait(Failure(status=500, should_retry=True), attempts=2) is None
