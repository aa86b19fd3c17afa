"""Sessions whose replicas are restarted or killed, whose clients leave, whose upstream fails: never half a turn."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Iterator

import aiohttp
import pytest

from app.state.limits import LEASE_S
from tests.support.redis import RedisServers
from tests.support.replicas import Replicas, running_replicas
from tests.support.session_client import Said, SessionClient, answers_in_place, client, exchanges, key

__all__ = ["client", "key"]

#: Whoever finds a session that a dead turn holds waits for its lease; the rest is the machine's.
FREE_WITHIN_S = LEASE_S + 8.0

KILLS = 6
WRITERS = 8
TURNS_EACH = 40

#: Sessions, and whether their answers are streamed.
BOTH = {"plain": False, "streamed": True}

#: An answer of three seconds.
SLOWLY = "[[sim: output_tokens=60 tokens_per_second=20]]"
#: One of a twentieth of a second, so that there is always a turn to be killed in.
BRISKLY = "[[sim: ttft_ms=30 output_tokens=24 tokens_per_second=1200]]"


@pytest.fixture(scope="module")
def replicas() -> Iterator[Replicas]:
    servers = RedisServers()
    try:
        with running_replicas(servers(), output_tokens=24, validate=True) as replicas:
            yield replicas
    finally:
        servers.end()


async def attempt(client: SessionClient, text: str, *, session: str) -> Said | None:
    """One turn; ``None`` if its connection broke."""
    try:
        return await client.say(text, session=session, stream=BOTH.get(session, len(text) % 2 == 0))
    except aiohttp.ClientError:
        return None


async def test_conversations_go_on_after_all_replicas_were_told_to_leave(
    replicas: Replicas, client: SessionClient
) -> None:
    """SIGTERM in the middle of a turn: it is still answered, and part of the session that the new replicas go on."""
    first = [await client.say("one", session=session, stream=stream) for session, stream in BOTH.items()]
    running = [asyncio.create_task(attempt(client, f"two {SLOWLY}", session=session)) for session in BOTH]
    await have_arrived(replicas, "two ", count=2)
    await asyncio.to_thread(replicas.stop)
    second = await asyncio.gather(*running)
    await asyncio.to_thread(replicas.start)
    third = [await client.say("three", session=session, stream=stream) for session, stream in BOTH.items()]
    for session, *turns in zip(BOTH, first, second, third, strict=True):
        assert all(said is not None and said.is_whole for said in turns)
        texts = [said.text for said in turns if said is not None]
        assert exchanges(await client.messages(session)) == list(
            zip(("one", f"two {SLOWLY}", "three"), texts, strict=True)
        )
        assert texts[-1].startswith("You said: “three”. This is turn 3.")


async def test_conversations_go_on_after_all_replicas_were_killed(replicas: Replicas, client: SessionClient) -> None:
    """``kill -9`` in the middle of a turn: nothing is left of it, and the session is free when its lease has ended."""
    first = [await client.say("one", session=session, stream=stream) for session, stream in BOTH.items()]
    running = [asyncio.create_task(attempt(client, f"two {SLOWLY}", session=session)) for session in BOTH]
    await have_arrived(replicas, "two ", count=2)
    await asyncio.to_thread(replicas.kill)
    died_at = time.monotonic()
    assert await asyncio.gather(*running) == [None, None]
    await asyncio.to_thread(replicas.start)
    for session, said in zip(BOTH, first, strict=True):
        assert exchanges(await client.messages(session)) == [("one", said.text)]
    again = await asyncio.gather(
        *(client.say("two", session=session, stream=stream) for session, stream in BOTH.items())
    )
    assert time.monotonic() - died_at < FREE_WITHIN_S
    for session, *turns in zip(BOTH, first, again, strict=True):
        assert exchanges(await client.messages(session)) == [("one", turns[0].text), ("two", turns[1].text)]
        assert turns[1].text.startswith("You said: “two”. This is turn 2.")


async def have_arrived(replicas: Replicas, text: str, *, count: int) -> None:
    """Returns once so many calls with this text have arrived upstream and are not over."""
    await asyncio.to_thread(
        replicas.simulator.journal_until,
        lambda entries: sum(text in str(entry["body"]) and not entry["outcome"] for entry in entries) == count,
    )


async def test_workers_that_are_killed_at_random_never_leave_half_a_turn(
    replicas: Replicas, client: SessionClient
) -> None:
    """Bound: what was answered is there, once; what was not is there whole or not at all; nobody waits for longer than
    a lease. Eight conversations, each turn on another replica, plain and streamed in turn, and six ``kill -9``.
    """
    answered: dict[str, dict[str, str]] = {f"s{number}": {} for number in range(WRITERS)}
    waited: list[float] = []

    async def converse(session: str) -> None:
        for number in range(TURNS_EACH):
            for try_ in itertools.count():
                text, asked_at = f"{session} {number} {try_} {BRISKLY}", time.monotonic()
                said = await attempt(client, text, session=session)
                waited.append(time.monotonic() - asked_at)
                if said is not None:
                    assert said.is_whole, said
                    answered[session][text] = said.text
                    break

    async with asyncio.TaskGroup() as group:
        for session in answered:
            group.create_task(converse(session))
        chance = random.Random(4)
        for _ in range(KILLS):
            await asyncio.sleep(chance.uniform(0.1, 0.6))
            workers = [worker for replica in range(len(replicas.gateways)) for worker in replicas.workers(replica)]
            chance.choice(workers).kill()

    for session, whole in answered.items():
        said = exchanges(await client.messages(session))
        assert answers_in_place([(bare(question), answer) for question, answer in said])
        assert {question: answer for question, answer in said if question in whole} == whole
        assert len(said) == len({question for question, _ in said})
        order = [tuple(map(int, question.split()[1:3])) for question, _ in said]
        assert order == sorted(order)
        assert len(whole) == TURNS_EACH
    assert len(waited) > WRITERS * TURNS_EACH, "nobody was killed in the middle of a turn"
    assert max(waited) < FREE_WITHIN_S
    await asyncio.gather(*(client.say("after", session=session) for session in answered))


def bare(question: str) -> str:
    """What was asked, without the script of the answer."""
    return question.partition(" [[")[0]
