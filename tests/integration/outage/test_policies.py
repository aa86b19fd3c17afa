"""What each caller may do while Redis is away, key by key and route by route (DESIGN.md section 4)."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from app.domain.auth import read_key
from app.gateway.figures import worker_figures
from app.schemas.admin import KeyLimits
from app.state import api_keys, keys
from app.state.key_memory import MEMORY_S
from tests.support import tokens
from tests.support.books import Books
from tests.support.chat_wire import Reply, Wire, chat, post, until
from tests.support.gateway_here import GatewayHere, gateway_here
from tests.support.outage import OutOfMemory, Site
from tests.support.outage_gateway import FILE_KEYS, TAG, Counted, away, services_of, settled, stored_key
from tests.support.paced_load import MODEL
from tests.support.simulator import Simulator
from tests.support.worker_figures import publish

STATIC_KEY = "the-static-key"
ADMIN_KEY = "the-admin-key"

#: Nano-dollars of a token of ``MODEL``.
INPUT_NANO, OUTPUT_NANO = 1000, 5000

Start = Callable[..., Any]


@pytest.fixture
def start(site: Site, simulator: Simulator, keys_file: Path) -> Start:
    """``async with start(**settings) as gateway``."""

    @asynccontextmanager
    async def started(**settings: Any) -> AsyncIterator[GatewayHere]:
        # Nothing here depends on the deadline: a dead server is noticed at once.
        settings = {"api_key": STATIC_KEY, "admin_key": ADMIN_KEY, "redis_timeout_s": 5.0} | settings
        async with gateway_here(
            simulator.base_url, redis_url=site.url, keys_file=str(keys_file), jwt_secret=tokens.SECRET, **settings
        ) as gateway:
            yield gateway

    return started


async def ask(gateway: GatewayHere, key: str, prompt: str = "Hello.", **fields: Any) -> Reply:
    """One plain chat completion."""
    body = chat(prompt, model=MODEL, **fields)
    return await gateway.ask(body, headers=f"authorization: Bearer {key}\r\n")


async def get(gateway: GatewayHere, path: str, key: str = "") -> Reply:
    """One ``GET``."""
    wire = await gateway.wire()
    authorization = f"authorization: Bearer {key}\r\n" if key else ""
    wire.send(f"GET {path} HTTP/1.1\r\nhost: gateway\r\n{authorization}\r\n".encode())
    reply = await wire.reply()
    wire.close()
    return reply


async def lose_redis(gateway: GatewayHere, site: Site) -> None:
    """Redis dies, and the gateway knows it."""
    await asyncio.to_thread(site.server.kill)
    await away(gateway)


def refused_for_state(reply: Reply) -> bool:
    """The documented 503."""
    assert reply.headers["x-claude-wrapper-degraded"] == "state"
    return (reply.status, reply.error["code"]) == (503, "state_unavailable") and int(reply.headers["retry-after"]) > 0


async def statuses(gateway: GatewayHere, key: str, times: int, **fields: Any) -> list[int]:
    """One request after the other."""
    return [(await ask(gateway, key, **fields)).status for _ in range(times)]


# Limits: this worker's share


@pytest.mark.parametrize(("limit", "workers", "share"), [(10, 2, 5), (3, 10, 1), (7, 1, 7)])
async def test_a_rate_is_shared_by_the_workers(start: Start, site: Site, limit: int, workers: int, share: int) -> None:
    async with start(outage_workers=workers) as gateway:
        text, _ = await stored_key(services_of(gateway), limits=KeyLimits(requests_per_minute=limit))
        await ask(gateway, text)
        await lose_redis(gateway, site)
        assert await statuses(gateway, text, share + 2) == [200] * share + [429] * 2
        refusal = await ask(gateway, text)
        assert refusal.error["code"] == "rate_limit_exceeded"
        assert 0 < int(refusal.headers["retry-after"]) <= 60
        assert refusal.headers["x-claude-wrapper-degraded"] == "state"


async def test_workers_that_were_seen_last_share_a_limit(
    start: Start, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.gateway.report.PUBLISH_INTERVAL_S", 0.1)
    async with start() as gateway:
        services = services_of(gateway)
        text, _ = await stored_key(services, limits=KeyLimits(requests_per_minute=8))
        await ask(gateway, text)
        await publish(services.state, worker_figures(services, worker_id="another", host="elsewhere"))
        await until(lambda: services.admission.workers_seen == 2)
        await lose_redis(gateway, site)
        assert await statuses(gateway, text, 5) == [200] * 4 + [429]


async def test_concurrency_is_shared_by_the_workers(start: Start, site: Site) -> None:
    async with start(outage_workers=2) as gateway:
        text, _ = await stored_key(services_of(gateway), limits=KeyLimits(concurrency=3))
        await ask(gateway, text)
        await lose_redis(gateway, site)
        streams = [await begun_stream(gateway, text) for _ in range(2)]  # half of three, rounded up
        assert await statuses(gateway, text, 1) == [429]
        streams[0].reset()
        await until(lambda: services_of(gateway).ledger.open_permits == 1)
        assert await statuses(gateway, text, 1) == [200]
        streams[1].reset()


async def begun_stream(gateway: GatewayHere, key: str) -> Wire:
    """A stream that goes on for long."""
    body = chat("[[sim: output_tokens=2000 tokens_per_second=40]]", model=MODEL, stream=True)
    wire = await gateway.wire()
    wire.send(post(body, headers=f"authorization: Bearer {key}\r\n"))
    status, _ = await wire.head()
    assert status == 200
    return wire


LONG = "[[sim: output_tokens=600]]"


async def test_a_budget_goes_on_by_what_was_left_and_is_not_overspent(start: Start, site: Site) -> None:
    async with start(outage_workers=2) as gateway:
        text, key_id = await stored_key(services_of(gateway), limits=KeyLimits(budget_total=0.04))
        usages = [json.loads((await ask(gateway, text, LONG, max_tokens=600)).body)["usage"]]
        await settled(gateway)
        left_nano = 40_000_000 - cost_of(usages)
        await lose_redis(gateway, site)
        replies = [await ask(gateway, text, LONG, max_tokens=600) for _ in range(8)]
        served = [json.loads(reply.body)["usage"] for reply in replies if reply.status == 200]
        assert 2 <= len(served) < 8
        assert cost_of(served) <= left_nano // 2
        refusal = replies[-1]
        assert refusal.status == 429
        assert "budget" in refusal.error["message"]
        await asyncio.to_thread(site.server.start)
        await settled(gateway)
        assert Books(site.server).spend(TAG, key_id).total == cost_of(usages + served)


def cost_of(usages: list[dict[str, int]]) -> int:
    """Nano-dollars."""
    return sum(usage["prompt_tokens"] * INPUT_NANO + usage["completion_tokens"] * OUTPUT_NANO for usage in usages)


async def test_an_outage_is_forgotten_when_redis_knows_of_it(start: Start, site: Site) -> None:
    """The next one begins with a whole share."""
    async with start(outage_workers=2) as gateway:
        text, _ = await stored_key(services_of(gateway), limits=KeyLimits(requests_per_minute=40))
        await ask(gateway, text)
        for _ in range(2):
            await lose_redis(gateway, site)
            assert await statuses(gateway, text, 15) == [200] * 15
            await asyncio.to_thread(site.server.start)
            await settled(gateway)
            await ask(gateway, text)


# Keys


async def test_fail_closed_is_503_and_fail_open_is_not(start: Start, site: Site) -> None:
    async with start() as gateway:
        closed, _ = await stored_key(services_of(gateway), outage="fail_closed")
        assert await statuses(gateway, closed, 1) == [200]
        await lose_redis(gateway, site)
        for key in (closed, FILE_KEYS["closed"]):
            assert refused_for_state(await ask(gateway, key))
            assert refused_for_state(await ask(gateway, key, stream=True))
        assert (await ask(gateway, FILE_KEYS["open"])).status == 200


async def test_the_policy_of_the_deployment_is_for_keys_that_set_none(start: Start, site: Site) -> None:
    async with start(outage_policy="fail_closed") as gateway:
        text, _ = await stored_key(services_of(gateway))
        assert await statuses(gateway, text, 1) == [200]
        await lose_redis(gateway, site)
        assert refused_for_state(await ask(gateway, text))
        assert refused_for_state(await ask(gateway, STATIC_KEY))
        assert (await ask(gateway, FILE_KEYS["open"])).status == 200


async def test_a_stored_key_that_was_not_seen_is_503_never_401(start: Start, site: Site) -> None:
    async with start() as gateway:
        seen, _ = await stored_key(services_of(gateway), "seen")
        unseen, _ = await stored_key(services_of(gateway), "unseen")
        await ask(gateway, seen)
        await lose_redis(gateway, site)
        assert refused_for_state(await ask(gateway, unseen))
        assert refused_for_state(await get(gateway, "/v1/models", unseen))
        assert (await ask(gateway, seen)).status == 200


async def test_a_stored_key_works_for_ten_minutes_after_it_was_seen(start: Start, site: Site) -> None:
    async with start() as gateway:
        services = services_of(gateway)
        text, _ = await stored_key(services)
        await ask(gateway, text)
        await lose_redis(gateway, site)
        later = services.now() + MEMORY_S
        services.memory._now = lambda: later - 5
        assert (await ask(gateway, text)).status == 200
        services.memory._now = lambda: later + 5
        assert refused_for_state(await ask(gateway, text))


async def test_what_is_known_without_redis_works_as_always(start: Start, site: Site) -> None:
    async with start() as gateway:
        token = tokens.token(exp=time.time() + 300).decode()
        await lose_redis(gateway, site)
        for key in (STATIC_KEY, FILE_KEYS["open"], token):
            reply = await ask(gateway, key)
            assert (reply.status, reply.headers["x-claude-wrapper-degraded"]) == (200, "state")
        wrong = await ask(gateway, "a-wrong-key")
        assert (wrong.status, wrong.headers["x-claude-wrapper-degraded"]) == (401, "state")
        expired = tokens.token(exp=time.time() - 300).decode()
        assert (await ask(gateway, expired)).status == 401


async def test_what_a_key_may_not_do_it_may_not_do_without_redis(start: Start, site: Site) -> None:
    async with start() as gateway:
        text, _ = await stored_key(services_of(gateway), models=("claude-opus-*",))
        await gateway.ask(chat(model="claude-opus-5-5"), headers=f"authorization: Bearer {text}\r\n")
        await lose_redis(gateway, site)
        assert await statuses(gateway, text, 1) == [403]


async def test_a_revoked_key_stays_revoked_on_a_worker_that_heard_of_it(start: Start, site: Site) -> None:
    async with start() as gateway:
        services = services_of(gateway)
        text, key_id = await stored_key(services)
        assert await statuses(gateway, text, 1) == [200]
        await api_keys.revoke(services.state, key_id, actor="test", now=services.now())
        said = read_key(text.encode())
        assert said is not None
        await until(lambda: services.memory.recall(said.tag, said.id, said.secret_hash) is None)  # the push has come
        await lose_redis(gateway, site)
        assert refused_for_state(await ask(gateway, text))


async def test_a_revoked_key_stays_revoked_also_when_the_push_was_lost(start: Start, site: Site) -> None:
    async with start() as gateway:
        text, key_id = await stored_key(services_of(gateway))
        assert await statuses(gateway, text, 1) == [200]
        site.server.ask("HSET", keys.api_key(TAG, key_id), "revoked", "1")  # nobody is told
        assert await statuses(gateway, text, 1) == [401]
        await lose_redis(gateway, site)
        assert refused_for_state(await ask(gateway, text))


# Routes


async def test_probes_do_not_look_at_redis_and_health_tells_the_truth(start: Start, site: Site) -> None:
    async with start() as gateway:
        assert json.loads((await get(gateway, "/health")).body)["status"] == "healthy"
        await lose_redis(gateway, site)
        for path, status in (("/health/live", "ok"), ("/health/ready", "ok"), ("/health", "degraded")):
            reply = await get(gateway, path)
            assert (reply.status, json.loads(reply.body)["status"]) == (200, status)
        await asyncio.to_thread(site.server.start)
        await settled(gateway)
        assert json.loads((await get(gateway, "/health")).body)["status"] == "healthy"


async def test_every_reply_says_that_it_was_given_without_redis(start: Start, site: Site) -> None:
    async with start() as gateway:
        text, _ = await stored_key(services_of(gateway))
        await ask(gateway, text)
        await lose_redis(gateway, site)
        seen = {}
        for path in ("/health", "/health/live", "/v1/models", f"/v1/models/{MODEL}", "/nowhere", "/v1/auth/status"):
            reply = await get(gateway, path, text)
            seen[path] = reply.status
            assert reply.headers["x-claude-wrapper-degraded"] == "state", path
        assert seen == dict.fromkeys(seen, 200) | {"/nowhere": 404}


async def test_what_only_redis_knows_is_503(start: Start, site: Site) -> None:
    async with start() as gateway:
        await lose_redis(gateway, site)
        for path in ("/admin/keys", "/admin/keys/abcdefghijkl", "/admin/audit"):
            assert refused_for_state(await get(gateway, path, ADMIN_KEY)), path
        assert refused_for_state(await get(gateway, "/v1/usage", STATIC_KEY))
        body = json.dumps({"tenant": "acme"}).encode()
        headers = f"authorization: Bearer {ADMIN_KEY}\r\n"
        assert refused_for_state(await gateway.ask(body, path="/admin/keys", headers=headers))


async def test_an_outage_does_not_fill_the_log(start: Start, site: Site, log: Counted) -> None:
    async with start() as gateway:
        unseen, _ = await stored_key(services_of(gateway))
        await lose_redis(gateway, site)
        for key in (unseen, FILE_KEYS["closed"], FILE_KEYS["open"]):
            await statuses(gateway, key, 40)
    assert len(log.lines) <= 4, log.lines  # that it is away; one refusal; what could not be settled at the end


async def test_a_full_server_is_an_outage_as_well(start: Start, site: Site, log: Counted) -> None:
    async with start() as gateway:
        storm = OutOfMemory(site)
        await storm.begin()
        reply = await ask(gateway, FILE_KEYS["open"])
        assert (reply.status, reply.headers["x-claude-wrapper-degraded"]) == (200, "state")
        assert refused_for_state(await ask(gateway, FILE_KEYS["closed"]))
        assert json.loads((await get(gateway, "/health")).body)["status"] == "degraded"
        assert any("out of memory" in line for line in log.lines)
        await storm.end()
        reply = await ask(gateway, FILE_KEYS["closed"])
        assert (reply.status, reply.headers.get("x-claude-wrapper-degraded")) == (200, None)
        await settled(gateway)
