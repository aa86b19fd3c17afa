"""What the gateway keeps while Redis fails: sessions, kept thinking, Idempotency-Keys, cached answers.

Nothing of it may be forgotten, forked, or half there; nobody waits longer than the deadlines of Redis; what does not
need Redis goes on without it (DESIGN.md section 4).
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from tests.support.books import Books
from tests.support.chat_wire import Reply, Wire, post, until
from tests.support.gateway_here import GatewayHere, gateway_here
from tests.support.kept_load import (
    Agent,
    CachedClient,
    KeptClient,
    KeptLoad,
    OnceClient,
    Said,
    SessionWriter,
    answer,
    question,
)
from tests.support.outage import (
    FAULTS,
    Deaf,
    FailedOver,
    Fault,
    Frozen,
    Killed,
    OutOfMemory,
    ReadOnly,
    Site,
    Slow,
    Unreachable,
)
from tests.support.outage_gateway import FILE_KEYS, TAG, Counted, away, services_of, settled
from tests.support.redis import RedisServer
from tests.support.simulator import Simulator

KEY = FILE_KEYS["open"]
CLIENTS: dict[type[KeptClient], int] = {SessionWriter: 5, Agent: 2, OnceClient: 3, CachedClient: 3}

#: A turn asks before its call, and once more after it where its commit was not answered; and a machine on which
#: everything stands still for a moment.
LONGEST_S = 2 * 0.25 + 1.0
RECOVERY_S = 2.0
LOG_LINES = 20
STATE_AWAY = (503, "state_unavailable")


@asynccontextmanager
async def started(site: Site, simulator: Simulator, keys_file: Path, **settings: Any) -> AsyncIterator[GatewayHere]:
    """A gateway before a Redis that will fail; at its end nothing may be held any more."""
    async with gateway_here(
        simulator.base_url,
        redis_url=site.url,
        keys_file=str(keys_file),
        admin_key="the-admin-key-of-outages",
        **settings,
    ) as gateway:
        yield gateway


async def ask(gateway: GatewayHere, body: dict[str, Any], headers: str = "", **more: Any) -> Reply:
    """One request with the key that goes on without Redis."""
    return await gateway.ask(json.dumps(body).encode(), headers=f"authorization: Bearer {KEY}\r\n{headers}", **more)


async def route(gateway: GatewayHere, method: str, path: str, body: Any = None, key: str = KEY) -> Reply:
    """One of the routes of sessions."""
    wire = await gateway.wire()
    sent = b"" if body is None else json.dumps(body).encode()
    head = f"{method} /v1/sessions{path} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {key}\r\n"
    wire.send(f"{head}content-type: application/json\r\ncontent-length: {len(sent)}\r\n\r\n".encode() + sent)
    reply = await wire.reply()
    wire.close()
    return reply


async def messages_of(gateway: GatewayHere, session: str) -> list[dict[str, Any]]:
    """The history of a session; empty where there is none."""
    reply = await route(gateway, "GET", f"/{session}")
    assert reply.status in (200, 404), reply.body
    return cast("list[dict[str, Any]]", json.loads(reply.body)["messages"]) if reply.status == 200 else []


def said(messages: list[dict[str, Any]]) -> list[str]:
    """What the user said."""
    return [message["content"].split(" [[")[0] for message in messages if message["role"] == "user"]


async def nothing_is_held(gateway: GatewayHere, server: RedisServer) -> None:
    """Fails unless every slot, reservation, session and flight is free within moments, without waiting for leases."""
    services = services_of(gateway)
    await settled(gateway)
    await until(lambda: not services._beside, within_s=2.0)
    assert not services.flights._open
    assert not Books(server).is_busy(TAG), Books(server).leases(TAG)
    assert not list(_held(server))


async def over(storm: Fault, site: Site) -> None:
    """Ends a fault that may have swallowed bytes: TCP loses none in the middle of a connection that lives on."""
    await storm.end()
    site.proxy.reset_all()


def _held(server: RedisServer) -> Iterator[bytes]:
    for name in cast("list[bytes]", server.ask("KEYS", "cw:{*}:*")):
        if name.endswith(b":flight:v1") or (name.endswith(b":session:v1") and server.ask("HGET", name, "holder")):
            yield name


# Under load


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
async def test_under_load(fault: type[Fault], site: Site, simulator: Simulator, keys_file: Path, log: Counted) -> None:
    async with started(site, simulator, keys_file) as gateway:
        load = KeptLoad(
            [
                make(gateway.port, KEY, f"{make.kind}-{number}")
                for make, times in CLIENTS.items()
                for number in range(times)
            ],
            pause_s=0.12,
        )
        storm = fault(site)
        async with load.running():
            await asyncio.sleep(0.6)
            await storm.begin()
            await asyncio.sleep(1.2)
            await storm.end()
            ended_at = time.monotonic()
            await asyncio.sleep(RECOVERY_S)
            await until(lambda: all_served(load.said, since=ended_at + RECOVERY_S))
        await nothing_is_held(gateway, site.spare if fault.loses else site.server)
        check_replies(load.said, ended_at, noticed=fault.noticed)
        for client in load.clients:
            problems = client.problems()
            if isinstance(client, SessionWriter):
                since = ended_at if fault.loses else float("-inf")
                problems = client.compared(await messages_of(gateway, client.name), since=since)
            assert not problems
        assert len(log.lines) <= LOG_LINES, log.lines


def all_served(replies: list[Said], *, since: float) -> bool:
    """Whether whole answers come again; on a busy machine a call of Redis misses its deadline now and then."""
    served = {reply.kind for reply in replies if reply.whole and reply.began_at > since}
    return served == {make.kind for make in CLIENTS}


def check_replies(replies: list[Said], ended_at: float, *, noticed: bool) -> None:
    """What clients may have seen."""
    failed = [reply for reply in replies if not reply.whole]
    longest_s = max(reply.took_s for reply in replies)
    back_s = max([0.0, *(reply.began_at - ended_at for reply in failed)])
    print(
        f"{len(replies)} replies, {len(failed)} times 503, longest {longest_s:.3f} s, the last 503 {back_s:.2f} s late"
    )
    undocumented = [str(reply) for reply in failed if not reply.is_documented]
    assert not undocumented, undocumented[:5]
    assert {reply.kind for reply in failed} <= {"session", "agent", "once"}, "a cached answer is never worth a 503"
    if noticed:
        assert failed
        degraded = [
            reply for reply in replies if reply.kind == "cached" and "x-claude-wrapper-degraded" in reply.headers
        ]
        assert degraded
    slow = [str(reply) for reply in replies if reply.took_s > LONGEST_S]
    assert not slow, slow[:5]


# What is under way when Redis fails

WORDS = " ".join(["word"] * 30)


def slowly(what: str, **fields: Any) -> dict[str, Any]:
    """A request that is answered with ``WORDS``, in half a second."""
    content = f"{what} [[sim: text='{WORDS}' tokens_per_second=60]]"
    return {**question(what, **fields), "messages": [{"role": "user", "content": content}]}


async def begun(gateway: GatewayHere, body: dict[str, Any], headers: str = "") -> Wire:
    """A stream that has begun."""
    wire = await gateway.wire()
    wire.send(post(json.dumps(body).encode(), headers=f"authorization: Bearer {KEY}\r\n{headers}"))
    status, _ = await wire.head()
    assert status == 200
    await wire.chunk()
    return wire


async def rest(wire: Wire) -> str:
    """What follows of a stream."""
    parts = []
    while part := await wire.chunk():
        parts.append(part)
    return b"".join(parts).decode()


STOPS = pytest.mark.parametrize(
    "fault", [Killed, Frozen, OutOfMemory, ReadOnly, Slow, Unreachable, Deaf], ids=lambda fault: fault.__name__
)


@STOPS
async def test_a_turn_whose_commit_fails_does_not_end_well_and_is_there_whole_or_not_at_all(
    fault: type[Fault], site: Site, simulator: Simulator, keys_file: Path
) -> None:
    """In band where the stream has begun, by 503 else; a turn that comes afterwards goes on from what is there."""
    async with started(site, simulator, keys_file) as gateway:
        for session in ("streamed", "plain"):
            assert (await ask(gateway, question("first", session_id=session))).status == 200
        stream = await begun(gateway, slowly("second", session_id="streamed", stream=True))
        plain = asyncio.ensure_future(ask(gateway, slowly("second", session_id="plain")))
        await asyncio.sleep(0.1)
        storm = fault(site)
        await storm.begin()
        told = await rest(stream)
        assert "[DONE]" not in told
        assert '"code":"state_unavailable"' in told
        reply = await plain
        assert (reply.status, reply.error["code"]) == STATE_AWAY
        assert int(reply.headers["retry-after"]) > 0
        await over(storm, site)
        await settled(gateway)
        for session in ("streamed", "plain"):
            third = await ask(gateway, question("third", session_id=session), "x-claude-wrapper-session-wait: 2\r\n")
            assert third.status == 200, third.body
            messages = await messages_of(gateway, session)
            assert said(messages) in (["first", "second", "third"], ["first", "third"])
            assert [message["role"] for message in messages] == ["user", "assistant"] * (len(messages) // 2)
            assert {message["content"] for message in messages[1::2]} <= {answer("first"), WORDS, answer("third")}
            assert third.headers["x-claude-wrapper-session-messages"] == str(len(messages) - 2)
        await nothing_is_held(gateway, site.server)


async def test_a_turn_across_a_failover_to_an_empty_server_is_refused_and_not_begun_anew(
    site: Site, simulator: Simulator, keys_file: Path
) -> None:
    async with started(site, simulator, keys_file) as gateway:
        assert (await ask(gateway, question("first", session_id="talk"))).status == 200
        stream = await begun(gateway, slowly("second", session_id="talk", stream=True))
        storm = FailedOver(site)
        await storm.begin()
        await storm.end()
        told = await rest(stream)
        assert "[DONE]" not in told
        assert '"code":"conversation_changed"' in told or '"code":"state_unavailable"' in told
        await settled(gateway)
        assert await messages_of(gateway, "talk") == []
        again = await ask(gateway, question("anew", session_id="talk"))
        assert again.headers["x-claude-wrapper-session-messages"] == "0", "the reply tells that nothing came before"
        await nothing_is_held(gateway, site.spare)


@STOPS
async def test_an_answer_that_could_not_be_kept_for_its_idempotency_key_is_not_given_as_if_it_were(
    fault: type[Fault], site: Site, simulator: Simulator, keys_file: Path
) -> None:
    """A repetition afterwards gets a whole answer, at once, and every later one the same.

    A full server keeps it: it lets a script write that has given something back before.
    """
    async with started(site, simulator, keys_file) as gateway:
        body = slowly("once")
        stream = await begun(gateway, {**body, "stream": True}, "idempotency-key: streamed\r\n")
        plain = asyncio.ensure_future(ask(gateway, body, "idempotency-key: plain\r\n"))
        await asyncio.sleep(0.1)
        storm = fault(site)
        await storm.begin()
        told, reply = await rest(stream), await plain
        if fault is OutOfMemory:
            assert "[DONE]" in told
            assert reply.status == 200
        else:
            assert "[DONE]" not in told
            assert '"code":"state_unavailable"' in told
            assert (reply.status, reply.error["code"]) == STATE_AWAY
            assert int(reply.headers["retry-after"]) > 0
        await over(storm, site)
        await settled(gateway)
        for name in ("streamed", "plain"):
            fields = {"stream": True} if name == "streamed" else {}
            began_at = time.monotonic()
            first = await ask(gateway, {**body, **fields}, f"idempotency-key: {name}\r\n")
            assert time.monotonic() - began_at < 3.0
            second = await ask(gateway, {**body, **fields}, f"idempotency-key: {name}\r\n")
            assert (first.status, second.status) == (200, 200)
            assert _id(first) == _id(second)
            assert second.headers["idempotent-replayed"] == "true"
        await nothing_is_held(gateway, site.server)


def _id(reply: Reply) -> str:
    return reply.body[reply.body.index(b'"id":"') :].split(b'"')[3].decode()


# The routes

SAY = {"messages": [{"role": "user", "content": "hi"}]}
ROUTES = [
    ("GET", "", None),
    ("POST", "", {"id": "new"}),
    ("GET", "/stats", None),
    ("GET", "/talk", None),
    ("POST", "/talk/messages", SAY),
    ("POST", "/talk/fork", {}),
]


ADMIN = "the-admin-key-of-outages"
#: A server that refuses writes is still read.
STILL_READ = (OutOfMemory, ReadOnly)


@pytest.mark.parametrize("fault", [Killed, Frozen, OutOfMemory, ReadOnly, Slow, Unreachable, Deaf, FailedOver])
async def test_no_route_forgets_a_session_while_redis_is_away(
    fault: type[Fault], site: Site, simulator: Simulator, keys_file: Path
) -> None:
    """503 everywhere, never an empty list and never a 404; what can still be read is the truth."""
    async with started(site, simulator, keys_file) as gateway:
        assert (await ask(gateway, question("first", session_id="talk"))).status == 200
        await settled(gateway)
        storm = fault(site)
        await storm.begin()
        for _ in range(2):  # at the deadline, and when it is known
            for method, path, body in ROUTES:
                for key, owner in ((KEY, ""), (ADMIN, "?tenant=acme&key_id=open")):
                    began_at = time.monotonic()
                    reply = await route(gateway, method, path + owner, body, key)
                    assert time.monotonic() - began_at < LONGEST_S, (method, path)
                    if method == "GET" and fault in STILL_READ and reply.status == 200:
                        assert b'"talk"' in reply.body or b'"totalSessions":1' in reply.body
                    else:
                        assert (reply.status, reply.error["code"]) == STATE_AWAY, (method, path, reply.body)
                        assert int(reply.headers["retry-after"]) > 0
                        assert reply.headers["x-claude-wrapper-degraded"] == "state", (method, path)
        await over(storm, site)
        if not fault.loses:
            await nothing_is_held(gateway, site.server)
            assert said(await messages_of(gateway, "talk"))[0] == "first"


@pytest.mark.parametrize("fault", [Killed, Frozen, ReadOnly, Slow, Unreachable, Deaf])
async def test_who_could_not_delete_is_told_so(
    fault: type[Fault], site: Site, simulator: Simulator, keys_file: Path
) -> None:
    """A full server deletes; what another one has run though its answer never came may be gone."""
    async with started(site, simulator, keys_file) as gateway:
        for session in ("one", "two"):
            assert (await ask(gateway, question("first", session_id=session))).status == 200
        storm = fault(site)
        await storm.begin()
        for method, path in (("DELETE", "/one"), ("POST", "/clear"), ("DELETE", "/one"), ("POST", "/clear")):
            reply = await route(gateway, method, path)
            assert (reply.status, reply.error["code"]) == STATE_AWAY, (method, path, reply.body)
        await over(storm, site)
        await nothing_is_held(gateway, site.server)
        assert (await route(gateway, "POST", "/clear")).status == 200
        assert json.loads((await route(gateway, "GET", "")).body)["data"] == []


async def test_what_needs_redis_is_refused_before_anthropic_is_asked(
    site: Site, simulator: Simulator, keys_file: Path
) -> None:
    async with started(site, simulator, keys_file) as gateway:
        await ask(gateway, question("warm"))
        await asyncio.to_thread(site.server.kill)
        await away(gateway)
        calls = simulator.settled_invoice()["completed"]["calls"]
        for stream in (False, True):
            for headers, fields in (
                ("", {"session_id": "talk"}),
                ("x-session-id: talk\r\n", {}),
                ("idempotency-key: once\r\n", {}),
                ("x-claude-wrapper-session-conflict: fork\r\n", {"session_id": "talk"}),
            ):
                reply = await ask(gateway, question("x", stream=stream, **fields), headers)
                assert (reply.status, reply.error["code"]) == STATE_AWAY
                assert int(reply.headers["retry-after"]) > 0
                assert reply.headers["x-claude-wrapper-degraded"] == "state"
        assert simulator.settled_invoice()["completed"]["calls"] == calls
        for stream in (False, True):
            for headers in ("cache-control: max-age=60\r\n", "cache-control: no-cache, max-age=9\r\n"):
                reply = await ask(gateway, question("x", stream=stream), headers)
                assert reply.status == 200
                assert reply.headers["x-claude-wrapper-cache"] in ("MISS", "BYPASS")
                assert reply.headers["x-claude-wrapper-degraded"] == "state"
