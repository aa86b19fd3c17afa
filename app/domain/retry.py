"""Whether a failed call of Anthropic is tried again, and after how long: a pure plan, randomness comes in.

Source: ``spec/errors-and-headers.md``, "Retry budget". The official clients retry twice themselves, so the gateway
adds little of its own, and only what is cheap and likely to help. The clock and the sleep are in
``app/upstream/retries.py``.
"""

from __future__ import annotations

from msgspec import Struct

#: Statuses that a second try may cure. 409 is left to the client, every other 4xx would fail again.
RETRIED_STATUSES = frozenset({408, 429, 500, 502, 503, 504, 529})

#: ``error_code`` of a 429 that waiting does not cure: the money is spent.
SPEND_LIMITS = frozenset({"enforced_spend_limit_reached", "contract_spend_limit_reached"})

#: How much later than ``retry-after`` a retry may come: everyone who was refused got the same number.
_SPREAD_S = 0.25


class RetryPolicy(Struct, frozen=True, kw_only=True):
    """How often and how patiently a call is repeated.

    Args:
        retries: attempts after the first one.
        longest_wait_s: a ``retry-after`` beyond this is left to the client, who is told of it.
        first_backoff_s: wait before the first retry when the other side named none; doubles with each further one.
        longest_backoff_s: bound of that doubling.
    """

    retries: int = 1
    longest_wait_s: float = 5.0
    first_backoff_s: float = 0.5
    longest_backoff_s: float = 4.0


class Failure(Struct, frozen=True, kw_only=True):
    """What is known of a failed attempt, of whose reply nothing was handed on.

    Args:
        status: HTTP status, or ``None`` where there was no reply because no connection was had or it broke.
        retry_after_s: what the other side asked for (``retry-after-ms``, ``retry-after``).
        should_retry: header ``x-should-retry``, where there was one.
        error_code: Anthropic's stable cause, where there was one.
        at_once: the other side is well, only a kept connection was dead: waiting would gain nothing.
    """

    status: int | None = None
    retry_after_s: float | None = None
    should_retry: bool | None = None
    error_code: str | None = None
    at_once: bool = False


def wait_before_retry(policy: RetryPolicy, failure: Failure, *, attempts: int, jitter: float) -> float | None:
    """Seconds to wait before the next attempt, or ``None`` to give up.

    ``x-should-retry: false`` always holds; a wait that is too long is never made shorter, but left to the client.

    Args:
        policy: the budget.
        failure: the last attempt.
        attempts: attempts made so far, at least 1.
        jitter: a random number from 0 up to 1.
    """
    if attempts > policy.retries or not _may_help(failure):
        return None
    if failure.at_once:
        return 0.0
    asked_s = failure.retry_after_s
    if asked_s is None:
        backoff_s = min(policy.longest_backoff_s, policy.first_backoff_s * 2.0 ** (attempts - 1))
        return backoff_s * (0.5 + 0.5 * jitter)
    if asked_s > policy.longest_wait_s:
        return None
    return asked_s + _SPREAD_S * jitter


def _may_help(failure: Failure) -> bool:
    if failure.should_retry is False:
        return False
    if failure.status is None:
        return True
    if failure.status == 429:
        # Without a time to wait it is a limit of money or of the account, not of the minute.
        return failure.retry_after_s is not None and failure.error_code not in SPEND_LIMITS
    return failure.status in RETRIED_STATUSES
