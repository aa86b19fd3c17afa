"""Budgets on both stores: the worst case is reserved, what was spent counts, days and months end."""

from __future__ import annotations

import datetime

import pytest

from app.domain.limits import Limits, Refusal, Use
from app.state.connection import StateConnection
from tests.support.ledger_model import DAY_US, SECOND_US, month_number
from tests.support.limiter import DEMAND, Limiter, demand, known
from tests.support.server_clock import START_US, ClockedState
from tests.support.stored_ledger import everything


@pytest.fixture
def clock(state: StateConnection) -> ClockedState:
    return ClockedState(state)


@pytest.fixture
def limiter(clock: ClockedState) -> Limiter:
    return Limiter(clock)


def at(year: int, month: int, day: int) -> int:
    """Midnight that begins a day (UTC), in Unix microseconds."""
    return int(datetime.datetime(year, month, day, tzinfo=datetime.UTC).timestamp()) * SECOND_US


async def spend(limiter: Limiter, nano: int, key_id: str = "jwt-abc") -> None:
    """Money that was spent before."""
    await limiter.settle(f"spent-{nano}", Use(nano=nano), key_id=key_id, admitted=False)


async def reserved(limiter: Limiter, whose: str = "jwt-abc") -> int:
    spend = (await limiter.stored()).books[whose].spend
    assert spend is not None
    return spend.reserved


# What is reserved


async def test_the_worst_case_is_reserved_by_key_and_tenant(limiter: Limiter) -> None:
    limiter.own = Limits(budget_total_nano=1000)
    verdict = await limiter.admit("r1")
    assert (verdict.hold.nano, verdict.max_tokens, verdict.budget_left) == (120, 100, (880, None))
    assert (await reserved(limiter), await reserved(limiter, "*")) == (120, 120)


async def test_without_a_budget_nothing_is_reserved(limiter: Limiter) -> None:
    limiter.own = Limits(requests_per_minute=5)
    assert (await limiter.admit("r1", demand(worst_input_nano=None))).hold.nano == 0
    assert (await limiter.stored()).books["jwt-abc"].spend is None


async def test_a_settlement_turns_what_is_reserved_into_what_is_spent(limiter: Limiter) -> None:
    limiter.tenant = Limits(budget_day_nano=1000)
    await limiter.admit("r1")
    await limiter.settle("r1")
    verdict = await limiter.admit("r2", demand(worst_input_nano=0, max_tokens=0, least_tokens=0))
    assert verdict.budget_left == (None, 1000 - 52)


async def test_a_burst_never_reserves_more_than_the_budget(limiter: Limiter) -> None:
    limiter.own = Limits(budget_total_nano=1000)
    verdicts = [await limiter.admit(f"r{number}", demand(least_tokens=100)) for number in range(20)]
    assert sum(verdict.admitted for verdict in verdicts) == 8
    assert await reserved(limiter) == 960
    assert {verdict.refusal for verdict in verdicts[8:]} == {
        Refusal(whose="key", limit="budget_reserved", retry_after_s=1.0)
    }


async def test_what_running_requests_hold_comes_back_when_they_cost_less(limiter: Limiter) -> None:
    limiter.own = Limits(budget_total_nano=150)
    await limiter.admit("r1")
    refusal = (await limiter.admit("r2", demand(least_tokens=90))).refusal
    assert refusal is not None
    assert (refusal.limit, refusal.spent) == ("budget_reserved", False)
    await limiter.settle("r1", Use(nano=30))
    assert (await limiter.admit("r3", demand(least_tokens=90))).admitted


# The end of a budget


@pytest.mark.parametrize(("left", "granted"), [(120, 100), (119, 99), (70, 50), (21, 1)])
async def test_near_its_end_a_budget_lowers_the_bound_of_output(limiter: Limiter, left: int, granted: int) -> None:
    limiter.own = Limits(budget_total_nano=1000)
    await spend(limiter, 1000 - left)
    verdict = await limiter.admit("r1")
    assert (verdict.admitted, verdict.max_tokens, verdict.budget_left[0]) == (True, granted, 0)
    assert (verdict.hold.output_tokens, verdict.hold.nano) == (granted, left)


async def test_a_bound_below_the_least_that_makes_sense_is_refused(limiter: Limiter) -> None:
    limiter.own = Limits(budget_total_nano=1000)
    await spend(limiter, 1000 - 69)
    assert not (await limiter.admit("r1", demand(least_tokens=50))).admitted
    assert (await limiter.admit("r2", demand(least_tokens=49))).max_tokens == 49


async def test_the_tighter_of_two_budgets_lowers_the_bound(limiter: Limiter) -> None:
    limiter.own, limiter.tenant = Limits(budget_day_nano=90), Limits(budget_month_nano=60)
    verdict = await limiter.admit("r1")
    assert (verdict.max_tokens, verdict.hold.nano, verdict.budget_left) == (40, 60, (30, 0))


async def test_a_lowered_bound_is_that_of_one_of_several_answers(limiter: Limiter) -> None:
    limiter.own = Limits(budget_total_nano=170)
    three = demand(answers=3, output_tokens=300, output_nano_per_token=3)
    verdict = await limiter.admit("r1", three)
    assert (verdict.max_tokens, verdict.hold.output_tokens, verdict.hold.nano) == (50, 150, 170)


@pytest.mark.parametrize(("left", "admitted"), [(20, True), (19, False), (0, False)])
async def test_a_request_without_output_needs_its_input_only(limiter: Limiter, left: int, admitted: bool) -> None:
    limiter.own = Limits(budget_total_nano=1000)
    await spend(limiter, 1000 - left)
    prewarm = demand(output_tokens=0, max_tokens=0, least_tokens=0)
    verdict = await limiter.admit("r1", prewarm)
    assert (verdict.admitted, verdict.max_tokens, verdict.hold.nano) == (admitted, 0, 20 if admitted else 0)


async def test_output_that_costs_nothing_needs_no_lower_bound(limiter: Limiter) -> None:
    limiter.own = Limits(budget_total_nano=20)
    assert (await limiter.admit("r1", demand(output_nano_per_token=0))).max_tokens == 100
    assert not (await limiter.admit("r2", demand(output_nano_per_token=0))).admitted


@pytest.mark.parametrize("whose", ["own", "tenant"])
async def test_a_cost_that_cannot_be_bounded_is_refused_under_a_budget(limiter: Limiter, whose: str) -> None:
    setattr(limiter, whose, Limits(budget_month_nano=10**15))
    before = await everything(limiter.state)
    verdict = await limiter.admit("r1", demand(worst_input_nano=None))
    assert (verdict.admitted, verdict.unbounded, verdict.refusal) == (False, True, None)
    assert await everything(limiter.state) == before


async def test_an_overspent_budget_has_nothing_left(limiter: Limiter) -> None:
    limiter.own = Limits(budget_total_nano=100)
    await spend(limiter, 5000)
    verdict = await limiter.admit("r1")
    assert verdict.budget_left == (0, None)
    assert verdict.refusal == Refusal(whose="key", limit="budget_total_nano", retry_after_s=None, spent=True)


async def test_the_largest_budgets_stay_exact(limiter: Limiter) -> None:
    largest = 10**15
    limiter.own = limiter.tenant = Limits(budget_day_nano=largest, budget_month_nano=largest, budget_total_nano=largest)
    await spend(limiter, largest - 121)
    assert (await limiter.admit("r1")).budget_left == (1, 1)
    await limiter.settle("r1", Use(nano=119))
    spent = (await limiter.stored()).books["*"].spend
    assert spent is not None
    assert (spent.of_day, spent.of_month, spent.total, spent.reserved) == (largest - 2, largest - 2, largest - 2, 0)
    usage = (await limiter.stored()).usage["jwt-abc", START_US // DAY_US]
    assert sum(count for (_, kind), count in usage.items() if kind == "cost") == largest - 2


# Days and months


async def test_a_day_ends_at_midnight_and_its_spend_with_it(limiter: Limiter, clock: ClockedState) -> None:
    limiter.own = Limits(budget_day_nano=100, budget_total_nano=10_000)
    await spend(limiter, 100)
    refusal = (await limiter.admit("r1")).refusal
    assert refusal == Refusal(whose="key", limit="budget_day_nano", retry_after_s=43_200.0, spent=True)
    clock.now_us += 43_200 * SECOND_US - 1
    assert not (await limiter.admit("r2")).admitted
    clock.now_us += 1
    assert (await limiter.admit("r3")).budget_left == (0, None)
    spent = (await limiter.stored()).books["jwt-abc"].spend
    assert spent is not None
    assert (spent.of_day, spent.of_month, spent.total) == (0, 100, 100)


@pytest.mark.parametrize(
    ("now", "next_month"),
    [
        (at(2024, 2, 28), at(2024, 3, 1)),
        (at(2024, 2, 29), at(2024, 3, 1)),
        (at(2025, 2, 28), at(2025, 3, 1)),
        (at(2027, 12, 31), at(2028, 1, 1)),
        (at(2028, 4, 30), at(2028, 5, 1)),
        (at(2100, 2, 28), at(2100, 3, 1)),
        (at(2000, 2, 28), at(2000, 3, 1)),
    ],
)
async def test_a_month_ends_with_its_last_day(limiter: Limiter, clock: ClockedState, now: int, next_month: int) -> None:
    clock.now_us = now
    limiter.tenant = Limits(budget_month_nano=100)
    await spend(limiter, 100)
    refusal = (await limiter.admit("r1")).refusal
    assert refusal is not None
    assert (refusal.whose, refusal.limit) == ("tenant", "budget_month_nano")
    assert refusal.retry_after_s == (next_month - now) / SECOND_US
    clock.now_us = next_month - 1
    assert not (await limiter.admit("r2")).admitted
    clock.now_us = next_month
    assert (await limiter.admit("r3")).admitted


async def test_what_is_reserved_over_midnight_stays_reserved(limiter: Limiter, clock: ClockedState) -> None:
    limiter.own = Limits(budget_day_nano=150)
    await limiter.admit("r1")
    clock.now_us += DAY_US
    await limiter.renew("r1")
    assert (await limiter.admit("r2", demand(least_tokens=90))).refusal is not None
    await limiter.settle("r1", Use(nano=40))
    spent = (await limiter.stored()).books["jwt-abc"].spend
    assert spent is not None
    assert (spent.day, spent.of_day, spent.reserved) == (clock.now_us // DAY_US, 40, 0)


async def test_a_clock_that_goes_back_over_midnight_stays_on_the_later_day(
    limiter: Limiter, clock: ClockedState
) -> None:
    limiter.own = Limits(budget_day_nano=100, budget_month_nano=100)
    await spend(limiter, 100)
    clock.now_us -= 40 * DAY_US
    refusal = (await limiter.admit("r1")).refusal
    assert refusal is not None
    assert refusal.spent
    await spend(limiter, 7)
    spent = (await limiter.stored()).books["jwt-abc"].spend
    assert spent is not None
    assert (spent.day, spent.month) == (START_US // DAY_US, month_number(START_US // DAY_US))
    assert (spent.of_day, spent.of_month, spent.total) == (107, 107, 107)


async def test_a_budget_that_is_raised_admits_at_once(limiter: Limiter) -> None:
    limiter.own = Limits(budget_total_nano=100)
    await spend(limiter, 100)
    assert not (await limiter.admit("r1")).admitted
    limiter.own = Limits(budget_total_nano=220)
    assert (await limiter.admit("r2")).admitted


async def test_keys_spend_the_budget_of_their_tenant_together(limiter: Limiter) -> None:
    limiter.own, limiter.tenant = Limits(budget_day_nano=500), Limits(budget_day_nano=300)
    await spend(limiter, 250, key_id="jwt-a")
    verdict = await limiter.admit("r1", DEMAND, caller=known("jwt-b"))
    assert (verdict.max_tokens, verdict.budget_left) == (30, (450, 0))
    assert set((await limiter.stored()).books) == {"jwt-a", "jwt-b", "*"}
