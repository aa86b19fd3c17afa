"""Many connections ask one server at once: never more than a limit is admitted, and every count is exact.

The clock stands still where a rate is counted, so that nothing refills in between; leases and budgets are raced on the
server's own.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from app.domain.limits import NO_LIMITS, Limits, Use
from app.errors import StateError
from app.state import connect, keys
from app.state.connection import StateConnection
from app.state.limits import Verdict
from tests.support.ledger_model import UNIT
from tests.support.limiter import NOTHING, TAG, USE, Limiter, demand, known
from tests.support.redis import RedisServer
from tests.support.server_clock import ClockedState

REPLICAS = 12


@pytest_asyncio.fixture
async def replicas(server: RedisServer) -> AsyncIterator[list[StateConnection]]:
    """Connections of as many workers to one server."""
    connections = [connect(server.url, timeout_s=30.0) for _ in range(REPLICAS)]
    yield connections
    await asyncio.gather(*(connection.close() for connection in connections))


def limiters(
    replicas: list[StateConnection], *, own: Limits = NO_LIMITS, tenant: Limits = NO_LIMITS, still: bool = False
) -> list[Limiter]:
    """A limiter of each worker; ``still``: the clock stands still."""
    return [Limiter(ClockedState(one) if still else one, own=own, tenant=tenant) for one in replicas]


async def admit_all(workers: list[Limiter], count: int, **fields: Any) -> list[Verdict]:
    """As many different requests at once, shared out among the workers."""
    return await asyncio.gather(
        *(worker.admit(f"r{number}", **fields) for number, worker in zip(range(count), itertools.cycle(workers)))
    )


def admitted(verdicts: list[Verdict]) -> int:
    return sum(verdict.admitted for verdict in verdicts)


async def money(worker: Limiter, whose: str) -> tuple[int, int]:
    """Nano-dollars spent in all, and reserved, as of one moment."""
    words = (await worker.state.call("GET", keys.spend(TAG, whose))).split()
    return int(words[4]), int(words[5])


@pytest.mark.parametrize("whose", ["own", "tenant"])
async def test_requests_per_minute_admit_their_number(replicas: list[StateConnection], whose: str) -> None:
    workers = limiters(replicas, still=True, **{whose: Limits(requests_per_minute=137)})
    verdicts = await admit_all(workers, 600)
    assert admitted(verdicts) == 137
    assert {verdict.refusal.limit for verdict in verdicts if verdict.refusal} == {"requests_per_minute"}


@pytest.mark.parametrize("whose", ["own", "tenant"])
async def test_concurrency_admits_its_number(replicas: list[StateConnection], whose: str) -> None:
    workers = limiters(replicas, **{whose: Limits(concurrency=53)})
    assert admitted(await admit_all(workers, 600)) == 53


async def test_concurrency_is_never_exceeded_while_slots_come_and_go(replicas: list[StateConnection]) -> None:
    workers = limiters(replicas, tenant=Limits(concurrency=5))
    running, most, outcomes = 0, 0, Counter[bool]()

    async def one(number: int) -> None:
        nonlocal running, most
        worker = workers[number % REPLICAS]
        verdict = await worker.admit(f"r{number}", caller=known(f"jwt-{number % 3}"))
        outcomes[verdict.admitted] += 1
        if verdict.admitted:
            running += 1
            most = max(most, running)
            await asyncio.sleep(random.Random(number).random() / 200)
            running -= 1
            await worker.settle(f"r{number}", key_id=f"jwt-{number % 3}")

    for start in range(0, 400, 40):
        await asyncio.gather(*map(one, range(start, start + 40)))
    assert 1 < most <= 5
    assert outcomes[True] >= 50
    assert (await workers[0].stored()).books["*"].live == {}


async def test_input_tokens_are_admitted_while_the_balance_is_positive(replicas: list[StateConnection]) -> None:
    workers = limiters(replicas, still=True, own=Limits(input_tokens_per_minute=1000))
    verdicts = await admit_all(workers, 300, demand=demand(input_tokens=30))
    assert admitted(verdicts) == 34  # 33 of them use 990
    rates = (await workers[0].stored()).books["jwt-abc"].rates
    assert rates is not None
    assert rates.left == {"input": -20 * UNIT}


async def test_a_burst_never_overspends_a_budget(replicas: list[StateConnection]) -> None:
    budget = 20_000
    workers = limiters(
        replicas, own=Limits(budget_day_nano=budget, budget_total_nano=budget), tenant=Limits(budget_month_nano=budget)
    )
    most, spent, counter = 0, 0, itertools.count()

    async def one(number: int) -> None:
        nonlocal most, spent
        draw = random.Random(number)
        worker = workers[number % REPLICAS]
        asked = demand(max_tokens=draw.randrange(1, 900), worst_input_nano=draw.randrange(20, 200))
        verdict = await worker.admit(f"r{number}", asked)
        if verdict.admitted:
            worst = asked.worst_input_nano + verdict.max_tokens
            assert verdict.hold.nano == worst
            cost = draw.randrange(worst + 1)
            await worker.settle(f"r{number}", Use(nano=cost))
            spent += cost
        if next(counter) % 20 == 0:
            most = max(most, sum(await money(worker, "*")))

    for start in range(0, 600, 60):
        await asyncio.gather(*map(one, range(start, start + 60)))
    for whose in ("jwt-abc", "*"):
        assert await money(workers[0], whose) == (spent, 0)
    assert most <= budget
    assert budget - 220 < spent <= budget  # the smallest request of all would not have fitted any more


async def test_repetitions_from_everywhere_count_once(replicas: list[StateConnection]) -> None:
    limits = Limits(requests_per_minute=10_000, output_tokens_per_minute=100_000, budget_total_nano=1_000_000)
    workers = limiters(replicas, own=limits, tenant=limits, still=True)
    names = [f"r{number}" for number in range(40)]
    verdicts = await asyncio.gather(*(worker.admit(name) for name in names for worker in workers))
    assert len({verdict.hold for verdict in verdicts}) == 1
    settled = await asyncio.gather(
        *(worker.settle(name, again=number > 0) for name in names for number, worker in enumerate(workers))
    )
    assert Counter(settled) == {True: 40, False: 40 * (REPLICAS - 1)}
    stored = await workers[0].stored()
    for whose in ("jwt-abc", "*"):
        rates, spend = stored.books[whose].rates, stored.books[whose].spend
        assert rates is not None
        assert spend is not None
        assert rates.left == {"requests": (10_000 - 40) * UNIT, "output": (100_000 - 40 * 40) * UNIT}
        assert (spend.total, spend.reserved) == (40 * USE.nano, 0)
    usage = next(iter(stored.usage.values()))
    assert {kind: count for (_, kind), count in usage.items()} == {
        "requests": 40,
        "input": 40 * USE.input_tokens,
        "cache_write": 40 * USE.cache_write_tokens,
        "cache_read": 40 * USE.cache_read_tokens,
        "output": 40 * USE.output_tokens,
        "cost": 40 * USE.nano,
    }


async def test_admission_and_settlement_in_any_order_end_the_same(replicas: list[StateConnection]) -> None:
    workers = limiters(replicas, own=Limits(budget_total_nano=10**9, concurrency=10_000))

    async def admit(number: int) -> None:
        try:
            await workers[number % REPLICAS].admit(f"r{number}")
        except StateError:
            return  # it was settled before

    calls = [admit(number) for number in range(200)]
    calls += [workers[(number + 1) % REPLICAS].settle(f"r{number}", NOTHING, admitted=False) for number in range(200)]
    random.Random(7).shuffle(calls)
    await asyncio.gather(*calls)
    stored = await workers[0].stored()
    assert {lease.state for lease in stored.leases.values()} == {"S"}
    for book in stored.books.values():
        assert book.live == {}
        assert book.spend is None or (book.spend.total, book.spend.reserved) == (0, 0)


async def test_requests_that_are_cancelled_at_any_moment_leave_nothing(replicas: list[StateConnection]) -> None:
    """A caller that goes away while it is admitted gives back by its id, whether or not it was admitted."""
    limits = Limits(requests_per_minute=1000, input_tokens_per_minute=100_000, concurrency=500, budget_total_nano=10**9)
    workers = limiters(replicas, own=limits, tenant=limits, still=True)
    draw, outcomes = random.Random(11), Counter[str]()

    async def one(name: str) -> None:
        worker = draw.choice(workers)
        try:
            await worker.admit(name)
            await worker.renew(name)
            outcomes["admitted"] += 1
        except asyncio.CancelledError:
            outcomes["cancelled"] += 1
        await worker.settle(name, NOTHING, admitted=False)

    for turn in range(10):
        names = [f"r{turn}-{number}" for number in range(60)]
        tasks = [asyncio.create_task(one(name)) for name in names]
        for task in tasks:
            if draw.random() < 0.5:
                asyncio.get_running_loop().call_later(draw.random() / 100, task.cancel)
        await asyncio.gather(*tasks, return_exceptions=True)
        # A settlement may have been cancelled, too: the ledger repeats it.
        await asyncio.gather(*(workers[0].settle(name, NOTHING, admitted=False, again=True) for name in names))
    assert min(outcomes["admitted"], outcomes["cancelled"]) > 0
    stored = await workers[0].stored()
    for whose in ("jwt-abc", "*"):
        book = stored.books[whose]
        assert book.live == {}
        assert book.rates is not None
        assert book.rates.left == {"requests": 1000 * UNIT, "input": 100_000 * UNIT}
        assert book.spend is not None
        assert (book.spend.total, book.spend.reserved) == (0, 0)
    assert all(not count for counts in stored.usage.values() for count in counts.values())
