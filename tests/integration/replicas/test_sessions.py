"""Sessions on three replicas: two writers lose nothing, and what one replica has written every other one reads.

The simulator's answer tells what was asked and how many questions came before it, so that every answer shows what its
prompt was.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import pytest

from tests.support.redis import RedisServers
from tests.support.replicas import Key, Replicas, running_replicas
from tests.support.session_client import SessionClient, answers_in_place, client, exchanges, key, user

__all__ = ["client", "key"]

#: Of each of two writers.
TURNS_EACH = 1000
READ_BACK = 200

ENV = {"CLAUDE_WRAPPER_SESSION_MAX_MESSAGES": "10000", "CLAUDE_WRAPPER_SESSION_MAX_BYTES": "16MiB"}


@pytest.fixture(scope="module")
def replicas() -> Iterator[Replicas]:
    servers = RedisServers()
    try:
        # Bodies in the journal are large in the end: few of them are kept.
        with running_replicas(servers(), env=ENV, output_tokens=12, journal=30) as replicas:
            yield replicas
    finally:
        servers.end()


@pytest.mark.timeout(300)
async def test_two_writers_of_1000_turns_each_make_2000_whole_turns_in_a_valid_order(
    replicas: Replicas, client: SessionClient, key: Key
) -> None:
    """Bound: none fails. Measured: 55 to 62 s at a load of 4 on two cores, up to 131 s at one of 9.

    Turns of one session come one after the other, so their costs add up, and each sends the whole history. Of CPU that
    is on average 10 ms in the gateway, 11 ms in the simulator, which checks every prompt, and 1 ms in Redis.
    """
    before: dict[str, int] = {}

    async def write(who: str) -> None:
        for number in range(TURNS_EACH):
            said = await client.say(f"{who} {number}", session="s")
            assert said.is_whole, said
            before[f"{who} {number}"] = said.messages_before

    await asyncio.gather(write("a"), write("b"))
    messages = await client.messages("s")
    turns = exchanges(messages)
    assert len(turns) == 2 * TURNS_EACH
    assert answers_in_place(turns)
    assert [before[question] for question, _ in turns] == list(range(0, 4 * TURNS_EACH, 2))
    for who in ("a", "b"):
        assert written_by(who, [question for question, _ in turns]) == list(range(TURNS_EACH))
    last = [entry for entry in replicas.simulator.journal() if entry["path"] == "/v1/messages"]
    assert len(last) > 20
    for entry in last:
        prompt = prompt_of(entry)
        assert prompt == [(message["role"], message["content"]) for message in messages[: len(prompt)]]
    await replicas.settled(key)


async def test_two_writers_of_1000_appends_each_make_2000_messages_in_their_order(client: SessionClient) -> None:
    await client.ask("POST", "", {"id": "log"}, status=201)

    async def write(who: str) -> None:
        for number in range(TURNS_EACH):
            await client.append("log", f"{who} {number}")

    await asyncio.gather(write("a"), write("b"))
    messages = await client.messages("log")
    assert [message["role"] for message in messages] == ["user"] * 2 * TURNS_EACH
    for who in ("a", "b"):
        assert written_by(who, [message["content"] for message in messages]) == list(range(TURNS_EACH))


async def test_whoever_was_answered_by_one_replica_reads_it_from_another_at_once(
    replicas: Replicas, client: SessionClient
) -> None:
    """200 times: plain turns, streamed turns, and appends."""
    expected: list[str] = []
    ports = itertools.cycle(replicas.ports)
    for number in range(READ_BACK):
        port, other = next(ports), next(ports)
        if number % 3 == 2:
            await client.append("read-back", f"note {number}", port=port)
            expected.append(f"note {number}")
        else:
            said = await client.say(f"question {number}", session="read-back", stream=number % 3 == 1, port=port)
            assert said.is_whole
            expected += [f"question {number}", said.text]
        messages = await client.messages("read-back", port=other)
        assert [message["content"] for message in messages] == expected
        assert (await client.ask("GET", "/stats", port=other))["averageMessageCount"] == len(expected)


async def test_turns_and_appends_of_many_at_the_same_time_are_each_whole_and_there_once(client: SessionClient) -> None:
    async def turn(number: int) -> None:
        assert (await client.say(f"turn {number}", session="many", stream=number % 2 == 0)).is_whole

    async def append(number: int) -> None:
        pair = [user(f"note {number}"), {"role": "assistant", "content": f"noted {number}"}]
        await client.ask("POST", "/many/messages", {"messages": pair})

    await client.ask("POST", "", {"id": "many"}, status=201)
    await asyncio.gather(*itertools.chain.from_iterable((turn(number), append(number)) for number in range(30)))
    said = exchanges(await client.messages("many"))
    assert sorted(question for question, _ in said) == sorted(
        f"{what} {number}" for what in ("turn", "note") for number in range(30)
    )
    for question, answer in said:
        assert answer.startswith((f"You said: “{question}”", question.replace("note", "noted")))


def written_by(who: str, texts: Sequence[str]) -> list[int]:
    """The numbers of what one writer wrote, in the order of the session."""
    return [int(number) for name, number in (text.split() for text in texts) if name == who]


def prompt_of(entry: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Roles and texts of the messages of an upstream request: the history, and the question."""
    messages = cast("list[dict[str, Any]]", entry["body"]["messages"])
    return [(message["role"], text_of(message["content"])) for message in messages]


def text_of(content: str | list[dict[str, Any]]) -> str:
    return content if isinstance(content, str) else "".join(block["text"] for block in content)
