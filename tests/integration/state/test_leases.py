"""Leases on both stores: renewed, lost, run out, settled; in every order, again, and for keys of the same tenant."""

from __future__ import annotations

import pytest

from app.domain.limits import Hold, Limits, Use
from app.errors import StateError
from app.state import keys
from app.state.connection import StateConnection
from tests.support.ledger_model import DAY_US, LEASE_US, SECOND_US, SWEEP, UNIT, Lease, Spend
from tests.support.limiter import HIT, MODEL, NOTHING, TAG, USE, Limiter, demand, known
from tests.support.server_clock import START_US, ClockedState
from tests.support.stored_ledger import everything

TODAY = START_US // DAY_US
WHO = "jwt-abc"
#: Every limit is set, so that everything is counted.
BOUNDS = Limits(
    requests_per_minute=1000,
    input_tokens_per_minute=10_000,
    output_tokens_per_minute=10_000,
    concurrency=100,
    budget_total_nano=100_000,
)


@pytest.fixture
def clock(state: StateConnection) -> ClockedState:
    return ClockedState(state)


@pytest.fixture
def limiter(clock: ClockedState) -> Limiter:
    return Limiter(clock, own=BOUNDS, tenant=BOUNDS)


async def taken(limiter: Limiter, whose: str = WHO) -> tuple[float, float, float]:
    """What is missing from the full rates, in requests and tokens."""
    rates = (await limiter.stored()).books[whose].rates
    assert rates is not None
    full = {"requests": 1000, "input": 10_000, "output": 10_000}
    requests, inputs, outputs = (full[name] - balance / UNIT for name, balance in rates.left.items())
    return requests, inputs, outputs


async def money(limiter: Limiter, whose: str = WHO) -> tuple[int, int]:
    """Nano-dollars spent in all, and reserved."""
    spend = (await limiter.stored()).books[whose].spend or Spend(0, 0)
    return spend.total, spend.reserved


async def used(limiter: Limiter, key_id: str = WHO, day: int = TODAY) -> dict[str, int]:
    """What a key has used of the model on a day."""
    usage = (await limiter.stored()).usage.get((key_id, day), {})
    return {kind: count for (model, kind), count in usage.items() if model == MODEL and count}


SETTLED = {"requests": 1, "input": 8, "cache_write": 3, "cache_read": 500, "output": 40, "cost": 52}


# Settlement


async def test_an_admission_takes_what_is_expected_and_a_settlement_corrects_it(limiter: Limiter) -> None:
    await limiter.admit("r1")
    for whose in (WHO, "*"):
        assert (await taken(limiter, whose), await money(limiter, whose)) == ((1, 10, 100), (0, 120))
    assert await limiter.settle("r1")
    for whose in (WHO, "*"):
        assert (await taken(limiter, whose), await money(limiter, whose)) == ((1, 11, 40), (52, 0))
        assert (await limiter.stored()).books[whose].live == {}
    assert await used(limiter) == SETTLED


@pytest.mark.parametrize("admitted", [True, False])
@pytest.mark.parametrize("again", [True, False])
async def test_a_repeated_settlement_counts_once(limiter: Limiter, admitted: bool, again: bool) -> None:
    await limiter.admit("r1")
    assert await limiter.settle("r1", admitted=admitted)
    before = await everything(limiter.state)
    assert not await limiter.settle("r1", Use(nano=9, input_tokens=9), admitted=admitted, again=again)
    assert await everything(limiter.state) == before


async def test_a_repeated_admission_answers_as_before_and_takes_nothing(limiter: Limiter) -> None:
    first = await limiter.admit("r1")
    before = await everything(limiter.state)
    limiter.own = limiter.tenant = Limits(
        budget_total_nano=0, requests_per_minute=1000, input_tokens_per_minute=10_000, output_tokens_per_minute=10_000
    )
    again = await limiter.admit("r1", demand(input_tokens=900, output_tokens=900))
    assert (again.admitted, again.hold, again.max_tokens) == (True, first.hold, first.max_tokens)
    assert (again.requests, again.tokens) == (first.requests, first.tokens)
    assert await everything(limiter.state) == before


async def test_an_admission_after_its_settlement_takes_nothing(limiter: Limiter) -> None:
    await limiter.settle("r1", NOTHING, admitted=False)
    before = await everything(limiter.state)
    with pytest.raises(StateError, match="settled before it was admitted"):
        await limiter.admit("r1")
    assert await everything(limiter.state) == before


async def test_a_request_that_was_never_sent_gives_everything_back(limiter: Limiter) -> None:
    await limiter.admit("r1")
    await limiter.settle("r1", NOTHING)
    for whose in (WHO, "*"):
        assert (await taken(limiter, whose), await money(limiter, whose)) == ((0, 0, 0), (0, 0))
        assert (await limiter.stored()).books[whose].live == {}
    assert await used(limiter) == {}


async def test_an_answer_from_the_cache_gives_everything_back_and_is_counted(limiter: Limiter) -> None:
    await limiter.admit("r0")
    await limiter.settle("r0")
    before = {whose: (await taken(limiter, whose), await money(limiter, whose)) for whose in (WHO, "*")}
    await limiter.admit("r1")
    await limiter.settle("r1", HIT)
    for whose in (WHO, "*"):
        assert (await taken(limiter, whose), await money(limiter, whose)) == before[whose]
        assert (await limiter.stored()).books[whose].live == {}
    assert await used(limiter) == SETTLED | {"hits": 1}
    assert (await limiter.stored()).means == {MODEL: 40}


async def test_a_cached_answer_whose_lease_ran_out_takes_the_charge_back(limiter: Limiter, clock: ClockedState) -> None:
    await limiter.admit("r1")
    clock.now_us += LEASE_US
    await limiter.admit("r2")
    await limiter.settle("r1", HIT)
    assert await money(limiter) == (0, 120)
    assert await used(limiter) == {"hits": 1}


async def test_what_was_admitted_without_the_store_is_counted_afterwards(limiter: Limiter) -> None:
    await limiter.admit("r0")
    assert await limiter.settle("sum", Use(input_tokens=30, output_tokens=70, nano=90, requests=3), admitted=False)
    assert await taken(limiter) == (1 + 3, 10 + 30, 100 + 70)
    assert await money(limiter) == (90, 120)
    assert await used(limiter) == {"requests": 3, "input": 30, "output": 70, "cost": 90}


async def test_a_settlement_whose_lease_was_lost_takes_no_second_request(limiter: Limiter) -> None:
    await limiter.admit("r1")
    await limiter.state.call("DEL", keys.lease(TAG, "r1"))
    assert await limiter.settle("r1")
    assert await taken(limiter) == (1, 10 + 11, 100 + 40)
    assert (await limiter.stored()).books[WHO].live == {}
    assert (await limiter.stored()).books["*"].live == {}


async def test_a_settlement_sent_again_after_its_note_is_gone_was_made(limiter: Limiter) -> None:
    await limiter.admit("r1")
    await limiter.settle("r1")
    await limiter.state.call("DEL", keys.lease(TAG, "r1"))
    before = await everything(limiter.state)
    assert not await limiter.settle("r1", again=True)
    assert await everything(limiter.state) == before


async def test_a_settlement_sent_again_of_which_the_store_knows_nothing_is_made(limiter: Limiter) -> None:
    assert await limiter.settle("r1", admitted=False, again=True)
    assert await money(limiter) == (52, 0)


async def test_more_than_was_expected_is_taken_too(limiter: Limiter) -> None:
    await limiter.admit("r1")
    await limiter.settle("r1", Use(input_tokens=500, output_tokens=900, nano=5000))
    assert (await taken(limiter), await money(limiter)) == ((1, 500, 900), (5000, 0))


async def test_an_estimate_is_marked(limiter: Limiter) -> None:
    await limiter.admit("r1")
    await limiter.settle("r1", Use(output_tokens=7, nano=70, estimated=True))
    await limiter.admit("r2")
    await limiter.settle("r2", Use(output_tokens=5, nano=50))
    assert await used(limiter) == {"requests": 2, "output": 12, "cost": 120, "estimated": 70}


async def test_usage_is_kept_by_day_and_model(limiter: Limiter, clock: ClockedState) -> None:
    for number, (day, model) in enumerate([(0, "opus"), (0, "haiku"), (1, "opus"), (1, "opus")]):
        clock.now_us = START_US + day * DAY_US
        await limiter.settle(f"r{number}", Use(output_tokens=10 + number, nano=1), model=model, admitted=False)
    usage = (await limiter.stored()).usage
    assert {where: counts["opus", "output"] for where, counts in usage.items()} == {
        (WHO, TODAY): 10,
        (WHO, TODAY + 1): 12 + 13,
    }
    assert usage[WHO, TODAY]["haiku", "output"] == 11


async def test_the_mean_follows_complete_answers_only(limiter: Limiter) -> None:
    means = []
    for number, (output, complete) in enumerate([(800, True), (5, False), (0, True), (0, True), (10_000, True)]):
        use = Use(output_tokens=output, complete=complete)
        await limiter.settle(f"r{number}", use, admitted=False)
        means.append((await limiter.stored()).means[MODEL])
    assert means == [800, 800, 700, 612, 1786]  # 612.5 goes to the even number


# Renewal


async def test_a_renewal_tops_the_rates_up_and_never_gives_back(limiter: Limiter) -> None:
    await limiter.admit("r1")
    await limiter.renew("r1", Use(input_tokens=4, cache_write_tokens=3, output_tokens=60, nano=30))
    assert (await taken(limiter), await money(limiter)) == ((1, 10, 100), (0, 120))
    await limiter.renew("r1", Use(input_tokens=9, cache_write_tokens=3, output_tokens=150, nano=31))
    await limiter.renew("r1", Use(input_tokens=9, cache_write_tokens=3, output_tokens=150, nano=31))
    assert (await taken(limiter), await money(limiter)) == ((1, 12, 150), (0, 120))
    await limiter.settle("r1")
    assert (await taken(limiter), await money(limiter)) == ((1, 11, 40), (52, 0))


async def test_a_renewal_after_the_settlement_does_nothing(limiter: Limiter) -> None:
    await limiter.admit("r1")
    await limiter.settle("r1")
    before = await everything(limiter.state)
    assert not await limiter.renew("r1", USE)
    assert await everything(limiter.state) == before


async def test_a_renewal_puts_back_what_the_store_has_lost(limiter: Limiter, clock: ClockedState) -> None:
    await limiter.admit("r1")
    await limiter.state.call("FLUSHALL")
    await limiter.admit("r2")
    assert await limiter.renew("r1", Use(input_tokens=12, output_tokens=5, nano=17))
    assert (await taken(limiter), await money(limiter)) == ((1, 10 + 12, 200), (0, 240))
    assert (await limiter.stored()).books["*"].live == {"r1": START_US + LEASE_US, "r2": START_US + LEASE_US}
    assert (await limiter.stored()).leases["r1"] == Lease(
        "A",
        WHO,
        MODEL,
        input=12,
        output=100,
        reserved=120,
        told_input=12,
        told_output=5,
        told_cost=17,
        max_tokens=100,
    )
    await limiter.settle("r1")
    await limiter.settle("r2")
    assert await money(limiter) == (104, 0)


async def test_a_renewal_in_the_nick_of_time_is_as_good_as_any(limiter: Limiter, clock: ClockedState) -> None:
    await limiter.admit("r1")
    clock.now_us += 3 * LEASE_US
    assert await limiter.renew("r1")
    await limiter.admit("r2")
    assert set((await limiter.stored()).books["*"].live) == {"r1", "r2"}
    assert await money(limiter) == (0, 240)


# Leases that ran out


async def test_a_lease_that_ran_out_is_charged_at_its_last_report(limiter: Limiter, clock: ClockedState) -> None:
    await limiter.admit("r1")
    await limiter.renew("r1", Use(input_tokens=7, output_tokens=30, nano=37))
    clock.now_us += LEASE_US
    await limiter.admit("r2")
    for whose in (WHO, "*"):
        assert await money(limiter, whose) == (37, 120)
        assert set((await limiter.stored()).books[whose].live) == {"r2"}
    assert await used(limiter) == {"requests": 1, "input": 7, "output": 30, "cost": 37, "estimated": 37}
    await limiter.settle("r2", NOTHING)
    lease = (await limiter.stored()).leases["r1"]
    assert (lease.state, lease.charged, lease.reserved) == ("X", 37, 0)


async def test_a_lease_that_nobody_reported_on_is_charged_for_its_expected_input(
    limiter: Limiter, clock: ClockedState
) -> None:
    await limiter.admit("r1")
    clock.now_us += LEASE_US
    await limiter.admit("r2")
    assert await money(limiter) == (10, 120)
    assert await used(limiter) == {"requests": 1, "input": 10, "cost": 10, "estimated": 10}


async def test_a_late_settlement_corrects_once(limiter: Limiter, clock: ClockedState) -> None:
    await limiter.admit("r1")
    await limiter.renew("r1", Use(input_tokens=7, output_tokens=30, nano=37))
    clock.now_us += LEASE_US
    await limiter.admit("r2")
    await limiter.settle("r2", NOTHING)
    assert await limiter.settle("r1")
    assert not await limiter.settle("r1", again=True)
    for whose in (WHO, "*"):
        assert await money(limiter, whose) == (52, 0)
    assert await used(limiter) == SETTLED


async def test_a_late_settlement_of_what_was_never_sent_takes_the_charge_back(
    limiter: Limiter, clock: ClockedState
) -> None:
    await limiter.admit("r1")
    clock.now_us += LEASE_US
    await limiter.admit("r2")
    await limiter.settle("r1", NOTHING)
    assert await money(limiter) == (0, 120)
    assert await used(limiter) == {}


async def test_a_late_renewal_restores_the_lease_and_takes_the_charge_back(
    limiter: Limiter, clock: ClockedState
) -> None:
    await limiter.admit("r1")
    clock.now_us += LEASE_US
    await limiter.admit("r2")
    assert await limiter.renew("r1", Use(input_tokens=10, output_tokens=20, nano=30))
    assert await money(limiter) == (0, 240)
    assert await used(limiter) == {}
    assert set((await limiter.stored()).books[WHO].live) == {"r1", "r2"}
    await limiter.settle("r1")
    assert await money(limiter) == (52, 120)
    assert await used(limiter) == SETTLED


async def test_leases_of_other_keys_of_the_tenant_are_charged_to_those(limiter: Limiter, clock: ClockedState) -> None:
    await limiter.admit("r1", caller=known("jwt-a"))
    await limiter.admit("r2", caller=known("jwt-a-very-long-name"))
    clock.now_us += LEASE_US
    await limiter.admit("r3", caller=known("b"))
    assert [await money(limiter, whose) for whose in ("jwt-a", "jwt-a-very-long-name", "b", "*")] == [
        (10, 0),
        (10, 0),
        (0, 120),
        (20, 120),
    ]
    for key_id in ("jwt-a", "jwt-a-very-long-name"):
        assert await used(limiter, key_id) == {"requests": 1, "input": 10, "cost": 10, "estimated": 10}
    books = (await limiter.stored()).books
    assert {whose: set(book.live) for whose, book in books.items() if book.live} == {"b": {"r3"}, "*": {"r3"}}


async def test_many_leases_that_ran_out_are_charged_a_part_at_a_time(limiter: Limiter, clock: ClockedState) -> None:
    for number in range(40):
        await limiter.admit(f"r{number:02}")
    clock.now_us += LEASE_US
    await limiter.admit("next")
    assert await money(limiter) == (SWEEP * 10, 8 * 120 + 120)
    assert len((await limiter.stored()).books["*"].live) == 8 + 1
    await limiter.admit("last")
    assert await money(limiter) == (40 * 10, 2 * 120)
    assert set((await limiter.stored()).books["*"].live) == {"next", "last"}


async def test_a_refused_request_charges_leases_that_ran_out_too(limiter: Limiter, clock: ClockedState) -> None:
    limiter.own = Limits(concurrency=1, requests_per_minute=1)
    await limiter.admit("r1", demand(input_nano=33))
    clock.now_us += LEASE_US
    assert not (await limiter.admit("r2")).admitted
    assert await money(limiter) == (33, 0)


async def test_requests_from_before_a_limit_of_concurrency_count_against_it(limiter: Limiter) -> None:
    limiter.own = Limits()
    await limiter.admit("r1")
    limiter.own = Limits(concurrency=1)
    assert not (await limiter.admit("r2")).admitted
    await limiter.settle("r1")
    assert (await limiter.admit("r3")).admitted


@pytest.mark.parametrize("whose", ["own", "tenant"])
async def test_what_lost_leases_hold_of_a_budget_comes_back_when_nothing_runs(
    limiter: Limiter, clock: ClockedState, whose: str
) -> None:
    limiter.own = limiter.tenant = Limits()
    setattr(limiter, whose, Limits(budget_total_nano=250))
    for request_id in ("lost-1", "lost-2"):
        await limiter.admit(request_id)
        await limiter.state.call("DEL", keys.lease(TAG, request_id))
    assert (await limiter.admit("r1", demand(least_tokens=50))).refusal is not None
    clock.now_us += LEASE_US
    assert (await limiter.admit("r2", demand(least_tokens=50))).admitted
    assert (await money(limiter, WHO if whose == "own" else "*"))[1] == 120


async def test_what_leases_hold_that_are_still_to_be_charged_is_not_given_away(
    limiter: Limiter, clock: ClockedState
) -> None:
    limiter.own, limiter.tenant = Limits(budget_total_nano=40 * 120), Limits()
    for number in range(40):
        await limiter.admit(f"r{number:02}", demand(input_nano=120))
    clock.now_us += LEASE_US
    refusal = (await limiter.admit("next", demand(least_tokens=100))).refusal
    assert refusal is not None
    assert await money(limiter) == (SWEEP * 120, 8 * 120)


async def test_a_hold_that_is_taken_again_is_not_taken_beyond_what_was_used(
    limiter: Limiter, clock: ClockedState
) -> None:
    limiter.holds["lost"] = Hold(input_tokens=10, output_tokens=100, nano=120)
    await limiter.admit("r1")
    await limiter.renew("lost", Use(output_tokens=300))
    clock.now_us += SECOND_US
    await limiter.renew("lost", Use(output_tokens=310))
    assert await taken(limiter) == (1, 10 + 10, 100 + 310)
