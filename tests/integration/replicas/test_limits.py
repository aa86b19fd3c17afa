"""Rates and concurrency over three replicas: exactly the limit, whichever replica is asked."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.books import UNIT
from tests.support.redis import RedisServer, shared_server
from tests.support.replicas import Answer, Client, Key, Replicas, running_replicas

__all__ = ["shared_server"]

CLIENTS = 200
#: So few that a burst is over before one is refilled, unless the machine is very slow: one in two seconds.
REQUESTS_PER_MINUTE = 30
CONCURRENCY = 20

#: Limits of the tenants whose keys have none; a limit is either a key's or its tenant's.
TENANTS: dict[str, dict[str, Any]] = {
    "seldom": {"requests_per_minute": REQUESTS_PER_MINUTE},
    "narrow": {"concurrency": CONCURRENCY},
    "narrow-and-busy": {"concurrency": CONCURRENCY},
}


@pytest.fixture(scope="module")
def replicas(shared_server: RedisServer) -> Iterator[Replicas]:
    with running_replicas(shared_server, tenants=TENANTS) as running:
        yield running


async def burst(replicas: Replicas, client: Client, keys: list[Key], prompt: str, **fields: Any) -> list[Answer]:
    """200 clients ask at once, evenly over replicas and keys."""
    asking = (client.chat(replicas.port(), keys[number % len(keys)], prompt, **fields) for number in range(CLIENTS))
    return await asyncio.gather(*asking)


def statuses(answers: list[Answer]) -> Counter[int]:
    return Counter(answer.status for answer in answers)


async def held_open(replicas: Replicas, keys: list[Key], prompt: str) -> tuple[Counter[int], int]:
    """200 clients ask for a stream at once; those who get one keep it until all have an answer.

    Returns:
        Their statuses, and how many leases there were then.
    """
    release, answered = asyncio.Event(), asyncio.Semaphore(0)

    async def hold(client: Client, number: int) -> int:
        async with client.open_chat(replicas.port(), keys[number % len(keys)], prompt, stream=True) as reply:
            answered.release()
            if reply.status == 200:
                await release.wait()
            return reply.status

    async with replicas.client() as client, asyncio.TaskGroup() as group:
        holding = [group.create_task(hold(client, number)) for number in range(CLIENTS)]
        for _ in range(CLIENTS):
            await answered.acquire()
        live = replicas.books.live(keys[0].tag)
        release.set()
    return Counter(task.result() for task in holding), live


def most_at_once(replicas: Replicas, about: str) -> int:
    """How many upstream calls about something ran at the same time, by the simulator's clock."""
    changes: list[tuple[float, int]] = []
    for entry in replicas.simulator.journal():
        if about in str(entry["body"]):
            ended_at = entry["finished_at"] or entry["client_closed_at"]
            changes += [(entry["at"], 1), (ended_at, -1)]
    running = most = 0
    for _, change in sorted(changes):  # an end at the same moment comes first
        running += change
        most = max(most, running)
    return most


@pytest.mark.parametrize("whose", ["key", "tenant"])
async def test_of_200_clients_at_once_exactly_as_many_are_admitted_as_a_minute_allows(
    replicas: Replicas, whose: str
) -> None:
    if whose == "key":
        keys = [replicas.create_key("rates-of-a-key", requests_per_minute=REQUESTS_PER_MINUTE)]
    else:
        keys = [replicas.create_key("seldom"), replicas.create_key("seldom")]
    async with replicas.client() as client:
        began_us = replicas.books.now_us()
        answers = await burst(replicas, client, keys, f"{whose} has a rate [[sim: output_tokens=20]]")
        refilled = (replicas.books.now_us() - began_us) * REQUESTS_PER_MINUTE // UNIT

    admitted = statuses(answers)[200]
    assert REQUESTS_PER_MINUTE <= admitted <= REQUESTS_PER_MINUTE + refilled
    assert statuses(answers)[429] == CLIENTS - admitted
    refused = next(answer for answer in answers if answer.status == 429)
    assert f"at its limit of {REQUESTS_PER_MINUTE} requests per minute" in refused.error["message"]
    assert 1 <= int(refused.headers["retry-after"]) <= 60 / REQUESTS_PER_MINUTE
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"


@pytest.mark.parametrize("whose", ["key", "tenant"])
async def test_of_200_streams_at_once_exactly_as_many_run_as_the_concurrency_allows(
    replicas: Replicas, whose: str
) -> None:
    """While the admitted ones are held open nobody else gets in; once they are gone, as many get in again."""
    if whose == "key":
        keys = [replicas.create_key("concurrency-of-a-key", concurrency=CONCURRENCY)]
    else:
        keys = [replicas.create_key("narrow"), replicas.create_key("narrow")]
    prompt = f"held open for the {whose} [[sim: tokens_per_second=4 output_tokens=2000]]"
    for _ in range(2):
        got, live = await held_open(replicas, keys, prompt)
        assert got == {200: CONCURRENCY, 429: CLIENTS - CONCURRENCY}
        assert live == CONCURRENCY
        await replicas.settled(keys[0])


@pytest.mark.parametrize("whose", ["key", "tenant"])
async def test_200_clients_that_keep_asking_are_never_more_than_the_concurrency_upstream_and_reach_it(
    replicas: Replicas, whose: str
) -> None:
    if whose == "key":
        keys = [replicas.create_key("busy", concurrency=CONCURRENCY)]
    else:
        keys = [replicas.create_key("narrow-and-busy"), replicas.create_key("narrow-and-busy")]
    about = f"again and again for the {whose}"
    prompt = f"{about} [[sim: ttft_ms=150 output_tokens=20]]"

    async def ask_three_times(client: Client, number: int) -> Counter[int]:
        got: Counter[int] = Counter()
        for turn in range(3):
            key = keys[(number + turn) % len(keys)]
            got[(await client.chat(replicas.port(), key, prompt, stream=bool(number % 2))).status] += 1
        return got

    async with replicas.client() as client:
        got = await asyncio.gather(*(ask_three_times(client, number) for number in range(CLIENTS)))

    total = sum(got, Counter())
    assert set(total) == {200, 429}
    assert most_at_once(replicas, about) == CONCURRENCY
    await replicas.settled(keys[0])


async def test_output_tokens_are_admitted_while_a_balance_is_left_and_settle_to_the_upstreams_own_count(
    replicas: Replicas,
) -> None:
    """99 tokens each are reserved of 2,000: 21 get in. Then the balances are what the invoice says, to the unit."""
    per_minute, bound, used = 2000, 99, 37
    input_per_minute, requests_per_minute = 1000, 60  # neither is used up, nor refilled to the brim meanwhile
    key = replicas.create_key(
        "output-tokens",
        output_tokens_per_minute=per_minute,
        input_tokens_per_minute=input_per_minute,
        requests_per_minute=requests_per_minute,
    )
    about = "a balance of output"
    prompt = f"{about} [[sim: ttft_ms=4000 output_tokens={used}]]"  # settled after the burst
    async with replicas.client() as client:
        began_us = replicas.books.now_us()
        answers = await burst(replicas, client, [key], prompt, max_tokens=bound)
    await replicas.settled(key)

    admitted = statuses(answers)[200]
    calls = [entry["billed"] for entry in replicas.simulator.journal() if about in str(entry["body"])]
    assert len(calls) == admitted
    assert {call["output_tokens"] for call in calls} == {used}
    rates = replicas.books.rates(key.tag, key.id)
    assert rates.requests is not None
    assert rates.input is not None
    assert rates.output is not None
    # The requests tell how long the buckets were refilled: all three are, at the same moments.
    refilled_us, rest = divmod(rates.requests - (requests_per_minute - admitted) * UNIT, requests_per_minute)
    assert rest == 0
    assert 0 <= refilled_us <= rates.at_us - began_us
    input_tokens = sum(call["input_tokens"] for call in calls)
    assert rates.output == (per_minute - used * admitted) * UNIT + refilled_us * per_minute
    assert rates.input == (input_per_minute - input_tokens) * UNIT + refilled_us * input_per_minute
    assert 21 <= admitted <= 1 + (per_minute + refilled_us * per_minute / UNIT) // bound
    refused = next(answer for answer in answers if answer.status == 429)
    assert "2,000 output tokens per minute" in refused.error["message"]


async def test_after_an_answer_that_was_longer_than_expected_no_replica_admits_until_the_debt_is_refilled(
    replicas: Replicas,
) -> None:
    """1,000 tokens of 600 a minute: 40 s of debt, which every replica refuses and tells."""
    key = replicas.create_key("debt", output_tokens_per_minute=600)
    async with replicas.client() as client:
        first = await client.chat(replicas.port(), key, "a long answer [[sim: output_tokens=1000]]")
        assert first.status == 200
        await replicas.settled(key)
        for port in replicas.ports:
            answer = await client.chat(port, key, "one more")
            assert answer.status == 429
            assert 35 <= int(answer.headers["retry-after"]) <= 41


async def test_input_tokens_settle_to_the_upstreams_own_count_without_what_is_read_from_the_prompt_cache(
    replicas: Replicas,
) -> None:
    """Three calls with one long cached prefix: the first writes it to the cache, which counts; the others read it."""
    per_minute = 50_000
    key = replicas.create_key("input-tokens", input_tokens_per_minute=per_minute, requests_per_minute=2)
    system = "A long instruction. " * 800
    cached = [{"type": "text", "text": system, "cache_control": {"type": "ephemeral"}}]
    async with replicas.client() as client:
        answers = [
            await client.chat(
                port,
                key,
                "",
                model="claude-sonnet-5-5",
                messages=[{"role": "system", "content": cached}, {"role": "user", "content": f"cached {turn}"}],
            )
            for turn, port in enumerate(replicas.ports[:2])
        ]
        assert [answer.status for answer in answers] == [200, 200]
    await replicas.settled(key)

    calls = [entry["billed"] for entry in replicas.simulator.journal() if "cached " in str(entry["body"])]
    assert [call["cache_read_input_tokens"] > 0 for call in calls] == [False, True]
    counted = sum(call["input_tokens"] + call["cache_creation_input_tokens"] for call in calls)
    rates = replicas.books.rates(key.tag, key.id)
    assert rates.requests is not None
    refilled_us = rates.requests // 2  # both requests are taken, and one takes 30 s to come back
    assert rates.input == (per_minute - counted) * UNIT + refilled_us * per_minute
