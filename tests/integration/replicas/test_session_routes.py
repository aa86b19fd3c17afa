"""The routes of sessions on several replicas: what one has written, every other one reads and goes on from."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest

from tests.support.redis import RedisServers
from tests.support.replicas import ADMIN_KEY, Key, Replicas, running_replicas

#: Of two writers.
APPENDS_EACH = 60


@pytest.fixture(scope="module")
def replicas() -> Iterator[Replicas]:
    servers = RedisServers()
    try:
        with running_replicas(servers(), count=2, env={"CLAUDE_WRAPPER_MAX_SESSIONS": "3"}) as replicas:
            yield replicas
    finally:
        servers.end()


class Routes:
    """``/v1/sessions``, on the replicas in turn."""

    def __init__(self, replicas: Replicas, http: aiohttp.ClientSession, key: str) -> None:
        self._replicas, self._http, self._key = replicas, http, key

    async def ask(self, method: str, path: str = "", body: Any = None, *, status: int = 200) -> Any:
        return (await self.answered(method, path, body, status=status))[0]

    async def answered(self, method: str, path: str, body: Any, *, status: int) -> tuple[Any, Any]:
        url = f"http://127.0.0.1:{self._replicas.port()}/v1/sessions{path}"
        headers = {"authorization": f"Bearer {self._key}"}
        async with self._http.request(method, url, json=body, headers=headers) as reply:
            answer = await reply.json()
            assert reply.status == status, answer
            return answer, reply.headers


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


_tenants = (f"tenant-{number}" for number in itertools.count())


@pytest.fixture
def key(replicas: Replicas) -> Key:
    return replicas.create_key(next(_tenants))


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as http:
        yield http


@pytest.fixture
def routes(replicas: Replicas, http: aiohttp.ClientSession, key: Key) -> Routes:
    return Routes(replicas, http, key.text)


async def test_two_writers_that_append_at_the_same_time_lose_nothing(routes: Routes) -> None:
    await routes.ask("POST", "", {"id": "log"}, status=201)

    async def write(who: str) -> None:
        for number in range(APPENDS_EACH):
            pair = [user(f"{who} {number}"), {"role": "assistant", "content": f"to {who} {number}"}]
            await routes.ask("POST", "/log/messages", {"messages": pair})

    await asyncio.gather(write("a"), write("b"))
    shown = await routes.ask("GET", "/log")
    said = [message["content"] for message in shown["messages"]]
    assert len(said) == shown["message_count"] == 4 * APPENDS_EACH
    assert said[1::2] == [f"to {text}" for text in said[::2]]
    for who in ("a", "b"):
        assert [text for text in said[::2] if text[0] == who] == [f"{who} {number}" for number in range(APPENDS_EACH)]


async def test_every_replica_reads_what_another_one_has_just_written(routes: Routes) -> None:
    await routes.ask("POST", "", {"id": "s", "messages": [user("0")]}, status=201)
    for number in range(1, 10):
        assert (await routes.ask("GET", "/s"))["message_count"] == number
        await routes.ask("POST", "/s/messages", {"messages": [user(str(number))]})
    assert [one["message_count"] for one in (await routes.ask("GET"))["data"]] == [10]
    await routes.ask("DELETE", "/s")
    assert (await routes.ask("GET"))["data"] == []


async def test_an_append_waits_for_the_turn_that_runs_and_comes_after_it(
    replicas: Replicas, routes: Routes, key: Key
) -> None:
    await routes.ask("POST", "", {"id": "s"}, status=201)
    async with (
        replicas.client() as client,
        client.open_chat(
            replicas.port(), key, "Slowly [[sim: output_tokens=40 tokens_per_second=40]]", stream=True, session_id="s"
        ) as turn,
    ):
        assert turn.status == 200
        await turn.content.readany()
        assert (await routes.ask("GET", "/s"))["message_count"] == 0
        copy = await routes.ask("POST", "/s/fork", {}, status=201)
        append = asyncio.ensure_future(routes.ask("POST", "/s/messages", {"messages": [user("after")]}))
        await turn.read()
        assert (await append)["message_count"] == 3
    shown = await routes.ask("GET", "/s")
    assert [message["role"] for message in shown["messages"]] == ["user", "assistant", "user"]
    assert shown["messages"][-1]["content"] == "after"
    assert copy["message_count"] == 0


async def test_the_bound_of_sessions_holds_over_all_replicas_and_keys_of_a_tenant(
    replicas: Replicas, http: aiohttp.ClientSession, key: Key, routes: Routes
) -> None:
    other = Routes(replicas, http, replicas.create_key(key.tenant).text)
    await other.ask("POST", "", {"id": "of-another"}, status=201)
    for number in range(2):
        await routes.ask("POST", "", {"id": f"s{number}"}, status=201)
    _, headers = await routes.answered("POST", "", {"id": "s2"}, status=201)
    assert headers["x-claude-wrapper-session-evicted"] == "1 of another key"
    _, headers = await routes.answered("POST", "", {"id": "s3"}, status=201)
    assert headers["x-claude-wrapper-session-evicted"] == "s0"
    assert [one["id"] for one in (await routes.ask("GET"))["data"]] == ["s3", "s2", "s1"]
    assert (await other.ask("GET", "/of-another", status=404))["error"]["code"] == "session_not_found"


async def test_the_operator_clears_a_tenant(
    replicas: Replicas, http: aiohttp.ClientSession, key: Key, routes: Routes
) -> None:
    for number in range(2):
        await routes.ask("POST", "", {"id": f"s{number}"}, status=201)
    operator = Routes(replicas, http, ADMIN_KEY)
    listed = (await operator.ask("GET", f"?tenant={key.tenant}"))["data"]
    assert {(one["id"], one["tenant"], one["key_id"]) for one in listed} == {
        (f"s{number}", key.tenant, key.id) for number in range(2)
    }
    assert (await operator.ask("POST", f"/clear?tenant={key.tenant}"))["deleted"] == 2
    assert (await routes.ask("GET"))["data"] == []


async def test_nothing_of_sessions_lives_for_ever(replicas: Replicas, routes: Routes) -> None:
    await routes.ask("POST", "", {"id": "s", "messages": [user("hi")]}, status=201)
    await routes.ask("POST", "/s/fork", {}, status=201)
    server = replicas.server
    kept = [
        (name, int(str(server.ask("TTL", name))))
        for name in _listed(server.ask("KEYS", "cw:{*}:*"))
        if any(kind in name for kind in (b":sessions:v1", b":session:v1", b":turns:v1", b":seat:v1"))
    ]
    assert len(kept) >= 7
    assert [(name, ttl_s) for name, ttl_s in kept if not 0 < ttl_s <= 3600] == []


def _listed(reply: object) -> list[bytes]:
    assert isinstance(reply, list)
    return reply
