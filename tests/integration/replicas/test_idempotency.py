"""``Idempotency-Key``: a retry gets the first answer, on any replica, also while that is still being made."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, cast

import pytest

from tests.support.chat_frames import frames
from tests.support.chat_wire import Reply, post, until
from tests.support.redis import RedisServer, RedisServers, redis_servers
from tests.support.replicas import Key
from tests.support.replicas_here import ReplicasHere, replicas_here
from tests.support.shared_requests import SLOW, body, clean_replicas, key, own_server, simulator, text_of, topic
from tests.support.simulator import Simulator

__all__ = ["key", "own_server", "redis_servers", "simulator", "topic"]


both_forms = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])


@pytest.fixture
async def replicas(own_server: RedisServer, simulator: Simulator) -> AsyncIterator[ReplicasHere]:
    async with clean_replicas(own_server, simulator, secret="") as replicas:
        yield replicas


def named(name: str, **further: str) -> dict[str, str]:
    return {"idempotency-key": name, **{header.replace("_", "-"): value for header, value in further.items()}}


def is_replayed(reply: Reply) -> bool:
    """Whether an answer says that it was given before."""
    assert reply.status == 200, reply.body
    return reply.headers.get("idempotent-replayed") == "true"


async def different_texts(replicas: ReplicasHere, topic: str, calls: int = 8) -> None:
    """Every call about something is answered by another text."""
    for number in range(calls):
        await replicas.script(match=topic, text=f"answer {calls - number}", times=calls - number)


async def messages(replicas: ReplicasHere, key: Key, session: str) -> list[dict[str, Any]]:
    shown = await replicas.get(f"/v1/sessions/{session}", key)
    found: list[dict[str, Any]] = shown["messages"]
    return found


async def called(replicas: ReplicasHere, about: str) -> None:
    """Returns once a call about something has reached the upstream."""
    async with asyncio.timeout(20):
        while not await replicas.upstream(about):  # noqa: ASYNC110 - the simulator does not tell
            await asyncio.sleep(0.01)


# Again


@both_forms
@pytest.mark.parametrize("fields", [{}, {"n": 2}], ids=["one choice", "two choices"])
async def test_a_retry_on_another_replica_gets_the_first_answer_byte_by_byte(
    replicas: ReplicasHere, key: Key, topic: str, stream: bool, fields: Mapping[str, Any]
) -> None:
    await different_texts(replicas, topic)
    options = {"stream_options": {"include_usage": True}} if stream else {}
    request = body(topic, stream=stream, **options, **fields)
    first, *again = [await replicas.ask(request, key, named("a")) for _ in range(4)]

    assert [is_replayed(reply) for reply in (first, *again)] == [False, True, True, True]
    assert {reply.headers["x-claude-wrapper-cache"] for reply in (first, *again)} == {"BYPASS"}
    assert not any("age" in reply.headers for reply in (first, *again))
    if not (stream and fields):  # streamed choices come in any order
        assert {reply.body for reply in again} == {first.body}
    assert {frozenset(reply.body.split(b"\n\n")) for reply in again} == {frozenset(first.body.split(b"\n\n"))}
    assert len(await replicas.upstream(topic)) == fields.get("n", 1)


async def test_a_retry_may_want_the_other_form(replicas: ReplicasHere, key: Key, topic: str) -> None:
    await different_texts(replicas, topic)
    replies = [await replicas.ask(body(topic, stream=stream), key, named("a")) for stream in (False, True, False)]

    assert {text_of(reply) for reply in replies} == {"answer 1"}
    shown = json.loads(replies[0].body)
    assert {(frame["id"], frame["created"]) for frame in frames(replies[1].body)[:-1]} == {
        (shown["id"], shown["created"])
    }


@both_forms
async def test_a_retry_joins_the_first_while_it_still_runs(
    replicas: ReplicasHere, key: Key, topic: str, stream: bool
) -> None:
    await different_texts(replicas, topic)
    request = body(f"{topic} {SLOW}", stream=stream)
    first = asyncio.create_task(replicas.ask(request, key, named("a"), replica=0))
    await called(replicas, topic)
    again = await asyncio.gather(*(replicas.ask(request, key, named("a"), replica=n % 3) for n in range(6)))

    assert not is_replayed(await first)
    assert all(map(is_replayed, again))
    assert {reply.body for reply in again} == {(await first).body}
    assert len(await replicas.upstream(topic)) == 1


async def test_a_retry_costs_nothing(replicas: ReplicasHere, key: Key, topic: str) -> None:
    for _ in range(3):
        await replicas.ask(body(topic), key, named("a"))
    await replicas.settled(key.tag)
    day = (await replicas.get("/v1/usage", key))["days"][0]

    assert (day["requests"], day["cached_requests"]) == (1, 2)


@both_forms
async def test_after_a_restart_of_all_replicas_a_retry_gets_the_first_answer(
    own_server: RedisServer, simulator: Simulator, topic: str, stream: bool
) -> None:
    own_server.ask("FLUSHALL")
    request = body(topic, stream=stream)
    async with replicas_here(own_server, simulator, secret="") as replicas:
        key = await replicas.create_key("acme")
        await different_texts(replicas, topic)
        first = await replicas.ask(request, key, named("a"))
    async with replicas_here(own_server, simulator, secret="") as replicas:
        again = [await replicas.ask(request, key, named("a")) for _ in range(3)]

        assert {reply.body for reply in again} == {first.body}
        assert len(await replicas.upstream(topic)) == 1


@pytest.mark.parametrize("stop_reason", ["max_tokens", "refusal"])
async def test_an_answer_that_no_cache_would_keep_is_kept_for_a_retry(
    replicas: ReplicasHere, key: Key, topic: str, stop_reason: str
) -> None:
    request = body(f"{topic} [[sim: stop_reason={stop_reason}]]")
    first, again = [await replicas.ask(request, key, named("a")) for _ in range(2)]

    assert is_replayed(again)
    assert first.body == again.body
    assert len(await replicas.upstream(topic)) == 1


# Another request, another key


async def test_another_request_under_the_same_key_is_refused(replicas: ReplicasHere, key: Key, topic: str) -> None:
    await replicas.ask(body(topic), key, named("a"))
    refused = [await replicas.ask(body(f"{topic}, another"), key, named("a"), replica=n) for n in range(3)]

    assert [(reply.status, reply.error["code"]) for reply in refused] == [(422, "idempotency_key_reused")] * 3
    assert {reply.error["param"] for reply in refused} == {"header.idempotency-key"}
    assert len(await replicas.upstream(topic)) == 1


async def test_another_request_is_refused_while_the_first_still_runs(
    replicas: ReplicasHere, key: Key, topic: str
) -> None:
    first = asyncio.create_task(replicas.ask(body(f"{topic} {SLOW}"), key, named("a"), replica=0))
    await called(replicas, topic)
    refused = [await replicas.ask(body(f"{topic}, another"), key, named("a"), replica=n) for n in range(3)]

    assert not first.done()
    assert [(reply.status, reply.error["code"]) for reply in refused] == [(422, "idempotency_key_reused")] * 3
    assert text_of(await first)


async def test_other_names_keys_and_tenants_are_independent(replicas: ReplicasHere, key: Key, topic: str) -> None:
    await different_texts(replicas, topic)
    sister, stranger = await replicas.create_key("acme"), await replicas.create_key("another")
    asked = [(key, "a"), (key, "b"), (sister, "a"), (stranger, "a")]
    replies = [await replicas.ask(body(topic), one, named(name)) for one, name in asked]

    assert not any(map(is_replayed, replies))
    assert len({text_of(reply) for reply in replies}) == 4


async def test_keys_that_share_within_their_tenant_share_their_retries(replicas: ReplicasHere, topic: str) -> None:
    keys = [await replicas.create_key("sharers", cache={"share_within": "tenant"}) for _ in range(2)]
    first, again = [await replicas.ask(body(topic), one, named("a")) for one in keys]

    assert is_replayed(again)
    assert first.body == again.body


# Sessions


@both_forms
async def test_a_retried_turn_is_committed_once(replicas: ReplicasHere, key: Key, topic: str, stream: bool) -> None:
    await different_texts(replicas, topic)
    await replicas.ask(body(f"{topic} before"), key, named("before", x_session_id="s"))
    request = body(topic, stream=stream)
    replies = [await replicas.ask(request, key, named("a", x_session_id="s")) for _ in range(3)]

    assert {text_of(reply) for reply in replies} == {"answer 2"}
    said = await messages(replicas, key, "s")
    assert [message["content"] for message in said] == [f"{topic} before", "answer 1", topic, "answer 2"]
    assert len(await replicas.upstream(topic)) == 2


@both_forms
async def test_a_retry_of_a_fork_names_the_copy_on_every_replica(
    replicas: ReplicasHere, key: Key, topic: str, stream: bool
) -> None:
    await different_texts(replicas, topic)
    await replicas.ask(body(f"{topic} before"), key, named("before", x_session_id="s"))
    holds = asyncio.create_task(replicas.ask(body(f"holds {SLOW}"), key, {"x-session-id": "s"}, replica=0))
    await called(replicas, "holds ")
    forks = named("a", x_session_id="s", x_claude_wrapper_session_conflict="fork", x_claude_wrapper_session_wait="0")
    replies = [await replicas.ask(body(topic, stream=stream), key, forks, replica=replica) for replica in range(3)]
    await holds

    assert [is_replayed(reply) for reply in replies] == [False, True, True]
    told = [
        {name: value for name, value in reply.headers.items() if name.startswith("x-claude-wrapper-session")}
        for reply in replies
    ]
    assert told[1:] == [told[0]] * 2
    assert told[0]["x-claude-wrapper-session-forked-from"] == "s"
    assert len(await messages(replicas, key, told[0]["x-claude-wrapper-session"])) == 4


@both_forms
async def test_turns_that_are_sent_at_once_under_one_key_are_one_turn(
    replicas: ReplicasHere, key: Key, topic: str, stream: bool
) -> None:
    """Whoever waits for the answer does not hold the session that whoever makes it waits for."""
    await different_texts(replicas, topic, 30)
    for number in range(5):
        request = body(f"{topic} {number}", stream=stream)
        header = named(f"turn {number}", x_session_id="s")
        async with asyncio.timeout(8):  # a lease lasts 12 s
            replies = await asyncio.gather(*(replicas.ask(request, key, header, replica=n % 3) for n in range(6)))
        assert len({text_of(reply) for reply in replies}) == 1
        assert len({reply.body for reply in replies}) == 1
    said = await messages(replicas, key, "s")

    assert [message["content"] for message in said[::2]] == [f"{topic} {number}" for number in range(5)]
    assert len(await replicas.upstream(topic)) == 5


# Failures


@both_forms
@pytest.mark.parametrize("failure", ["status=500", "drop", "cut_at_byte=700 output_tokens=300"])
async def test_what_failed_is_run_again(
    replicas: ReplicasHere, key: Key, topic: str, failure: str, stream: bool
) -> None:
    request = body(f"{topic} [[sim: {failure} times=1]]", stream=stream)
    failed = await replicas.ask(request, key, named("a", x_session_id="s"))
    again = [await replicas.ask(request, key, named("a", x_session_id="s")) for _ in range(2)]

    assert failed.status >= 500 or b"[DONE]" not in failed.body
    assert [is_replayed(reply) for reply in again] == [False, True]
    assert len(await replicas.upstream(topic)) == 2
    assert len(await messages(replicas, key, "s")) == 2


async def test_a_call_whose_client_has_left_is_run_again(replicas: ReplicasHere, key: Key, topic: str) -> None:
    request = body(f"{topic} {SLOW}")
    wire = await replicas.gateways[0].wire()
    lines = {"authorization": f"Bearer {key.text}", **named("a")}
    wire.send(post(request, headers="".join(f"{name}: {value}\r\n" for name, value in lines.items())))
    await called(replicas, topic)
    wire.reset()
    again = await replicas.ask(request, key, named("a"), replica=1)

    assert text_of(again)


async def test_comments_reach_a_stream_that_waits_for_another_replica(
    own_server: RedisServer, simulator: Simulator, topic: str
) -> None:
    own_server.ask("FLUSHALL")
    async with replicas_here(own_server, simulator, stream_keepalive_s=0.1) as replicas:
        key = await replicas.create_key("acme")
        request = body(f"{topic} {SLOW}", stream=True)
        first = asyncio.create_task(replicas.ask(request, key, named("a"), replica=0))
        await called(replicas, topic)
        waited = await replicas.ask(request, key, named("a"), replica=1)

        assert waited.body.startswith(b": ping\n\n")
        assert text_of(waited) == text_of(await first)
        assert len(await replicas.upstream(topic)) == 1


async def test_without_redis_it_is_refused(redis_servers: RedisServers, simulator: Simulator, topic: str) -> None:
    """Its promise cannot be kept; the same request without it goes on."""
    server = redis_servers()
    async with replicas_here(server, simulator, count=1, redis_timeout_s=0.5) as replicas:
        key = await replicas.create_key("acme")
        assert (await replicas.ask(body(topic), key)).status == 200
        server.kill()
        refused = await replicas.ask(body(topic), key, named("a"))

        assert (refused.status, refused.error["code"]) == (503, "state_unavailable")
        assert int(refused.headers["retry-after"]) >= 1
        assert (await replicas.ask(body(topic), key)).status == 200


async def test_its_keys_in_redis_expire(replicas: ReplicasHere, key: Key, topic: str) -> None:
    await replicas.ask(body(topic), key, named("a"))
    (name,) = replicas.keys("once")
    seconds = cast("int", replicas.server.ask("TTL", name))
    await until(lambda: not replicas.keys("flight"))

    assert 86_000 < seconds <= 86_400
