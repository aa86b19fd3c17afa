"""Budgets over three replicas: never overspent, not even while 200 clients ask at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from app.domain.limits import NANO_PER_USD
from tests.support.bills import bill_of, cost_of
from tests.support.books import Spend
from tests.support.redis import RedisServer, shared_server
from tests.support.replicas import Answer, Client, Key, Replicas, running_replicas

__all__ = ["shared_server"]

CLIENTS = 200
#: Some 150 calls, of which three or four fit in at a time: at worst each costs a third of it.
BUDGET_USD = 0.05
BUDGET_NANO = round(BUDGET_USD * NANO_PER_USD)
MAX_TOKENS = 2000


@pytest.fixture(scope="module")
def replicas(shared_server: RedisServer) -> Iterator[Replicas]:
    with running_replicas(shared_server, tenants={"thrifty": {"budget_day": BUDGET_USD}}) as running:
        yield running


@asynccontextmanager
async def sampled(replicas: Replicas, tag: str, scope: str) -> AsyncIterator[list[Spend]]:
    """What is spent and reserved, looked at all the time."""
    samples: list[Spend] = []

    async def sample() -> None:
        while True:
            samples.append(await asyncio.to_thread(replicas.books.spend, tag, scope))
            await asyncio.sleep(0.001)

    sampling = asyncio.create_task(sample())
    try:
        yield samples
    finally:
        sampling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sampling


async def ask_until_spent(replicas: Replicas, client: Client, key: Key, prompt: str) -> list[Answer]:
    """Asks again and again, until the budget is spent."""
    answers: list[Answer] = []
    while not answers or answers[-1].status == 200 or answers[-1].error["code"] != "insufficient_quota":
        answers.append(await client.chat(replicas.port(), key, prompt, max_tokens=MAX_TOKENS))
        await asyncio.sleep(0.2)
    return answers


@pytest.mark.parametrize("whose", ["key", "tenant"])
async def test_a_burst_of_200_clients_spends_a_budget_to_its_end_and_never_exceeds_it(
    replicas: Replicas, whose: str
) -> None:
    """Spent and reserved together never exceed it; in the end it is the invoice, and less is left than a call needs."""
    if whose == "key":
        keys = [replicas.create_key("spending", budget_total=BUDGET_USD)]
        scope = keys[0].id
    else:
        keys = [replicas.create_key("thrifty"), replicas.create_key("thrifty")]
        scope = "*"
    about = f"within the budget of a {whose}"
    prompt = f"{about} [[sim: ttft_ms=20 output_tokens=60]]"
    async with replicas.client() as client, sampled(replicas, keys[0].tag, scope) as samples:
        asking = (ask_until_spent(replicas, client, keys[number % len(keys)], prompt) for number in range(CLIENTS))
        answers = [answer for one in await asyncio.gather(*asking) for answer in one]
    await replicas.settled(keys[0])

    assert max(sample.total + sample.reserved for sample in samples) <= BUDGET_NANO
    assert min(sample.reserved for sample in samples) >= 0
    assert len({(sample.total, sample.reserved) for sample in samples}) > 10  # it was looked at while it was spent
    spend = replicas.books.spend(keys[0].tag, scope)
    assert spend.total == cost_of(bill_of(replicas.simulator.journal(), about))
    assert spend.reserved == 0
    assert BUDGET_NANO * 0.85 < spend.total <= BUDGET_NANO
    assert {answer.status for answer in answers} == {200, 429}
    for refused in (answer for answer in answers if answer.status == 429):
        if refused.error["code"] == "insufficient_quota":
            assert "what is left of it does not cover this request" in refused.error["message"]
            # A day ends; a total does not, and names the longest time there is.
            assert (refused.headers["retry-after"] == "86400") == (whose == "key")
            assert refused.headers["x-should-retry"] == "false"
        else:
            assert "is held by requests that are running" in refused.error["message"]
            assert refused.headers["retry-after"] == "1"
    assert any("x-claude-wrapper-adjusted-params" in answer.headers for answer in answers if answer.status == 200)


async def test_near_its_end_a_budget_clamps_max_tokens_which_the_reply_reports_and_claude_gets(
    replicas: Replicas,
) -> None:
    key = replicas.create_key("clamped", budget_total=0.01)
    prompt = "a long answer [[sim: output_tokens=1500]]"
    async with replicas.client() as client:
        answer = await client.chat(replicas.port(), key, prompt, max_tokens=MAX_TOKENS)
        name, _, granted = answer.headers["x-claude-wrapper-adjusted-params"].partition("=")
        assert name == "max_tokens"
        assert 500 < int(granted) < MAX_TOKENS
        assert replicas.simulator.journal()[-1]["body"]["max_tokens"] == int(granted)
        assert b'"finish_reason":"length"' in answer.body
        await replicas.settled(key)
        assert replicas.books.spend(key.tag, key.id).total <= 0.01 * NANO_PER_USD
        for port in replicas.ports:
            refused = await client.chat(port, key, prompt, max_tokens=MAX_TOKENS)
            assert (refused.status, refused.error["code"]) == (429, "insufficient_quota")
            assert refused.headers["retry-after"] == "86400"


async def test_what_a_running_request_holds_is_refused_elsewhere_for_a_second_and_free_when_it_ends(
    replicas: Replicas,
) -> None:
    key = replicas.create_key("holding", budget_total=0.012)
    fields = {"max_tokens": 1000, "stream": True}
    async with replicas.client() as client:
        async with client.open_chat(
            replicas.ports[0], key, "held [[sim: tokens_per_second=4 output_tokens=900]]", **fields
        ) as held:
            assert held.status == 200
            refused = await client.chat(replicas.ports[1], key, "meanwhile", **fields)
            assert (refused.status, refused.headers["retry-after"]) == (429, "1")
            assert "is held by requests that are running" in refused.error["message"]
        await replicas.settled(key)
        admitted = await client.chat(replicas.ports[1], key, "afterwards", **fields)
        assert admitted.status == 200
