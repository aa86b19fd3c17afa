"""100 clients at once and workers that are killed: equal requests share one call, and no answer is spliced of two.

Each replica is a process of its own. Who comes and who leaves is in ``test_shared_calls.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, cast

import aiohttp
import pytest

from app.state.answers import LEASE_S
from tests.support.bills import bill_of, cost_of
from tests.support.chat_frames import deltas, frames
from tests.support.redis import RedisServer, RedisServers
from tests.support.replicas import MODEL, Answer, Client, Key, Replicas, running_replicas

CLIENTS = 100
CACHED = {"cache-control": "max-age=60"}

#: A leader that is killed leads for 12 s from its last renewal; whoever follows asks every second.
ANSWERED_WITHIN_S = 20.0


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    servers = RedisServers()
    yield servers()
    servers.end()


@pytest.fixture(scope="module")
def replicas(server: RedisServer) -> Iterator[Replicas]:
    with running_replicas(server) as running:
        yield running


def is_plain(answer: Answer) -> bool:
    return answer.headers["content-type"] == "application/json"


def unmarked(answer: Answer) -> Any:
    """What an answer says, without the mark that tells where it comes from."""
    if is_plain(answer):
        whole = json.loads(answer.body)
        whole["usage"].pop("response_cache", None)
        return whole
    sent = [frame for frame in frames(answer.body) if frame != ": ping"]
    for frame in sent:
        if isinstance(frame, dict) and frame.get("usage"):
            frame["usage"].pop("response_cache", None)
    return sent


def text_of(answer: Answer) -> str:
    """What a whole answer says."""
    assert answer.status == 200, answer.body
    if is_plain(answer):
        content: str = json.loads(answer.body)["choices"][0]["message"]["content"]
        return content
    assert frames(answer.body)[-1] == "[DONE]"
    return "".join(delta.get("content") or "" for delta in deltas(answer.body))


async def usage_of(replicas: Replicas, key: Key) -> Counter[str]:
    """What ``GET /v1/usage`` tells of requests, over all models."""
    url = f"http://127.0.0.1:{replicas.port()}/v1/usage"
    async with (
        aiohttp.ClientSession() as session,
        session.get(url, headers={"authorization": f"Bearer {key.text}"}) as reply,
    ):
        assert reply.status == 200
        days = (await reply.json())["days"]
    return sum((Counter({name: day[name] for name in ("requests", "cached_requests")}) for day in days), Counter())


def calls_about(replicas: Replicas, about: str) -> list[dict[str, Any]]:
    return [entry for entry in replicas.simulator.journal() if about in str(entry["body"])]


async def until_called(replicas: Replicas, about: str) -> None:
    """Returns once a call about something has reached the upstream."""
    await asyncio.to_thread(
        replicas.simulator.journal_until, lambda entries: any(about in str(entry["body"]) for entry in entries), 20.0
    )


async def until_followed(replicas: Replicas, workers: int) -> None:
    """Returns once so many workers wait for the one flight there is."""
    async with asyncio.timeout(20):
        while True:
            names = cast("list[bytes]", replicas.server.ask("KEYS", "cw:*:flight:*"))
            fields = [field for name in names for field in cast("list[bytes]", replicas.server.ask("HKEYS", name))]
            if sum(field.startswith(b"wake ") for field in fields) == workers:
                return
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("form", ["plain", "streamed", "mixed"])
async def test_100_equal_requests_on_3_replicas_are_one_call(replicas: Replicas, form: str) -> None:
    """One is charged, 99 are counted as cached, and everything that they held is given back."""
    about = f"a hundred {form}"
    key = replicas.create_key("many", concurrency=CLIENTS, requests_per_minute=CLIENTS, budget_total=1000)
    billed_before = replicas.simulator.settled_invoice()["completed"]["calls"]
    prompt = f"{about} [[sim: ttft_ms=1500 output_tokens=60]]"
    streamed = {"plain": (False,), "streamed": (True,), "mixed": (False, True)}[form]
    options = {"stream_options": {"include_usage": True}}
    async with replicas.client() as client:

        async def ask(number: int) -> Answer:
            stream = streamed[number % len(streamed)]
            fields: dict[str, Any] = {"stream": True, **options} if stream else {}
            return await client.chat(replicas.port(), key, prompt, headers=CACHED, **fields)

        answers = await asyncio.gather(*(ask(number) for number in range(CLIENTS)))
        assert {answer.status for answer in answers} == {200}
        await replicas.settled(key)
        # All of the rate but one is back: as many again are let in at once.
        again = await asyncio.gather(*(ask(number) for number in range(CLIENTS - 2)))
        await replicas.settled(key)

    assert replicas.simulator.settled_invoice()["completed"]["calls"] == billed_before + 1
    assert len(calls_about(replicas, about)) == 1
    assert Counter(answer.headers["x-claude-wrapper-cache"] == "MISS" for answer in answers) == {True: 1, False: 99}
    assert {answer.headers["x-claude-wrapper-cache"] for answer in again} == {"HIT"}
    for is_plain_one in (True, False):
        alike = [unmarked(answer) for answer in (*answers, *again) if is_plain(answer) is is_plain_one]
        assert all(one == alike[0] for one in alike)
    assert len({text_of(answer) for answer in answers}) == 1
    # The books.
    used, spend = replicas.books.usage(key.tag, key.id)[MODEL], replicas.books.spend(key.tag, key.id)
    assert used["requests"] == 1
    assert used["cost"] == cost_of(bill_of(replicas.simulator.journal(), about)) == spend.total
    assert spend.reserved == replicas.books.live(key.tag, key.id) == replicas.books.live(key.tag) == 0
    assert await usage_of(replicas, key) == {"requests": 1, "cached_requests": 99 + len(again)}
    assert not replicas.server.ask("KEYS", "cw:*:flight:*")


async def follow(client: Client, replicas: Replicas, key: Key, prompt: str, replica: int, *, stream: bool) -> Answer:
    return await client.chat(replicas.ports[replica], key, prompt, headers=CACHED, stream=stream)


async def is_free_again(client: Client, replicas: Replicas, key: Key) -> None:
    """The dead have given back what they held, as the next request finds."""
    assert (await client.chat(replicas.ports[1], key, "the next one")).status == 200
    await replicas.settled(key)


async def test_when_a_leader_is_killed_before_its_first_byte_all_others_are_answered_by_one_more_call(
    replicas: Replicas,
) -> None:
    """Bound: 20 s from the kill; the lease of the dead leader lasts 12 s."""
    key, about = replicas.create_key("bereft"), "killed before"
    replicas.simulator.script(match=about, text="second")
    replicas.simulator.script(match=about, text="first", ttft_ms=60_000, times=1)
    async with replicas.client() as client:
        doomed = asyncio.create_task(follow(client, replicas, key, about, 0, stream=True))
        await until_called(replicas, about)
        others = [
            asyncio.create_task(follow(client, replicas, key, about, 1 + number % 2, stream=number % 3 == 0))
            for number in range(12)
        ]
        await until_followed(replicas, 2)
        replicas.workers(0)[0].kill()
        killed_at = time.monotonic()
        answers = await asyncio.gather(*others)
        took_s = time.monotonic() - killed_at
        with contextlib.suppress(aiohttp.ClientError):
            await doomed
        await is_free_again(client, replicas, key)

    assert {text_of(answer) for answer in answers} == {"second"}
    assert len(calls_about(replicas, about)) == 2
    assert took_s < ANSWERED_WITHIN_S
    assert not replicas.server.ask("KEYS", "cw:*:flight:*")


async def test_when_a_leader_is_killed_after_its_first_byte_nothing_is_spliced(replicas: Replicas) -> None:
    """Its own clients are cut off with it; those of other workers have sent nothing, and get a new answer whole."""
    key, about = replicas.create_key("bereft"), "killed after"
    second, first = "second " * 40, "first " * 400
    replicas.simulator.script(match=about, text=second)
    replicas.simulator.script(match=about, text=first, tokens_per_second=20, delta_tokens=2, times=1)
    async with replicas.client() as client:

        async def read_until_cut(begun: asyncio.Event) -> bytes:
            got = b""
            fields: dict[str, Any] = {"stream": True, "headers": CACHED}
            async with client.open_chat(replicas.ports[0], key, about, **fields) as reply:
                with contextlib.suppress(aiohttp.ClientError):
                    async for part in reply.content.iter_any():
                        got += part
                        if b"first" in got:
                            begun.set()
            return got

        begun = [asyncio.Event(), asyncio.Event()]
        near = [asyncio.create_task(read_until_cut(event)) for event in begun]
        await asyncio.gather(*(event.wait() for event in begun))
        far = [
            asyncio.create_task(follow(client, replicas, key, about, 1 + number % 2, stream=number % 3 == 0))
            for number in range(12)
        ]
        await until_followed(replicas, 2)
        replicas.workers(0)[0].kill()
        cut = await asyncio.gather(*near)
        answers = await asyncio.gather(*far)
        await is_free_again(client, replicas, key)

    for got in cut:
        assert b"first" in got
        assert b"second" not in got
        assert b"[DONE]" not in got
    assert {text_of(answer).split()[0] for answer in answers} == {"second"}
    assert {text_of(answer).strip() for answer in answers} == {second.strip()}
    assert len(calls_about(replicas, about)) == 2


async def test_a_worker_that_leaves_gives_up_what_it_makes_for_others_only(replicas: Replicas) -> None:
    """The last test of this module: its first replica is gone then. The others do not wait for a lease to run out."""
    key, about = replicas.create_key("left"), "made for others"
    replicas.simulator.script(match=about, text="second")
    replicas.simulator.script(match=about, text="first", ttft_ms=60_000, times=1)
    gateway = replicas.gateways[0]
    async with replicas.client() as client:
        leader = asyncio.create_task(follow(client, replicas, key, about, 0, stream=False))
        await until_called(replicas, about)
        other = asyncio.create_task(follow(client, replicas, key, about, 1, stream=False))
        await until_followed(replicas, 1)
        leader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leader
        await asyncio.sleep(0.5)
        assert [entry["outcome"] for entry in calls_about(replicas, about)] == [""]
        left_at = time.monotonic()
        gateway.process.send(signal.SIGTERM)
        assert await asyncio.to_thread(gateway.process.wait, within_s=20) == 0
        answer = await other
        took_s = time.monotonic() - left_at
        await replicas.settled(key)

    assert text_of(answer) == "second"
    assert took_s < LEASE_S
    assert len(calls_about(replicas, about)) == 2
