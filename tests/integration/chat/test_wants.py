"""Hostile and mistaken requests to what the gateway keeps: told clearly, nothing kept of them, nothing leaks."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from app.api.cors import EXPOSED
from app.state import keys
from tests.support.chat_wire import Reply, Wire, until
from tests.support.gateway_here import UPSTREAM_KEY, GatewayHere, gateway_here
from tests.support.outage_gateway import services_of, stored_key
from tests.support.redis import RedisServer, RedisServers
from tests.support.simulator import Simulator, running_simulator

#: Nothing of it may stand in a log, an error or the name of a key.
CANARY = "canary4711"
PROMPT = f"prompt-{CANARY}"
ADMIN_KEY = f"the-admin-key-{CANARY}"
HAIKU, THINKING = "claude-haiku-4-5", "claude-sonnet-5-5"

STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])

_names = (f"talk-{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    servers = RedisServers()
    try:
        yield servers()
    finally:
        servers.end()


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    """It refuses what Anthropic would refuse."""
    with running_simulator(journal=200, output_tokens=5) as simulator:
        yield simulator


class Asker:
    """A client of a gateway with a key of its own."""

    def __init__(self, here: GatewayHere, key: str, tag: str = "") -> None:
        self.here = here
        self.key = key
        self.tag = tag

    async def ask(self, content: Any = PROMPT, headers: str = "", **fields: Any) -> Reply:
        """One chat completion of a text, or of messages."""
        messages = [{"role": "user", "content": content}] if isinstance(content, str) else content
        return await self.send(
            "POST", "/v1/chat/completions", {"model": HAIKU, "messages": messages, **fields}, headers
        )

    async def route(self, method: str, path: str = "", body: Any = None) -> Reply:
        """One of the routes of sessions."""
        return await self.send(method, f"/v1/sessions{path}", body)

    async def send(self, method: str, path: str, body: Any = None, headers: str = "") -> Reply:
        """Any request."""
        wire = await self.here.wire()
        data = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {self.key}\r\n{headers}"
        wire.send(f"{head}content-length: {len(data)}\r\n\r\n".encode("latin-1") + data)
        reply = await wire.reply()
        wire.close()
        return reply

    async def told(self, session: str) -> list[str]:
        """Texts of a session's messages; empty where there is none."""
        reply = await self.route("GET", f"/{session}")
        if reply.status == 404:
            return []
        return [str(message.get("content")) for message in json.loads(reply.body)["messages"]]


@asynccontextmanager
async def gateway(server: RedisServer, simulator: Simulator, **settings: Any) -> AsyncIterator[Asker]:
    """A gateway, and a stored key; when it ends nothing is held."""
    async with gateway_here(
        simulator.base_url, redis_url=server.url, redis_timeout_s=5.0, admin_key=ADMIN_KEY, **settings
    ) as here:
        key, _ = await stored_key(services_of(here), tenant=f"tenant-{next(_names)}")
        yield Asker(here, key)
        services = services_of(here)
        await until(lambda: not (services.ledger.open_permits or services.ledger.unsettled or services._beside))
    for name in cast("list[bytes]", server.ask("KEYS", "cw:{*}:*")):
        assert not name.endswith(b":flight:v1")
        assert not (name.endswith(b":session:v1") and server.ask("HGET", name, "holder")), name


@pytest.fixture
async def client(server: RedisServer, simulator: Simulator) -> AsyncIterator[Asker]:
    async with gateway(server, simulator) as client:
        yield client


@pytest.fixture(autouse=True)
def _nothing_secret_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.INFO)
    yield
    assert all(secret not in str(record.__dict__) for record in caplog.records for secret in (CANARY, UPSTREAM_KEY))


def assert_refused(reply: Reply, param: str, *, status: int = 400, code: str = "invalid_value") -> None:
    """An error that says where it is, and quotes nothing."""
    assert (reply.status, reply.error["param"], reply.error["code"]) == (status, param, code), reply.body
    assert CANARY not in reply.body.decode()


# Names and headers


@pytest.mark.parametrize(
    "name", ["", "a" * 129, "a b", "a{b}", "ä", "*", "../x", "-a", ".", "a/b", "a\n", "stats", "clear"]
)
async def test_a_session_is_not_named_so_in_the_body(client: Asker, name: str) -> None:
    assert_refused(await client.ask(session_id=name), "session_id")


@pytest.mark.parametrize(
    "name", ["", "a" * 129, "a b", "a{b}", "\xe4", "*", "../x", "-a", ".", "a/b", "stats", "clear"]
)
async def test_a_session_is_not_named_so_in_the_header(client: Asker, name: str) -> None:
    assert_refused(await client.ask(headers=f"x-session-id: {name}\r\n"), "header.x-session-id")


@pytest.mark.parametrize("value", [5, 0.5, True, [], ["a"], {}, {"id": "a"}])
async def test_a_session_is_named_by_a_text(client: Asker, value: Any) -> None:
    reply = await client.ask(session_id=value)
    assert (reply.status, reply.error["param"]) == (400, "session_id")


@STREAMED
async def test_a_turn_has_one_name_and_one_answer(client: Asker, stream: bool) -> None:
    in_both = await client.ask(headers="x-session-id: a\r\n", session_id="b", stream=stream)
    assert_refused(in_both, "session_id")
    for headers, fields in (("", {"session_id": "a"}), ("x-session-id: a\r\n", {})):
        assert_refused(await client.ask(headers=headers, n=2, stream=stream, **fields), "n", code="unsupported_value")
    assert await client.told("a") == []
    same = await client.ask(headers="x-session-id: a\r\n", session_id="a", stream=stream)
    assert same.status == 200
    assert len(await client.told("a")) == 2


async def test_the_compatibility_report_looks_at_the_session_too(client: Asker) -> None:
    async def reported(headers: str = "", **fields: Any) -> Reply:
        body = {"model": HAIKU, "messages": [{"role": "user", "content": PROMPT}], **fields}
        return await client.send("POST", "/v1/compatibility", body, headers)

    for name in ("", "a b", "stats"):
        assert_refused(await reported(f"x-session-id: {name}\r\n"), "header.x-session-id")
    assert_refused(await reported("x-session-id: a\r\n", session_id="b"), "session_id")
    for headers, fields in (("x-session-id: a\r\n", {}), ("x-session-id: a\r\n", {"session_id": "a"})):
        told = {
            one["param"]: one["status"] for one in json.loads((await reported(headers, **fields)).body)["parameters"]
        }
        assert told["session_id"] == "mapped"
    several = json.loads((await reported("x-session-id: a\r\n", n=2)).body)
    assert [one["param"] for one in several["parameters"] if one["status"] == "refused"] == ["n"]


@pytest.mark.parametrize("key", ["", "k" * 256, "a\tb", "\xe4"])
async def test_an_idempotency_key_is_of_255_printable_characters_at_most(client: Asker, key: str) -> None:
    assert_refused(await client.ask(headers=f"idempotency-key: {key}\r\n"), "header.idempotency-key")


async def test_the_longest_idempotency_key_and_one_of_odd_characters_are_good(client: Asker) -> None:
    for key in ("k" * 255, "{*} [x] ../ \"quoted\" 'too' %00"):
        first = await client.ask(headers=f"idempotency-key: {key}\r\n")
        second = await client.ask(headers=f"idempotency-key: {key}\r\n")
        assert (first.status, second.status, first.body) == (200, 200, second.body)


@pytest.mark.parametrize(
    "header", ["idempotency-key: a\x01b", "idempotency-key: a\x7fb", "idempotency-key: a\x00b", "x-session-id: a\x00"]
)
async def test_control_characters_are_no_header_at_all(client: Asker, header: str) -> None:
    assert (await client.ask(headers=f"{header}\r\n")).status == 400


@pytest.mark.parametrize(
    "value",
    ["max-age", "max-age=", "max-age=x", "max-age=-1", "max-age=1.5", "max-age=1e3", 'max-age="', "max-age=0x10"],
)
async def test_a_broken_max_age_is_told(client: Asker, value: str) -> None:
    assert_refused(await client.ask(headers=f"cache-control: {value}\r\n"), "header.cache-control")


async def test_what_cannot_be_had_of_a_cache_is_told(client: Asker) -> None:
    reply = await client.ask(headers="cache-control: only-if-cached\r\n")
    assert_refused(reply, "header.cache-control", code="unsupported_value")


@pytest.mark.parametrize(
    "value",
    [",,, ,", '"""', "=;=;=", "private, x=y", "max-stale=5, min-fresh", "no-store=x", "m\xe4x=1", "x" * 8000, '="a,b'],
)
async def test_other_nonsense_about_caches_is_nothing(client: Asker, value: str) -> None:
    for _ in range(2):
        reply = await client.ask(f"{PROMPT} {value!r}", headers=f"cache-control: {value}\r\n")
        assert (reply.status, reply.headers["x-claude-wrapper-cache"]) == (200, "BYPASS")


async def test_an_age_beyond_all_bounds_is_kept_within_them(client: Asker, server: RedisServer) -> None:
    age, words = "9" * 5000, []
    for _ in range(2):
        reply = await client.ask(f"{PROMPT} old", headers=f"cache-control: max-age={age}\r\n")
        words.append(reply.headers["x-claude-wrapper-cache"])
        await until(lambda: not services_of(client.here)._beside)  # it is stored
    assert words == ["MISS", "HIT"]
    (name,) = cast("list[bytes]", server.ask("KEYS", "cw:{*}:answer:v1"))
    assert 0 < cast("int", server.ask("TTL", name)) <= 1800


@pytest.mark.parametrize(
    "header",
    [
        *(f"x-claude-wrapper-session-wait: {value}" for value in ("", "-1", "1e9", "inf", "nan", "86401", "soon")),
        *(f"x-claude-wrapper-session-conflict: {value}" for value in ("", "wait", "forks", "fork, error")),
    ],
)
async def test_how_a_turn_waits_is_said_clearly(client: Asker, header: str) -> None:
    assert_refused(await client.ask(headers=f"{header}\r\n", session_id="a"), f"header.{header.partition(':')[0]}")


# Sizes


@STREAMED
async def test_a_turn_that_is_too_large_for_a_session_is_refused_and_leaves_it_as_it_was(
    server: RedisServer, simulator: Simulator, stream: bool
) -> None:
    async with gateway(server, simulator, session_max_bytes=64 * 1024, session_max_messages=20) as client:
        assert (await client.ask("first", session_id="s")).status == 200
        large = await client.ask(PROMPT + "x" * 70_000, session_id="s", stream=stream)
        assert_refused(large, "messages", code="session_too_large")
        many = [{"role": "user", "content": "x"}] * 20
        assert_refused(await client.ask(many, session_id="s", stream=stream), "messages", code="session_too_large")
        for method, path, body in (
            ("POST", "/s/messages", {"messages": many * 2}),
            ("POST", "", {"id": "t", "messages": [{"role": "user", "content": "x" * 70_000}]}),
        ):
            assert_refused(await client.route(method, path, body), "messages", code="session_too_large")
        assert (await client.told("s"))[0] == "first"
        assert len(await client.told("s")) == 2
        again = await client.ask("second", session_id="s", headers="x-claude-wrapper-session-wait: 0\r\n")
        assert (again.status, again.headers["x-claude-wrapper-session-messages"]) == (200, "2")


async def test_a_giant_message_is_refused_by_the_bound_of_bodies(server: RedisServer, simulator: Simulator) -> None:
    async with gateway(server, simulator, max_body_bytes=2**20) as client:
        reply = await client.ask("x" * 2**20, session_id="s")
        assert (reply.status, reply.error["code"]) == (413, "request_too_large")
        assert await client.told("s") == []


async def test_messages_as_large_as_a_session_may_be_are_kept(server: RedisServer, simulator: Simulator) -> None:
    async with gateway(server, simulator, session_max_bytes=256 * 1024) as client:
        text = "\\ü\u2028" * 15_000
        for number in range(3):
            reply = await client.ask(f"{text} {number} [[sim: text='yes']]", session_id="s")
            assert reply.status == 200, reply.body[:500]
        assert reply.headers["x-claude-wrapper-session-dropped"] == "2"
        told = await client.told("s")
        assert told == [f"{text} 1 [[sim: text='yes']]", "yes", f"{text} 2 [[sim: text='yes']]", "yes"]


async def test_ten_thousand_results_of_tools_are_refused_quickly(client: Asker) -> None:
    results = [{"role": "tool", "tool_call_id": f"call_{number}", "content": "x"} for number in range(10_000)]
    calls = [
        {"id": f"call_{number}", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        for number in range(10_000)
    ]
    began_at = time.monotonic()
    asked = [{"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": calls}, *results]
    replies = [
        await client.ask(results, session_id="s"),
        await client.ask(asked, session_id="s"),
        await client.route("POST", "", {"id": "s", "messages": asked}),
    ]
    assert [reply.status for reply in replies] == [400] * 3, [reply.body[:300] for reply in replies]
    assert replies[1].error["code"] == replies[2].error["code"] == "session_too_large"
    assert time.monotonic() - began_at < 6
    assert await client.told("s") == []


# Results without calls, other models, other tools

TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}}
CALL_IT = "please call get_weather"


def results_of(reply: Reply) -> list[dict[str, Any]]:
    message = json.loads(reply.body)["choices"][0]["message"]
    return [{"role": "tool", "tool_call_id": call["id"], "content": "fine"} for call in message["tool_calls"]]


@STREAMED
async def test_a_result_without_a_call_is_refused_and_the_session_is_free(client: Asker, stream: bool) -> None:
    orphan = [{"role": "tool", "tool_call_id": "call_nobody", "content": "x"}]
    first = await client.ask(orphan, session_id="s", tools=[TOOL], stream=stream)
    assert first.status == 400
    assert first.error["param"].startswith("messages")
    assert await client.told("s") == []
    assert (await client.ask("hello", session_id="s", tools=[TOOL])).status == 200
    later = await client.ask(orphan, session_id="s", tools=[TOOL], stream=stream)
    assert later.status == 400
    assert later.error["param"].startswith("messages")
    again = await client.ask("go on", session_id="s", headers="x-claude-wrapper-session-wait: 0\r\n")
    assert (again.status, again.headers["x-claude-wrapper-session-messages"]) == (200, "2")


async def test_a_call_that_gets_no_result_or_only_some_is_told_or_mended(client: Asker, simulator: Simulator) -> None:
    """Whatever is answered, the session can be used on."""
    twice = "please call get_weather and get_weather"
    asked = await client.ask(twice, session_id="s", tools=[TOOL])
    results = results_of(asked)
    for messages in ([{"role": "user", "content": "never mind"}], results[:1], [*results, *results]):
        reply = await client.ask(messages, session_id="s", tools=[TOOL])
        assert reply.status in (200, 400), reply.body
        if reply.status == 200:
            break
    again = await client.ask("go on", session_id="s", tools=[TOOL], headers="x-claude-wrapper-session-wait: 0\r\n")
    assert again.status in (200, 400), again.body


async def test_models_and_tools_may_change_within_a_session(client: Asker, simulator: Simulator) -> None:
    """Thinking with tools, then a model that has none of that thinking, then back; tools come, go and change."""
    simulator.reset()
    other = {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}}}}
    asked = await client.ask(CALL_IT, session_id="s", model=THINKING, tools=[TOOL], reasoning_effort="medium")
    turns: list[tuple[Any, dict[str, Any]]] = [
        (results_of(asked), {"model": THINKING, "tools": [TOOL], "reasoning_effort": "medium"}),
        ("and now?", {"model": HAIKU}),
        ("and now?", {"model": HAIKU, "tools": [other]}),
        ("and now?", {"model": HAIKU, "reasoning_effort": "high", "max_tokens": 30_000}),
        ("and now?", {"model": "claude-opus-4-1", "tools": [TOOL]}),
        ("and now?", {"model": "claude-opus-5-5", "tools": [other, TOOL]}),
        (CALL_IT, {"model": THINKING, "tools": [TOOL, other], "reasoning_effort": "low"}),
    ]
    for number, (content, fields) in enumerate(turns):
        reply = await client.ask(content, session_id="s", stream=number % 2 == 1, **fields)
        assert reply.status == 200, (fields, reply.body)
    shown = json.loads((await client.route("GET", "/s")).body)["messages"]
    calls = shown[-1]["tool_calls"]
    results = [{"role": "tool", "tool_call_id": call["id"], "content": "fine"} for call in calls]
    over = await client.ask(results, session_id="s", model=HAIKU, tools=[TOOL])
    assert over.status == 200, over.body
    back = await client.ask("and?", session_id="s", model=THINKING, tools=[TOOL], reasoning_effort="medium")
    assert back.status == 200, back.body
    journal = [entry for entry in simulator.journal() if entry["path"] == "/v1/messages"]
    assert len(journal) == 10
    assert {entry["status"] for entry in journal} == {200}


# Whose it is


async def test_a_session_of_another_key_is_not_there(client: Asker) -> None:
    services = services_of(client.here)
    mine, _ = await stored_key(services, tenant="shared-house")
    others, _ = await stored_key(services, tenant="shared-house")
    foreign, _ = await stored_key(services, tenant="another-house")
    askers = [Asker(client.here, key) for key in (mine, others, foreign)]
    assert (await askers[0].ask(f"{PROMPT} mine", session_id="same")).status == 200
    for asker in askers[1:]:
        for method, path, body in (
            ("GET", "/same", None),
            ("DELETE", "/same", None),
            ("POST", "/same/fork", {}),
            ("POST", "/same/messages", {"messages": [{"role": "user", "content": "x"}]}),
        ):
            reply = await asker.route(method, path, body)
            assert (reply.status, reply.error["code"]) == (404, "session_not_found")
        assert json.loads((await asker.route("GET")).body)["data"] == []
        assert json.loads((await asker.route("GET", "/stats")).body)["totalSessions"] == 0
        assert json.loads((await asker.route("POST", "/clear")).body)["deleted"] == 0
        begun = await asker.ask("of mine", session_id="same")
        assert begun.headers["x-claude-wrapper-session-messages"] == "0"
        assert (await asker.told("same"))[0] == "of mine"
    assert (await askers[0].told("same"))[0] == f"{PROMPT} mine"


async def test_a_result_of_another_keys_call_brings_no_thinking_of_it(client: Asker) -> None:
    other = Asker(client.here, (await stored_key(services_of(client.here), tenant="not-theirs"))[0])
    fields = {"model": THINKING, "tools": [TOOL], "reasoning_effort": "medium"}
    asked = await client.ask(CALL_IT, **fields)
    message = json.loads(asked.body)["choices"][0]["message"]
    history = [
        {"role": "user", "content": CALL_IT},
        {"role": "assistant", "tool_calls": message["tool_calls"]},
        *results_of(asked),
    ]
    assert (await other.ask(history, **fields)).headers["x-claude-wrapper-thinking"] == "restored=0, lost=1"
    assert (await client.ask(history, **fields)).headers["x-claude-wrapper-thinking"] == "restored=1, lost=0"


@STREAMED
async def test_a_key_without_the_scope_has_no_sessions(client: Asker, stream: bool) -> None:
    text, _ = await stored_key(services_of(client.here), scopes=("inference",))
    asker = Asker(client.here, text)
    for headers, fields in (("", {"session_id": "s"}), ("x-session-id: s\r\n", {})):
        reply = await asker.ask(headers=headers, stream=stream, **fields)
        assert reply.status == 403
        assert "sessions" in reply.error["message"]
    for method, path in (
        ("GET", ""),
        ("POST", ""),
        ("GET", "/stats"),
        ("GET", "/s"),
        ("DELETE", "/s"),
        ("POST", "/clear"),
    ):
        assert (await asker.route(method, path)).status == 403
    assert (await asker.ask(stream=stream)).status == 200
    for path in ("?tenant=acme", "/s?tenant=acme", "/stats?tenant=acme&key_id=x"):
        assert (await client.route("GET", path)).status == 403


# A turn whose session goes away


@STREAMED
@pytest.mark.parametrize("is_first", [True, False], ids=["first", "later"])
async def test_a_session_that_is_deleted_while_a_turn_runs_stays_deleted(
    client: Asker, stream: bool, is_first: bool
) -> None:
    if not is_first:
        assert (await client.ask("first", session_id="s")).status == 200
    slow = f"{PROMPT} [[sim: output_tokens=20 tokens_per_second=60]]"
    turn = asyncio.ensure_future(client.ask(slow, session_id="s", stream=stream))
    await until(lambda: services_of(client.here).ledger.open_permits)
    await asyncio.sleep(0.1)
    assert (await client.route("DELETE", "/s")).status == (404 if is_first else 200)
    reply = await turn
    assert b"conversation_changed" in reply.body
    assert b"[DONE]" not in reply.body
    assert reply.status == (200 if stream else 409)
    await until(lambda: not services_of(client.here)._beside)
    assert await client.told("s") == []
    assert json.loads((await client.route("GET")).body)["data"] == []
    stats = json.loads((await client.route("GET", "/stats")).body)
    assert (stats["totalSessions"], stats["activeSessions"]) == (0, 0)


# Damage

FIELDS = ("seq", "messages", "bytes", "dropped", "turns", "created_us", "used_us", "instructions")
GARBAGE = (b"", b"-1", b"x", b"\x00\xff\xfe", b"\x1f\x8b\x08garbage")


def damaged(server: RedisServer, head: bytes, turns: bytes) -> Iterator[str]:
    """Damages one thing after the other, and puts it right again."""
    for field in FIELDS:
        good = cast("bytes", server.ask("HGET", head, field))
        for garbage in GARBAGE:
            server.ask("HSET", head, field, garbage)
            yield f"{field} {garbage!r}"
        server.ask("HSET", head, field, good)
    for at in range(cast("int", server.ask("LLEN", turns))):
        good = cast("bytes", server.ask("LINDEX", turns, at))
        for garbage in (*GARBAGE, good[:-1], good[: len(good) // 2], good[:1]):
            server.ask("LSET", turns, at, garbage)
            yield f"turn {at} {garbage!r}"
        server.ask("LSET", turns, at, good)
    extra = cast("bytes", server.ask("LINDEX", turns, -1))
    server.ask("RPUSH", turns, extra)
    yield "a turn too many"
    server.ask("RPOP", turns)
    server.ask("RPOP", turns)
    yield "a turn too few"
    server.ask("RPUSH", turns, extra)
    server.ask("RENAME", turns, b"aside")
    yield "no turns"
    server.ask("RENAME", b"aside", turns)
    for key, what in ((turns, "no list of turns"), (head, "no head")):
        server.ask("RENAME", key, b"aside")
        server.ask("SET", key, b"x")
        yield what
        server.ask("RENAME", b"aside", key)


async def test_a_damaged_session_is_an_error_never_an_empty_one_and_heals_by_being_deleted(
    client: Asker, server: RedisServer
) -> None:
    """Each field of its head and each of its turns, by each of some kinds of damage."""
    name = next(_names)
    system = {"role": "system", "content": "Be brief."}
    assert (await client.ask([system, {"role": "user", "content": "one"}], session_id=name)).status == 200
    assert (await client.ask("two", session_id=name)).status == 200
    head = next(iter(_named(server, b":session:v1", name)))
    turns = head.replace(b":session:v1", b":turns:v1")
    count = 0
    for what in damaged(server, head, turns):
        count += 1
        turn, shown = await client.ask("three", session_id=name), await client.route("GET", f"/{name}")
        for reply in (turn, shown):
            assert (reply.status, reply.error["code"]) == (503, "session_damaged"), (what, reply.body)
            assert "Delete it to begin anew" in reply.error["message"]
            assert (reply.headers["x-should-retry"], reply.headers["retry-after"]) == ("false", "1")
            assert "x-claude-wrapper-degraded" not in reply.headers
        if "seq" not in what and count % 3 == 0:
            append = await client.route("POST", f"/{name}/messages", {"messages": [{"role": "user", "content": "x"}]})
            fork = await client.route("POST", f"/{name}/fork", {})
            assert (append.status, fork.status) == (503, 503), what
    assert count >= 60
    assert await client.told(name) == ["Be brief.", "one", *(await client.told(name))[2:]]
    server.ask("HSET", head, "seq", "x")
    assert (await client.route("DELETE", f"/{name}")).status == 200
    healed = await client.ask("anew", session_id=name)
    assert (healed.status, healed.headers["x-claude-wrapper-session-messages"]) == (200, "0")


def _named(server: RedisServer, kind: bytes, session: str) -> Iterator[bytes]:
    for name in cast("list[bytes]", server.ask("KEYS", "cw:{*}:*")):
        if name.endswith(kind) and server.ask("HGET", name, "id") == session.encode():
            yield name


async def test_damaged_answers_and_kept_thinking_count_as_absent(client: Asker, server: RedisServer) -> None:
    fields = {"model": THINKING, "tools": [TOOL], "reasoning_effort": "medium"}
    asked = await client.ask(CALL_IT, **fields)
    message = json.loads(asked.body)["choices"][0]["message"]
    history = [
        {"role": "user", "content": CALL_IT},
        {"role": "assistant", "tool_calls": message["tool_calls"]},
        *results_of(asked),
    ]
    for garbage in GARBAGE:
        for name in cast("list[bytes]", server.ask("KEYS", "cw:{*}:kept:v1")):
            server.ask("SET", name, garbage, "EX", 100)
        reply = await client.ask(history, **fields)
        assert (reply.status, reply.headers["x-claude-wrapper-thinking"]) == (200, "restored=0, lost=1")
    for headers, kind in (("cache-control: max-age=60\r\n", "answer"), ("idempotency-key: damaged\r\n", "once")):
        for garbage in GARBAGE:
            assert (await client.ask("again", headers=headers)).status == 200
            await until(lambda: not services_of(client.here)._beside)
            for name in cast("list[bytes]", server.ask("KEYS", f"cw:{{*}}:{kind}:v1")):
                server.ask("SET", name, garbage, "EX", 100)
            reply = await client.ask("again", headers=headers)
            assert reply.status in (200, 422), (garbage, reply.body)


# What is told


async def test_no_prompt_id_or_key_stands_in_the_name_of_a_redis_key(client: Asker, server: RedisServer) -> None:
    """A session's id stands in the index and the head of its own tenant, which lists show."""
    await client.ask(headers=f"idempotency-key: once-{CANARY}\r\n")
    await client.ask(headers="cache-control: max-age=60\r\n")
    await client.ask(session_id=f"session-{CANARY}")
    await client.ask(CALL_IT, model=THINKING, tools=[TOOL], reasoning_effort="medium", user=f"user-{CANARY}")
    await until(lambda: not services_of(client.here)._beside)
    names = cast("list[bytes]", server.ask("KEYS", "*"))
    kinds = (keys.answer, keys.once, keys.session, keys.turns, keys.kept)
    for kind in kinds:
        assert any(name.endswith(kind("", "").split("}")[1].encode()) for name in names), kind
    secrets = (CANARY.encode(), client.key.encode(), client.key.split("_")[-1].encode(), UPSTREAM_KEY.encode())
    assert not [name for name in names for secret in secrets if secret in name]


@pytest.mark.parametrize("origin", ["https://chat.example.com"])
async def test_a_browser_may_read_every_header_of_what_is_kept(
    server: RedisServer, simulator: Simulator, origin: str
) -> None:
    async with gateway(
        server, simulator, cors_origins=[origin], max_sessions=1, session_max_messages=3, session_wait_s=0.0
    ) as client:
        headers = f"origin: {origin}\r\n"
        fields = {"model": THINKING, "tools": [TOOL], "reasoning_effort": "medium"}
        asked = await client.ask(CALL_IT, **fields)
        history = [
            {"role": "user", "content": CALL_IT},
            {"role": "assistant", "tool_calls": json.loads(asked.body)["choices"][0]["message"]["tool_calls"]},
            *results_of(asked),
        ]
        slow = await client.here.wire()
        replies = [
            await client.ask("a", headers + "cache-control: max-age=60\r\n"),
            await client.ask("a", headers + "cache-control: max-age=60\r\n"),
            *[await client.ask("a", headers + "idempotency-key: k\r\n") for _ in range(2)],
            await client.ask("a", headers, session_id="one"),
            await client.ask("a", headers, session_id="one"),
            await client.ask("a", headers, session_id="two"),
            await client.ask(history, headers, **fields),
        ]
        held = await _held_turn(client, slow, "two")
        replies.append(await client.ask("a", headers + "x-claude-wrapper-session-conflict: fork\r\n", session_id="two"))
        held.reset()
        seen = {name for reply in replies for name in reply.headers}
        exposed = {name.strip() for name in replies[0].headers["access-control-expose-headers"].split(",")}
        assert exposed == set(EXPOSED)
        ours = {name for name in seen if name.startswith("x-claude-wrapper-")} | {"age", "idempotent-replayed"}
        assert ours <= exposed
        assert {f"x-claude-wrapper-session{suffix}" for suffix in ("", *SUFFIXES)} <= ours
        assert {"x-claude-wrapper-thinking", "x-claude-wrapper-cache"} <= ours
        assert {"age", "idempotent-replayed"} <= seen
        await client.here.settled()


SUFFIXES = ("-messages", "-dropped", "-evicted", "-forked-from")


async def _held_turn(client: Asker, wire: Wire, session: str) -> Wire:
    body = json.dumps(
        {
            "model": HAIKU,
            "messages": [{"role": "user", "content": "[[sim: output_tokens=400 tokens_per_second=40]]"}],
            "stream": True,
            "session_id": session,
        }
    ).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {client.key}\r\n"
    wire.send(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
    status, _ = await wire.head()
    assert status == 200
    return wire
