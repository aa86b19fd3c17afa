"""Equal requests on several replicas share one upstream call, whoever of them comes, leaves or fails.

What only processes can show (a worker that is killed, 100 clients at once) is in ``test_single_flight.py``.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Awaitable, Mapping
from typing import Any

import pytest

from tests.support.chat_frames import frames
from tests.support.chat_wire import Reply, Wire, post, until
from tests.support.redis import RedisServer
from tests.support.replicas import Key
from tests.support.replicas_here import ReplicasHere
from tests.support.shared_requests import SLOW, body, clean_replicas, key, own_server, simulator, text_of, topic
from tests.support.simulator import Simulator

__all__ = ["key", "own_server", "simulator", "topic"]

CACHED = {"cache-control": "max-age=60"}

#: Some 20 seconds of answer.
LONG = "[[sim: tokens_per_second=20 delta_tokens=1 output_tokens=400]]"

#: From leaving to the end of the upstream call, the best of some tries: a busy machine only ever adds to it.
CANCELLED_WITHIN_S = 0.1
TRIES = 3


@pytest.fixture
async def replicas(own_server: RedisServer, simulator: Simulator) -> AsyncIterator[ReplicasHere]:
    async with clean_replicas(own_server, simulator) as replicas:
        yield replicas


def words(reply: Reply) -> str:
    """Where an answer came from."""
    return reply.headers["x-claude-wrapper-cache"]


class Asker:
    """A client that may leave."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire

    async def begun(self) -> None:
        """Has got something of its answer."""
        status, _ = await self.wire.head()
        assert status == 200
        await self.wire.until(b'"content":"')

    def leave(self) -> float:
        """Goes away; when, in Unix seconds."""
        self.wire.reset()
        return time.time()


async def asker(
    replicas: ReplicasHere, key: Key, request: bytes, replica: int, headers: Mapping[str, str] = CACHED
) -> Asker:
    wire = await replicas.gateways[replica].wire()
    lines = {"authorization": f"Bearer {key.text}", **headers}
    wire.send(post(request, headers="".join(f"{name}: {value}\r\n" for name, value in lines.items())))
    return Asker(wire)


async def called(replicas: ReplicasHere, about: str, calls: int = 1) -> list[dict[str, Any]]:
    """The upstream calls about something, once there are so many."""
    async with asyncio.timeout(20):
        while len(entries := await replicas.upstream(about)) < calls:  # noqa: ASYNC110 - the simulator does not tell
            await asyncio.sleep(0.01)
    return entries


async def ended(replicas: ReplicasHere, about: str) -> list[dict[str, Any]]:
    """The upstream calls about something, once all are over."""
    async with asyncio.timeout(20):
        while True:
            entries = await replicas.upstream(about)
            if entries and all(entry["outcome"] for entry in entries):
                return entries
            await asyncio.sleep(0.01)


async def waiting(replicas: ReplicasHere, workers: int) -> None:
    """Returns once so many workers wait for a flight of another one."""

    def count() -> int:
        fields = [field for name in replicas.keys("flight") for field in replicas.server.ask("HKEYS", name)]  # type: ignore[attr-defined]
        return sum(field.startswith(b"wake ") for field in fields)

    await until(lambda: count() >= workers)


def members(replicas: ReplicasHere, replica: int) -> int:
    """Requests of a replica that share an answer in the making."""
    flights = replicas.gateways[replica].app._app.state.services.flights._open.values()
    return sum(flight.members for flight in flights)


# The leader's client leaves


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_the_call_goes_on_when_the_leaders_client_leaves_and_one_of_the_same_worker_remains(
    replicas: ReplicasHere, key: Key, topic: str, stream: bool
) -> None:
    request = body(f"{topic} {SLOW}", stream=stream)
    leader = await asker(replicas, key, request, 0)
    await called(replicas, topic)
    follower = asyncio.create_task(replicas.ask(request, key, CACHED, replica=0))
    await until(lambda: members(replicas, 0) == 2)
    leader.leave()
    reply = await follower

    assert text_of(reply)
    assert words(reply) == "JOINED"
    assert [entry["outcome"] for entry in await ended(replicas, topic)] == ["completed"]


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_the_call_goes_on_when_the_leaders_client_leaves_and_those_of_other_workers_remain(
    replicas: ReplicasHere, key: Key, topic: str, stream: bool
) -> None:
    request = body(f"{topic} {SLOW}", stream=stream)
    leader = await asker(replicas, key, request, 0)
    await called(replicas, topic)
    followers = [asyncio.create_task(replicas.ask(request, key, CACHED, replica=other)) for other in (1, 2, 2)]
    await waiting(replicas, 2)
    leader.leave()
    replies = await asyncio.gather(*followers)

    assert len({text_of(reply) for reply in replies}) == 1
    assert {words(reply) for reply in replies} == {"JOINED"}
    assert [entry["outcome"] for entry in await ended(replicas, topic)] == ["completed"]


async def test_the_call_is_cancelled_when_nobody_remains(replicas: ReplicasHere, key: Key, topic: str) -> None:
    """Bound: 100 ms from the last client's leaving to the end of the upstream call."""
    taken = []
    for number in range(TRIES):
        about = f"{topic}, {number}:"
        request = body(f"{about} {LONG}", stream=True)
        askers = [await asker(replicas, key, request, 0) for _ in range(3)]
        for one in askers:
            await one.begun()
        for one in askers:
            left_at = one.leave()
        (entry,) = await ended(replicas, about)
        assert entry["outcome"] == "cancelled"
        taken.append(entry["client_closed_at"] - left_at)

    assert min(taken) < CANCELLED_WITHIN_S


async def test_a_call_that_only_other_workers_waited_for_is_cancelled_once_they_have_left(
    replicas: ReplicasHere, key: Key, topic: str
) -> None:
    """The leader looks with each renewal of its lease, every 4 s."""
    request = body(f"{topic} {LONG}", stream=True)
    leader = await asker(replicas, key, request, 0)
    await leader.begun()
    follower = await asker(replicas, key, request, 1)
    await waiting(replicas, 1)
    leader.leave()
    await asyncio.sleep(0.3)
    assert [entry["outcome"] for entry in await replicas.upstream(topic)] == [""]
    left_at = follower.leave()
    (entry,) = await ended(replicas, topic)

    assert entry["outcome"] == "cancelled"
    assert entry["client_closed_at"] - left_at < 8.0


async def test_one_who_comes_back_at_once_finds_the_call_that_the_last_one_left(
    replicas: ReplicasHere, key: Key, topic: str
) -> None:
    """Whoever left and whoever came may be noticed in any order: the answer comes, and nothing is left behind."""
    request = body(f"{topic} [[sim: tokens_per_second=100 output_tokens=30]]", stream=True)
    for _ in range(10):
        first = await asker(replicas, key, request, 0, {"cache-control": "max-age=1"})
        await first.begun()
        again = asyncio.create_task(replicas.ask(request, key, {"cache-control": "max-age=1"}, replica=0))
        await asyncio.sleep(random.random() * 0.01)
        first.leave()
        assert text_of(await again)


# The leader fails


#: Case -> what the simulator does.
FAILURES = {
    "an error": "status=500",
    "an overload": "status=529",
    "an error before the first event": "error_after_events=0",
    "no answer at all": "drop",
    "cut in the middle": "cut_at_byte=900 output_tokens=200",
    "nonsense": "nonsense=html",
}


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("failure", FAILURES)
async def test_an_answer_that_failed_is_not_stored_and_each_worker_makes_at_most_one_call(
    replicas: ReplicasHere, key: Key, topic: str, failure: str, stream: bool
) -> None:
    request = body(f"{topic} [[sim: ttft_ms=600 {FAILURES[failure]}]]", stream=stream)
    asked = [replicas.ask(request, key, CACHED, replica=number % 3) for number in range(12)]
    async with asyncio.timeout(30):
        replies = await asyncio.gather(*asked)
    await replicas.at_rest()

    for reply in replies:
        if reply.status == 200:  # it had begun: an error in band, and no good end
            assert stream
            assert "[DONE]" not in frames(reply.body)
            assert "error" in frames(reply.body)[-1]
        else:
            assert json.loads(reply.body)["error"]["message"]
    assert 1 <= len(await replicas.upstream(topic)) <= 3
    assert not replicas.keys("answer")


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("stop_reason", ["max_tokens", "refusal"])
async def test_an_answer_that_is_not_good_for_others_is_not_stored(
    replicas: ReplicasHere, key: Key, topic: str, stop_reason: str, stream: bool
) -> None:
    """Those of the leader's worker share it; every other worker makes its own."""
    request = body(f"{topic} [[sim: ttft_ms=600 output_tokens=20 stop_reason={stop_reason}]]", stream=stream)
    asked = [replicas.ask(request, key, CACHED, replica=number % 3) for number in range(12)]
    replies = await asyncio.gather(*asked)
    await replicas.at_rest()

    assert {reply.status for reply in replies} == {200}
    assert len(await replicas.upstream(topic)) == 3
    assert not replicas.keys("answer")


async def test_a_follower_whose_leader_is_cut_off_in_the_middle_gets_an_error_and_no_good_end(
    replicas: ReplicasHere, key: Key, topic: str
) -> None:
    request = body(
        f"{topic} [[sim: tokens_per_second=60 delta_tokens=1 output_tokens=60 cut_at_byte=2500]]", stream=True
    )
    leader = asyncio.create_task(replicas.ask(request, key, CACHED, replica=0))
    await called(replicas, topic)
    follower = asyncio.create_task(replicas.ask(request, key, CACHED, replica=0))
    replies = await asyncio.gather(leader, follower)

    assert [words(reply) for reply in replies] == ["MISS", "JOINED"]
    for reply in replies:
        *said, last = frames(reply.body)
        assert said[-1]["choices"][0]["delta"]["content"]
        assert last["error"]["message"]
    assert len(await replicas.upstream(topic)) == 1


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_a_leader_that_is_refused_by_its_limits_does_not_keep_the_others_waiting(
    replicas: ReplicasHere, topic: str, stream: bool
) -> None:
    """Its key has no requests left; those of other keys that share with it go on, with one call."""
    sharing = {"share_within": "tenant"}
    poor = await replicas.create_key("sharers", cache=sharing, requests_per_minute=1)
    rich = await replicas.create_key("sharers", cache=sharing)
    assert (await replicas.ask(body(f"{topic} the only one"), poor, replica=0)).status == 200
    request = body(f"{topic} shared {SLOW}", stream=stream)
    asked = [
        replicas.ask(request, key, CACHED, replica=replica)
        for replica in range(3)
        for key in (poor, rich, rich, poor, rich)
    ]
    replies = await asyncio.gather(*asked)

    assert [reply.status for reply in replies] == [429, 200, 200, 429, 200] * 3
    assert len({text_of(reply) for reply in replies if reply.status == 200}) == 1
    assert len(await replicas.upstream(f"{topic} shared")) == 1


async def test_concurrency_that_the_followers_hold_is_given_back(replicas: ReplicasHere, topic: str) -> None:
    key = await replicas.create_key("narrow", concurrency=6, requests_per_minute=12)
    request = body(f"{topic} {SLOW}")
    replies = await asyncio.gather(*(replicas.ask(request, key, CACHED, replica=n % 3) for n in range(9)))
    assert sorted(reply.status for reply in replies) == [200] * 6 + [429] * 3
    await replicas.settled(key.tag)
    again = await asyncio.gather(*(replicas.ask(request, key, CACHED, replica=n % 3) for n in range(6)))
    assert [words(reply) for reply in again] == ["HIT"] * 6
    await replicas.settled(key.tag)
    # One request was made, and eleven are left of twelve a minute.
    more = [await replicas.ask(body(f"{topic} {n}"), key, replica=0) for n in range(11)]

    assert [reply.status for reply in more] == [200] * 11


# Who shares


async def test_keys_of_a_tenant_share_only_where_that_is_said(replicas: ReplicasHere, topic: str) -> None:
    own = [await replicas.create_key("apart") for _ in range(2)]
    shared = [await replicas.create_key("together", cache={"share_within": "tenant"}) for _ in range(2)]
    apart, together = body(f"{topic} apart {SLOW}"), body(f"{topic} together {SLOW}")
    asked: list[Awaitable[Reply]] = [replicas.ask(apart, key, CACHED, replica=n) for n in range(3) for key in own]
    asked += [replicas.ask(together, key, CACHED, replica=n) for n in range(3) for key in shared]
    await asyncio.gather(*asked)

    assert len(await replicas.upstream(f"{topic} apart")) == 2
    assert len(await replicas.upstream(f"{topic} together")) == 1


async def test_keys_of_two_tenants_never_share(replicas: ReplicasHere, topic: str) -> None:
    keys = [await replicas.create_key(name, cache={"share_within": "tenant"}) for name in ("one", "another")]
    request = body(f"{topic} {SLOW}")
    await asyncio.gather(*(replicas.ask(request, key, CACHED, replica=n) for n in range(3) for key in keys))

    assert len(await replicas.upstream(topic)) == 2


async def test_a_request_of_a_session_shares_nothing(replicas: ReplicasHere, key: Key, topic: str) -> None:
    headers = {**CACHED, "x-session-id": "a-session"}
    first = await replicas.ask(body(topic), key, headers)
    second = await replicas.ask(body(topic), key, headers)

    assert (words(first), words(second)) == ("BYPASS", "BYPASS")
    assert len(await replicas.upstream(topic)) == 2
    assert not replicas.keys("answer")


async def test_an_answer_that_is_too_old_for_a_follower_is_made_anew(
    replicas: ReplicasHere, key: Key, topic: str
) -> None:
    """Both ask at the same time on one worker; one of them takes an answer of a second ago, the other does not."""
    request = body(topic)
    await replicas.ask(request, key, CACHED, replica=1)
    await replicas.at_rest()
    await asyncio.sleep(1.1)
    for _ in range(5):
        patient, strict = await asyncio.gather(
            replicas.ask(request, key, CACHED, replica=0),
            replicas.ask(request, key, {"cache-control": "max-age=1"}, replica=0),
        )
        assert int(patient.headers.get("age", "0")) <= 60
        assert int(strict.headers.get("age", "0")) <= 1
        await replicas.at_rest()
        await asyncio.sleep(1.1)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_two_choices_are_one_entry(replicas: ReplicasHere, key: Key, topic: str, stream: bool) -> None:
    request = body(f"{topic} {SLOW}", n=2, stream=stream)
    replies = await asyncio.gather(*(replicas.ask(request, key, CACHED, replica=n % 3) for n in range(6)))
    await replicas.at_rest()

    assert len(await replicas.upstream(topic)) == 2
    assert len(replicas.keys("answer")) >= 1
    for reply in replies:
        if stream:
            shown = [frame for frame in frames(reply.body) if isinstance(frame, dict)]
            assert {choice["index"] for frame in shown for choice in frame["choices"]} == {0, 1}
            assert len({frame["id"] for frame in shown}) == 1
        else:
            assert [choice["index"] for choice in json.loads(reply.body)["choices"]] == [0, 1]


# Everybody at once


async def test_clients_that_come_and_leave_at_random_get_whole_answers_and_leave_nothing(
    replicas: ReplicasHere, key: Key, topic: str
) -> None:
    """Each generation says another number, so that a spliced answer would show."""
    chance = random.Random(4)
    most_calls = 150
    for number in range(most_calls):
        await replicas.script(
            match=topic,
            text=" ".join([f"g{number}"] * 25),
            tokens_per_second=400,
            delta_tokens=1,
            times=most_calls - number,
        )

    async def come(replica: int) -> None:
        await asyncio.sleep(chance.random() * 1.5)
        one = await asker(replicas, key, body(topic, stream=True), replica, {"cache-control": "max-age=1"})
        if chance.random() < 0.5:
            await asyncio.sleep(chance.random() * 0.2)
            one.leave()
            return
        reply = await one.wire.reply()
        one.wire.close()
        assert reply.status == 200, reply.body
        said = text_of(reply).split()
        assert len(said) == 25
        assert len(set(said)) == 1

    await asyncio.gather(*(come(number % 3) for number in range(150)))
    await replicas.settled(key.tag)
