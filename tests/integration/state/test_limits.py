"""Admission on both stores: who is let in, which limit refuses, when it frees up, and that a refusal takes nothing."""

from __future__ import annotations

import pytest

from app.domain.auth import Caller
from app.domain.limits import Gauge, Hold, Limits, Refusal, Use
from app.state.connection import StateConnection
from tests.support.ledger_model import DAY_US, LEASE_US, SECOND_US, UNIT, Rates
from tests.support.limiter import DEMAND, MODEL, Limiter, demand, known, presented, secret_hash
from tests.support.server_clock import START_US, ClockedState
from tests.support.stored_ledger import everything

START_S = START_US // SECOND_US


@pytest.fixture
def clock(state: StateConnection) -> ClockedState:
    return ClockedState(state)


@pytest.fixture
def limiter(clock: ClockedState) -> Limiter:
    return Limiter(clock)


# Who is let in


async def test_without_limits_everybody_is_admitted(limiter: Limiter) -> None:
    verdict = await limiter.admit("r1")
    assert verdict.admitted
    assert (verdict.requests, verdict.tokens, verdict.budget_left) == (None, None, (None, None))
    assert (verdict.max_tokens, verdict.hold) == (100, Hold(input_tokens=10, output_tokens=100))
    assert verdict.key is None


@pytest.mark.parametrize(
    ("fault", "fields", "caller"),
    [
        ("unknown_key", {}, presented("key2")),
        ("unknown_key", {}, presented("key1", "guessed")),
        ("revoked", {"revoked_at": 1.0}, presented("key1")),
        ("expired", {"expires_at": float(START_S)}, presented("key1")),
        ("scope", {"scopes": ("admin", "sessions")}, presented("key1")),
        ("model", {"models": ("claude-haiku-4-5", "opus-*", "claude-opus")}, presented("key1")),
    ],
)
async def test_a_key_that_is_not_good_is_refused_and_touches_nothing(
    limiter: Limiter, fault: str, fields: dict[str, object], caller: Caller
) -> None:
    await limiter.stored_key(**fields)
    before = await everything(limiter.state)
    verdict = await limiter.admit("r1", caller=caller)
    assert (verdict.admitted, verdict.key_fault, verdict.key) == (False, fault, None)
    assert await everything(limiter.state) == before


@pytest.mark.parametrize(
    "fields",
    [
        {"expires_at": START_S + 0.000001},
        {"scopes": ("sessions", "inference")},
        {"models": ("claude-haiku-4-5", "opus")},
        {"models": ("claude-haiku-4-5", "claude-opus-*")},
        {"models": ("*",)},
        {"models": (MODEL,)},
    ],
)
async def test_a_key_that_is_good_is_let_in(limiter: Limiter, fields: dict[str, object]) -> None:
    assert (await limiter.admit("r1", caller=await limiter.stored_key(**fields))).admitted


async def test_the_first_fault_of_several_is_told(limiter: Limiter) -> None:
    everything_wrong = {"revoked_at": 1.0, "expires_at": 1.0, "scopes": (), "models": ("x",)}
    await limiter.stored_key(**everything_wrong)
    assert (await limiter.admit("r1", caller=presented("key1", "guessed"))).key_fault == "unknown_key"
    assert (await limiter.admit("r2", caller=presented("key1"))).key_fault == "revoked"


async def test_the_secret_before_the_last_rotation_is_good_for_its_grace(limiter: Limiter, clock: ClockedState) -> None:
    await limiter.stored_key(previous_hash=secret_hash("old").hex(), previous_until=START_S + 60.0)
    clock.now_us = START_US + 60 * SECOND_US - 1
    assert (await limiter.admit("r1", caller=presented("key1", "old"))).admitted
    clock.now_us += 1
    assert (await limiter.admit("r2", caller=presented("key1", "old"))).key_fault == "unknown_key"
    assert (await limiter.admit("r3", caller=presented("key1"))).admitted


async def test_the_record_comes_along_when_the_worker_has_another_version(limiter: Limiter) -> None:
    caller = await limiter.stored_key(version=7, name="batch")
    verdict = await limiter.admit("r1", caller=caller, known_version=6)
    assert verdict.key is not None
    assert (verdict.key.name, verdict.key.version) == ("batch", 7)
    assert (await limiter.admit("r2", caller=caller, known_version=7)).key is None


async def test_a_refused_request_brings_the_record_too(limiter: Limiter) -> None:
    caller = await limiter.stored_key(limits=Limits(budget_total_nano=0))
    verdict = await limiter.admit("r1", caller=caller)
    assert verdict.refusal is not None
    assert verdict.key is not None


# Whose limits


async def test_limits_of_the_record_come_before_defaults_one_by_one(limiter: Limiter) -> None:
    limiter.own = Limits(requests_per_minute=1, output_tokens_per_minute=500)
    caller = await limiter.stored_key(limits=Limits(requests_per_minute=7, input_tokens_per_minute=300))
    verdict = await limiter.admit("r1", caller=caller)
    assert verdict.requests == Gauge(limit=7, left=6, full_in_s=pytest.approx(60 / 7))
    assert verdict.tokens is not None
    assert (verdict.tokens.limit, verdict.tokens.left) == (800, 290 + 400)


async def test_the_numbers_are_those_of_whoever_has_less_left(limiter: Limiter) -> None:
    limiter.own = Limits(requests_per_minute=50, input_tokens_per_minute=1000)
    limiter.tenant = Limits(requests_per_minute=60, input_tokens_per_minute=600, output_tokens_per_minute=300)
    first = await limiter.admit("r1")
    assert (first.requests, first.tokens) == (
        Gauge(limit=50, left=49, full_in_s=1.2),
        Gauge(limit=900, left=590 + 200, full_in_s=20.0),
    )
    for number in range(2, 21):
        await limiter.admit(f"r{number}", demand(output_tokens=0), caller=known("jwt-other"))
    last = await limiter.admit("r21")
    assert (last.requests, last.tokens) == (
        Gauge(limit=60, left=39, full_in_s=21.0),
        Gauge(limit=900, left=390 + 100, full_in_s=40.0),
    )


async def test_two_keys_share_the_limits_of_their_tenant_and_not_their_own(limiter: Limiter) -> None:
    limiter.own, limiter.tenant = Limits(requests_per_minute=2), Limits(requests_per_minute=3)
    callers = [known("jwt-a"), known("jwt-a"), known("jwt-b"), known("jwt-b")]
    verdicts = [await limiter.admit(f"r{number}", caller=caller) for number, caller in enumerate(callers)]
    assert [verdict.admitted for verdict in verdicts] == [True, True, True, False]
    assert verdicts[-1].refusal == Refusal(whose="tenant", limit="requests_per_minute", retry_after_s=20.0)


async def test_tenants_share_nothing(limiter: Limiter) -> None:
    limiter.tenant = Limits(requests_per_minute=1)
    other = Caller(tag="other", key_id="jwt-abc")
    assert [
        (await limiter.admit(f"r{number}", caller=caller)).admitted for number, caller in enumerate([known(), other])
    ]


# Which limit refuses

_LIMITS = {
    "requests_per_minute": (Limits(requests_per_minute=1), 60.0, False),
    "input_tokens_per_minute": (Limits(input_tokens_per_minute=10), 1e-6, False),
    "output_tokens_per_minute": (Limits(output_tokens_per_minute=100), 1e-6, False),
    "concurrency": (Limits(concurrency=1), 1.0, False),
    "budget_day_nano": (Limits(budget_day_nano=140), 43_200.0, True),
    "budget_month_nano": (Limits(budget_month_nano=140), 16.5 * 86_400, True),
    "budget_total_nano": (Limits(budget_total_nano=140), None, True),
    "budget_reserved": (Limits(budget_total_nano=140), 1.0, False),
}


@pytest.mark.parametrize("limit", _LIMITS)
@pytest.mark.parametrize("whose", ["key", "tenant"])
async def test_a_limit_that_is_used_up_refuses_and_takes_nothing_from_any_scope(
    limiter: Limiter, whose: str, limit: str
) -> None:
    bounds, wait, spent = _LIMITS[limit]
    roomy = Limits(
        requests_per_minute=1000,
        input_tokens_per_minute=1000,
        output_tokens_per_minute=1000,
        concurrency=1000,
        budget_total_nano=10_000,
    )
    limiter.own, limiter.tenant = (bounds, roomy) if whose == "key" else (roomy, bounds)
    assert (await limiter.admit("r1")).admitted
    if spent:
        await limiter.settle("r1", Use(input_tokens=10, output_tokens=100, nano=120))
    before = await everything(limiter.state)
    verdict = await limiter.admit("r2", demand(least_tokens=100))
    assert verdict.refusal == Refusal(whose=whose, limit=limit, retry_after_s=wait, spent=spent)
    assert (verdict.admitted, verdict.hold, verdict.max_tokens) == (False, Hold(), 0)
    assert await everything(limiter.state) == before


async def test_of_several_limits_the_longest_wait_is_told(limiter: Limiter) -> None:
    limiter.own = Limits(requests_per_minute=1, concurrency=1)
    limiter.tenant = Limits(requests_per_minute=2, input_tokens_per_minute=10)
    await limiter.admit("r1")
    refusal = (await limiter.admit("r2")).refusal
    assert refusal == Refusal(whose="key", limit="requests_per_minute", retry_after_s=60.0)


async def test_a_limit_that_never_frees_up_is_the_longest_wait(limiter: Limiter) -> None:
    limiter.own = Limits(budget_day_nano=0, budget_total_nano=0, budget_month_nano=0, requests_per_minute=1)
    limiter.tenant = Limits(budget_month_nano=0)
    refusal = (await limiter.admit("r1")).refusal
    assert refusal == Refusal(whose="key", limit="budget_total_nano", retry_after_s=None, spent=True)


# Rates


@pytest.mark.parametrize("limit", [1, 7, 60, 1_000_003, 100_000_000])
async def test_a_rate_frees_up_at_the_told_microsecond(limiter: Limiter, clock: ClockedState, limit: int) -> None:
    limiter.own = Limits(input_tokens_per_minute=limit)
    await limiter.admit("r1", demand(input_tokens=3 * limit + 1))
    refusal = (await limiter.admit("r2")).refusal
    assert refusal is not None
    assert refusal.retry_after_s is not None
    wait_us = round(refusal.retry_after_s * SECOND_US)
    assert wait_us == -(-((2 * limit + 1) * UNIT + 1) // limit)
    clock.now_us += wait_us - 1
    assert not (await limiter.admit("r3")).admitted
    clock.now_us += 1
    assert (await limiter.admit("r4")).admitted


async def test_a_positive_balance_admits_more_than_it_holds_and_goes_into_debt(
    limiter: Limiter, clock: ClockedState
) -> None:
    limiter.own = Limits(output_tokens_per_minute=60)
    await limiter.admit("r1", demand(output_tokens=59))
    assert (await limiter.admit("r2", demand(output_tokens=100))).admitted
    await limiter.settle("r1", Use(output_tokens=59))
    await limiter.settle("r2", Use(output_tokens=100))
    stored = (await limiter.stored()).books["jwt-abc"].rates
    assert stored == Rates(START_US, {"output": -99 * UNIT})
    clock.now_us += 99 * SECOND_US
    assert not (await limiter.admit("r3")).admitted
    clock.now_us += 1
    assert (await limiter.admit("r4")).admitted


async def test_a_rate_never_holds_more_than_a_minute(limiter: Limiter, clock: ClockedState) -> None:
    limiter.own = Limits(requests_per_minute=3)
    await limiter.admit("r1")
    clock.now_us += 400 * DAY_US
    assert [(await limiter.admit(f"s{number}")).admitted for number in range(4)] == [True, True, True, False]


async def test_a_clock_that_goes_back_refills_nothing_and_takes_nothing(limiter: Limiter, clock: ClockedState) -> None:
    limiter.own = Limits(requests_per_minute=60)
    await limiter.admit("r1")
    clock.now_us -= DAY_US
    verdict = await limiter.admit("r2")
    assert verdict.requests == Gauge(limit=60, left=58, full_in_s=2.0)
    clock.now_us += 2 * SECOND_US
    assert (await limiter.admit("r3")).requests == Gauge(limit=60, left=59, full_in_s=1.0)


async def test_a_lower_limit_cuts_the_balance_and_a_higher_one_lets_it_grow(
    limiter: Limiter, clock: ClockedState
) -> None:
    for limit, left in [(100, 99), (10, 9), (1000, 8)]:
        limiter.own = Limits(requests_per_minute=limit)
        verdict = await limiter.admit(f"r{limit}")
        assert verdict.requests is not None
        assert verdict.requests.left == left
    clock.now_us += 30 * SECOND_US
    verdict = await limiter.admit("r")
    assert verdict.requests == Gauge(limit=1000, left=507, full_in_s=pytest.approx(29.58))


async def test_a_limit_that_is_set_anew_begins_full(limiter: Limiter) -> None:
    limiter.own = Limits(requests_per_minute=5, input_tokens_per_minute=100)
    await limiter.admit("r1")
    limiter.own = Limits(input_tokens_per_minute=100)
    await limiter.admit("r2")
    limiter.own = Limits(requests_per_minute=5, input_tokens_per_minute=100)
    verdict = await limiter.admit("r3")
    assert verdict.requests == Gauge(limit=5, left=4, full_in_s=12.0)
    assert verdict.tokens == Gauge(limit=100, left=70, full_in_s=18.0)


async def test_the_largest_limits_stay_exact(limiter: Limiter, clock: ClockedState) -> None:
    largest = 100_000_000
    limiter.own = Limits(requests_per_minute=largest, input_tokens_per_minute=largest)
    for number in range(10):
        await limiter.admit(f"r{number}", demand(input_tokens=9_999_999))
    rates = (await limiter.stored()).books["jwt-abc"].rates
    assert rates == Rates(START_US, {"requests": (largest - 10) * UNIT, "input": 10 * UNIT})
    clock.now_us += 1
    await limiter.admit("last", demand(input_tokens=0))
    rates = (await limiter.stored()).books["jwt-abc"].rates
    assert rates is not None
    assert rates.left == {"requests": (largest - 11) * UNIT + largest, "input": 10 * UNIT + largest}


async def test_output_is_expected_as_the_client_bounds_it_for_all_answers(limiter: Limiter) -> None:
    several = demand(output_tokens=300, answers=3)
    assert (await limiter.admit("r1", several)).hold.output_tokens == 300


async def test_output_without_a_bound_is_expected_by_the_mean_of_the_model(limiter: Limiter) -> None:
    open_end = demand(output_tokens=None, max_tokens=32_000)
    assert (await limiter.admit("r1", open_end)).hold.output_tokens == 1000
    await limiter.settle("r1")
    assert (await limiter.admit("r2", open_end)).hold.output_tokens == 40
    other_model = demand(output_tokens=None, max_tokens=500, model="claude-haiku-4-5")
    assert (await limiter.admit("r3", other_model)).hold.output_tokens == 500


# Concurrency


async def test_a_settled_request_frees_its_slot(limiter: Limiter) -> None:
    limiter.own = Limits(concurrency=2)
    assert [(await limiter.admit(f"r{number}")).admitted for number in range(3)] == [True, True, False]
    await limiter.settle("r0")
    assert [(await limiter.admit(f"s{number}")).admitted for number in range(2)] == [True, False]


async def test_a_lease_that_is_not_renewed_frees_its_slot_when_it_ends(limiter: Limiter, clock: ClockedState) -> None:
    limiter.tenant = Limits(concurrency=1)
    await limiter.admit("r1")
    clock.now_us += LEASE_US - 1
    assert not (await limiter.admit("r2")).admitted
    clock.now_us += 1
    assert (await limiter.admit("r3")).admitted


async def test_a_renewed_lease_keeps_its_slot(limiter: Limiter, clock: ClockedState) -> None:
    limiter.own = limiter.tenant = Limits(concurrency=1)
    await limiter.admit("r1")
    for number in range(10):
        clock.now_us += LEASE_US - 1
        assert await limiter.renew("r1")
        assert not (await limiter.admit(f"s{number}")).admitted


async def test_leases_of_a_later_time_do_not_block_after_the_clock_went_back(
    limiter: Limiter, clock: ClockedState
) -> None:
    limiter.own = Limits(concurrency=2)
    await limiter.admit("r1")
    await limiter.admit("r2")
    clock.now_us -= 3600 * SECOND_US
    assert (await limiter.admit("r3")).admitted
    await limiter.renew("r1")
    assert not (await limiter.admit("r4")).admitted


async def test_a_request_that_is_repeated_holds_one_slot(limiter: Limiter) -> None:
    limiter.own = Limits(concurrency=2)
    assert [(await limiter.admit("r1")).admitted for _ in range(3)] == [True, True, True]
    assert [(await limiter.admit(f"s{number}")).admitted for number in range(2)] == [True, False]


async def test_the_server_keeps_the_time(state: StateConnection) -> None:
    limiter = Limiter(state, own=Limits(requests_per_minute=60, concurrency=1))
    first = await limiter.admit("r1")
    assert first.requests == Gauge(limit=60, left=59, full_in_s=1.0)
    seconds, micros = map(int, await state.call("TIME"))
    stored = (await limiter.stored()).books["jwt-abc"]
    assert stored.rates is not None
    assert 0 <= seconds * SECOND_US + micros - stored.rates.at < 60 * SECOND_US
    assert stored.live == {"r1": stored.rates.at + LEASE_US}
    refusal = (await limiter.admit("r2")).refusal
    assert refusal == Refusal(whose="key", limit="concurrency", retry_after_s=1.0)


async def test_a_record_without_limits_has_the_defaults(limiter: Limiter) -> None:
    limiter.own = Limits(requests_per_minute=4)
    verdict = await limiter.admit("r1", DEMAND, caller=await limiter.stored_key())
    assert verdict.requests == Gauge(limit=4, left=3, full_in_s=15.0)
