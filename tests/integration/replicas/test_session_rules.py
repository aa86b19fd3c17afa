"""Sessions on three replicas: who waits and forks, what is dropped at the bounds, what a turn that fails leaves."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.support.chat_wire import until
from tests.support.conversation import TOOLS
from tests.support.redis import RedisServer, shared_server
from tests.support.replicas_here import ReplicasHere, replicas_here
from tests.support.session_client import (
    Said,
    SessionClient,
    answers_in_place,
    exchanges,
    read_said,
    session_client,
    user,
)
from tests.support.simulator import Simulator, running_simulator

__all__ = ["shared_server"]

#: An answer of a second and a half.
SLOWLY = "[[sim: output_tokens=30 tokens_per_second=20]]"
WAIT = "x-claude-wrapper-session-wait"
FORK = {"x-claude-wrapper-session-conflict": "fork", WAIT: "0"}

#: A session that is free is had at once; a dead lease would last 12 s.
AT_ONCE_S = 4.0


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running_simulator(journal=200, output_tokens=24) as simulator:
        yield simulator


@asynccontextmanager
async def clients_of(
    server: RedisServer, simulator: Simulator, **settings: Any
) -> AsyncIterator[tuple[ReplicasHere, SessionClient]]:
    """Three replicas with an empty store, and a client of them in turn."""
    server.ask("FLUSHALL")
    async with replicas_here(server, simulator, **settings) as replicas:
        ports = itertools.cycle([gateway.port for gateway in replicas.gateways])
        key = await replicas.create_key("acme")
        async with session_client(lambda: next(ports), key.text) as client:
            yield replicas, client
        await replicas.at_rest()
        assert not replicas.books.is_busy(key.tag)


@pytest.fixture
async def client(shared_server: RedisServer, simulator: Simulator) -> AsyncIterator[SessionClient]:
    async with clients_of(shared_server, simulator) as (_, client):
        yield client


@asynccontextmanager
async def running_turn(client: SessionClient, session: str) -> AsyncIterator[asyncio.Future[Said]]:
    """A turn that has begun to be streamed, and is read to its end."""
    async with client.open(f"running {SLOWLY}", session=session) as reply:
        assert reply.status == 200
        head = await reply.content.readany()

        async def rest() -> Said:
            return read_said(reply, head + await reply.read())

        reading = asyncio.ensure_future(rest())
        yield reading
        assert (await reading).is_whole


# Who waits


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_a_second_writer_is_refused_when_its_wait_is_over(client: SessionClient, *, stream: bool) -> None:
    async with running_turn(client, "s") as first:
        began = time.monotonic()
        late = await client.say("late", session="s", stream=stream, headers={WAIT: "0.3"})
        waited_s = time.monotonic() - began
        assert not first.done()
    assert late.error is not None
    assert (late.status, late.error["code"]) == (409, "conversation_locked")
    assert late.headers["retry-after"] == "1"
    assert 0.3 <= waited_s < AT_ONCE_S
    assert len(exchanges(await client.messages("s"))) == 1


async def test_nobody_waits_for_longer_than_the_settings_allow(
    shared_server: RedisServer, simulator: Simulator
) -> None:
    async with clients_of(shared_server, simulator, session_wait_s=0.2) as (_, client), running_turn(client, "s"):
        late = await client.say("late", session="s", headers={WAIT: "60"})
        assert late.status == 409
        await client.ask("POST", "/s/messages", {"messages": [user("late")]}, status=409)


async def test_a_stream_that_waits_longer_than_it_is_silent_still_says_what_became_of_it(
    shared_server: RedisServer, simulator: Simulator
) -> None:
    async with (
        clients_of(shared_server, simulator, stream_keepalive_s=0.1) as (_, client),
        running_turn(client, "s"),
    ):
        late = await client.say("late", session="s", stream=True, headers={WAIT: "0.5"})
        assert late.status == 409
        forked = await client.say("forked", session="s", stream=True, headers={**FORK, WAIT: "0.5"})
        assert forked.headers["x-claude-wrapper-session-forked-from"] == "s"


async def test_a_turn_whose_answer_is_long_in_coming_names_its_session_all_the_same(
    shared_server: RedisServer, simulator: Simulator
) -> None:
    async with clients_of(shared_server, simulator, stream_keepalive_s=0.1) as (_, client):
        said = await client.say("slow [[sim: ttft_ms=800]]", session="s", stream=True)
        assert said.headers["x-claude-wrapper-session"] == "s"


async def test_a_second_writer_that_waits_goes_on_from_the_first_ones_answer(client: SessionClient) -> None:
    async with running_turn(client, "s") as first:
        second = await client.say("second", session="s")
    assert (second.is_whole, second.messages_before) == (True, 2)
    said = exchanges(await client.messages("s"))
    assert [question.split()[0] for question, _ in said] == ["running", "second"]
    assert [answer for _, answer in said] == [(await first).text, second.text]


# Who forks


async def test_a_fork_goes_on_in_a_copy_and_the_original_gets_its_own_turn(client: SessionClient) -> None:
    instructions = {"role": "system", "content": "You are brief."}
    before = await client.say([instructions, user("before")], session="s")
    async with running_turn(client, "s") as first:
        fork = await client.say("aside", session="s", stream=True, headers=FORK)
        assert not first.done()
    assert (fork.is_whole, fork.messages_before) == (True, 3)
    assert fork.headers["x-claude-wrapper-session-forked-from"] == "s"
    copy = fork.headers["x-claude-wrapper-session"]
    assert copy != "s"
    shown = await client.messages(copy)
    assert shown[0] == instructions
    assert exchanges(shown[1:]) == [("before", before.text), ("aside", fork.text)]
    assert fork.text.startswith("You said: “aside”. This is turn 2.")
    assert exchanges((await client.messages("s"))[1:]) == [
        ("before", before.text),
        (f"running {SLOWLY}", (await first).text),
    ]
    further = await client.say("further", session=copy)
    assert (further.is_whole, further.messages_before) == (True, 5)


async def test_a_fork_from_a_first_turn_begins_anew(client: SessionClient) -> None:
    async with running_turn(client, "s"):
        fork = await client.say("aside", session="s", headers=FORK)
    assert (fork.is_whole, fork.messages_before) == (True, 0)
    assert fork.headers["x-claude-wrapper-session-forked-from"] == "s"
    assert exchanges(await client.messages(fork.headers["x-claude-wrapper-session"])) == [("aside", fork.text)]
    assert len(exchanges(await client.messages("s"))) == 1


async def test_a_fork_from_a_session_without_turns_has_its_instructions(client: SessionClient) -> None:
    instructions = {"role": "system", "content": "You are brief."}
    await client.ask("POST", "", {"id": "s", "messages": [instructions]}, status=201)
    async with running_turn(client, "s"):
        fork = await client.say("aside", session="s", headers=FORK)
    assert fork.is_whole
    copy = await client.messages(fork.headers["x-claude-wrapper-session"])
    assert (copy[0], exchanges(copy[1:])) == (instructions, [("aside", fork.text)])


async def test_nothing_is_forked_from_a_session_that_is_free(client: SessionClient) -> None:
    for number in range(2):
        said = await client.say("hello", session="s", headers=FORK)
        assert (said.is_whole, said.messages_before) == (True, 2 * number)
        assert said.headers["x-claude-wrapper-session"] == "s"
        assert "x-claude-wrapper-session-forked-from" not in said.headers


# What is dropped


def results(calls: Any) -> list[dict[str, Any]]:
    """Results of the tools that an answer calls."""
    return [{"role": "tool", "tool_call_id": call, "content": f"sunny {number}"} for number, call in enumerate(calls)]


@pytest.mark.parametrize(
    "bound", [{"session_max_messages": 14}, {"session_max_bytes": 1800}, {"session_max_messages": 4}]
)
async def test_the_oldest_whole_turns_go_and_no_result_of_a_tool_stays_without_its_call(
    shared_server: RedisServer, simulator: Simulator, bound: dict[str, int]
) -> None:
    """Each question is two turns: it and its calls; their results and the answer. Every prompt is accepted upstream."""
    async with clients_of(shared_server, simulator, **bound) as (_, client):
        dropped = messages = 0
        for number in range(8):
            question = f"{number}: call get_weather for Rome, get_weather for Oslo, and get_time for Tokyo."
            asked = await client.say(question, session="s", tools=TOOLS)
            assert (asked.is_whole, len(asked.calls)) == (True, 3), asked
            answered = await client.say(results(asked.calls), session="s", tools=TOOLS)
            assert answered.is_whole, answered
            for said, new in ((asked, 2), (answered, 4)):
                gone = int(said.headers.get("x-claude-wrapper-session-dropped", "0"))
                assert said.messages_before == messages - gone
                messages, dropped = messages - gone + new, dropped + gone
            shown = await client.ask("GET", "/s")
            assert (shown["message_count"], shown["dropped_messages"]) == (messages, dropped)
            assert whole_turns(shown["messages"])
            if "session_max_messages" in bound:
                assert messages <= max(bound["session_max_messages"], 6)
            else:
                assert shown["size_bytes"] <= bound["session_max_bytes"] + 400  # of the answer
        assert dropped > 20


def whole_turns(messages: list[dict[str, Any]]) -> bool:
    """Whether a session begins with a question, and each result of a tool stands behind its call."""
    open_calls: set[str] = set()
    for message in messages:
        if message["role"] == "assistant":
            open_calls |= {call["id"] for call in message.get("tool_calls") or ()}
        if message["role"] == "tool" and message["tool_call_id"] not in open_calls:
            return False
    return bool(messages[0]["role"] == "user")


async def test_a_turn_that_is_too_large_for_a_session_is_refused_and_changes_nothing(
    shared_server: RedisServer, simulator: Simulator
) -> None:
    async with clients_of(shared_server, simulator, session_max_bytes=2000) as (_, client):
        before = await client.say("before", session="s")
        large = await client.say("x" * 2000, session="s")
        assert large.error is not None
        assert (large.status, large.error["code"]) == (400, "session_too_large")
        assert exchanges(await client.messages("s")) == [("before", before.text)]
        assert (await client.say("after", session="s", headers={WAIT: str(AT_ONCE_S)})).is_whole


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_the_session_that_was_idle_longest_goes_for_one_too_many(
    shared_server: RedisServer, simulator: Simulator, *, stream: bool
) -> None:
    async with clients_of(shared_server, simulator, max_sessions=3) as (replicas, client):
        for session in ("a", "b", "c", "a"):
            said = await client.say("hello", session=session, stream=stream)
            assert "x-claude-wrapper-session-evicted" not in said.headers
        said = await client.say("hello", session="d", stream=stream)
        assert said.headers["x-claude-wrapper-session-evicted"] == "b"
        await replicas.at_rest()
        assert [one["id"] for one in (await client.ask("GET"))["data"]] == ["d", "a", "c"]
        assert await client.messages("b") == []
        assert len(replicas.keys("session")) == len(replicas.keys("turns")) == len(replicas.keys("seat")) == 3
        again = await client.say("hello", session="b", stream=stream)
        assert (again.messages_before, again.headers["x-claude-wrapper-session-evicted"]) == (0, "c")


async def test_a_fork_is_one_session_more(shared_server: RedisServer, simulator: Simulator) -> None:
    async with clients_of(shared_server, simulator, max_sessions=2) as (_, client):
        for session in ("idle", "s"):
            assert (await client.say("hello", session=session)).is_whole
        async with running_turn(client, "s"):
            for gone, stream in (("idle", True), ("s", False)):
                fork = await client.say("aside", session="s", stream=stream, headers=FORK)
                assert fork.headers["x-claude-wrapper-session-evicted"] == gone
        assert "s" in [one["id"] for one in (await client.ask("GET"))["data"]]


# What fails

CUT = {
    "an error before the answer": "[[sim: status=500]]",
    "an error within the answer": "[[sim: error_after_events=4]]",
    "a connection that is cut at once": "[[sim: cut_at_byte=200]]",
    "a connection that is cut later": "[[sim: output_tokens=400 cut_at_byte=900]]",
    "no answer at all": "[[sim: drop]]",
}


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("script", CUT.values(), ids=CUT)
async def test_a_turn_whose_upstream_fails_leaves_nothing_and_the_session_is_free(
    client: SessionClient, script: str, *, stream: bool
) -> None:
    failed = await client.say(f"new {script}", session="s", stream=stream)
    assert (failed.error is not None, failed.is_whole) == (True, False)
    assert await client.messages("s") == []
    assert (await client.ask("GET"))["data"] == []
    first = await client.say("first", session="s", stream=stream, headers={WAIT: str(AT_ONCE_S)})
    assert (first.is_whole, first.messages_before) == (True, 0)
    failed = await client.say(f"again {script}", session="s", stream=stream)
    assert failed.error is not None
    second = await client.say("second", session="s", stream=stream, headers={WAIT: str(AT_ONCE_S)})
    assert (second.is_whole, second.messages_before) == (True, 2)
    assert exchanges(await client.messages("s")) == [("first", first.text), ("second", second.text)]


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_a_turn_whose_client_leaves_leaves_nothing_and_the_session_is_free(
    client: SessionClient, simulator: Simulator, *, stream: bool
) -> None:
    simulator.reset()
    first = await client.say("first", session="s", stream=stream)
    for session in ("s", "new"):
        left = asyncio.create_task(client.say(f"leaving {session} {SLOWLY}", session=session, stream=stream))
        await asyncio.to_thread(
            simulator.journal_until,
            lambda entries, asked=f"leaving {session}": any(asked in str(entry["body"]) for entry in entries),
        )
        left.cancel()
        await asyncio.gather(left, return_exceptions=True)
    for session, before in (("s", 2), ("new", 0)):
        assert len(await client.messages(session)) == before
        said = await client.say("second", session=session, stream=stream, headers={WAIT: str(AT_ONCE_S)})
        assert (said.is_whole, said.messages_before) == (True, before)
    assert exchanges(await client.messages("s"))[0] == ("first", first.text)
    assert answers_in_place(exchanges(await client.messages("s")))


async def test_whoever_leaves_while_waiting_for_a_session_takes_no_lease(client: SessionClient) -> None:
    async with running_turn(client, "s"):
        waiting = [asyncio.create_task(client.say(f"leaving {number}", session="s")) for number in range(6)]
        await asyncio.sleep(0.1)  # they are somewhere on their way
        for one in waiting:
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    said = await client.say("second", session="s", headers={WAIT: str(AT_ONCE_S)})
    assert (said.is_whole, said.messages_before) == (True, 2)


async def test_a_client_that_leaves_at_any_moment_leaves_a_whole_turn_or_none(client: SessionClient) -> None:
    """Bound: whoever comes next has the session at once. 60 clients, each of which leaves a little later."""
    for number in range(60):
        turn = asyncio.create_task(client.say(f"q{number}", session="s", stream=number % 2 == 0))
        await asyncio.wait([turn], timeout=number / 2000)
        turn.cancel()
        await asyncio.gather(turn, return_exceptions=True)
        began = time.monotonic()
        assert (await client.say(f"after q{number}", session="s", headers={WAIT: str(AT_ONCE_S)})).is_whole
        assert time.monotonic() - began < AT_ONCE_S
    said = exchanges(await client.messages("s"))
    assert answers_in_place(said)
    assert [question for question, _ in said if question.startswith("after")] == [f"after q{n}" for n in range(60)]


# How long they are kept


async def test_a_session_is_gone_when_it_was_not_used_for_its_time_to_live(
    shared_server: RedisServer, simulator: Simulator
) -> None:
    """2 s, from the last use: turns and appends prolong it, looking at it does not. Lists and figures agree."""
    async with clients_of(shared_server, simulator, session_ttl=2) as (replicas, client):
        began = time.monotonic()
        turns = 0
        while time.monotonic() - began < 3.0:
            said = await client.say("hello", session="s", stream=turns % 2 == 0)
            assert said.messages_before == 2 * turns
            turns += 1
            await asyncio.sleep(0.7)
        used_at = time.monotonic()
        await client.append("s", "a note")
        listed = (await client.ask("GET"))["data"]
        stats = await client.ask("GET", "/stats")
        assert ([one["id"] for one in listed], stats["activeSessions"], stats["ttl"]) == (["s"], 1, 2)
        async with asyncio.timeout(10):
            while await client.messages("s"):  # noqa: ASYNC110 - a key that expires tells nobody
                await asyncio.sleep(0.05)
        assert 1.9 < time.monotonic() - used_at < 4.0
        stats = await client.ask("GET", "/stats")
        assert (await client.ask("GET"))["data"] == []
        assert (stats["activeSessions"], stats["totalSessions"]) == (0, stats["expiredSessions"])
        assert replicas.keys("session") == replicas.keys("turns") == replicas.keys("seat") == []
        assert (await client.say("hello", session="s")).messages_before == 0


async def test_a_turn_may_take_longer_than_a_session_lives(shared_server: RedisServer, simulator: Simulator) -> None:
    async with clients_of(shared_server, simulator, session_ttl=1) as (replicas, client):
        assert (await client.say("hello", session="s")).is_whole
        slow = await client.say("slow [[sim: output_tokens=50 tokens_per_second=20]]", session="s", stream=True)
        assert (slow.is_whole, slow.messages_before) == (True, 2)
        assert len(exchanges(await client.messages("s"))) == 2
        async with client.open(f"left {SLOWLY}", session="s") as left:
            await left.content.readany()
        await replicas.at_rest()
        await until(lambda: not replicas.keys("session"))
