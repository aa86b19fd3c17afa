"""``GET /v1/usage`` of two replicas on one Redis, compared with what the simulator would bill."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from app.domain.auth import tenant_tag
from app.domain.calls import Usage
from app.domain.pricing import cost_nano
from app.state import keys
from tests.support.chat_wire import chat, post
from tests.support.gateway_here import GatewayHere, gateway_here
from tests.support.redis import RedisServer, redis_servers, server
from tests.support.services import model_table
from tests.support.simulator import Simulator, running_simulator

__all__ = ["redis_servers", "server"]

ADMIN = "admin-key-for-tests"
MODELS = ("claude-opus-5", "claude-haiku-4-5")

#: Classes as our report and as Anthropic names them.
_CLASSES = {
    "input_tokens": "input_tokens",
    "cache_read_tokens": "cache_read_input_tokens",
    "cache_write_tokens": "cache_creation_input_tokens",
    "output_tokens": "output_tokens",
}


class Client:
    """Somebody with a key, who may ask either of two replicas."""

    def __init__(self, replicas: list[GatewayHere], key: str) -> None:
        self.replicas = replicas
        self._headers = {"authorization": f"Bearer {key}"}
        self.wire_headers = f"authorization: Bearer {key}\r\n"

    async def get(self, path: str, replica: int = 0) -> Any:
        return await self.sent("GET", path, None, replica)

    async def sent(self, method: str, path: str, body: Any, replica: int = 0) -> Any:
        async with httpx.AsyncClient(base_url=self.replicas[replica].root, timeout=10) as client:
            reply = await client.request(method, path, json=body, headers=self._headers)
        assert reply.is_success, reply.text
        return reply.json()

    async def ask(self, replica: int, *, model: str, stream: bool) -> None:
        """One question, answered whole."""
        body = chat("hello", model=model, stream=stream)
        reply = await self.replicas[replica].ask(body, headers=self.wire_headers)
        assert reply.status == 200, reply.body

    async def usage_when(self, requests: int, replica: int = 0) -> Any:
        """The usage once so many requests of today are settled and nothing runs; that is a moment after the reply."""
        async with asyncio.timeout(10):
            while True:
                told = await self.get("/v1/usage", replica)
                if told["days"][0]["requests"] == requests and not told["limits"]["concurrency"]["in_use"]:
                    return told
                await asyncio.sleep(0.01)


@asynccontextmanager
async def two_replicas(server: RedisServer, simulator: Simulator) -> AsyncIterator[Client]:
    """The client of a new key with limits, of a gateway that runs twice."""
    settings = {"redis_url": server.url, "admin_key": ADMIN, "redis_timeout_s": 5.0}
    async with (
        gateway_here(simulator.base_url, **settings) as one,
        gateway_here(simulator.base_url, **settings) as other,
    ):
        limits = {"requests_per_minute": 600, "concurrency": 50, "budget_day": 10, "budget_total": 100}
        body = {"tenant": "acme", "name": "team", "limits": limits}
        made = await Client([one], ADMIN).sent("POST", "/admin/keys", body)
        yield Client([one, other], made["key"])


def _billed(line: dict[str, int]) -> Usage:
    return Usage(
        input_tokens=line["input_tokens"],
        cache_creation_input_tokens=line["cache_creation_input_tokens"],
        cache_write_1h_tokens=line["ephemeral_1h_input_tokens"],
        cache_read_input_tokens=line["cache_read_input_tokens"],
        output_tokens=line["output_tokens"],
    )


def _nano(model: str, line: dict[str, int]) -> int:
    """What the calls of a line cost; all of them are short, so the price of a token is the same for each."""
    price = model_table().resolve(model).facts.price
    assert price is not None
    cost = cost_nano(price, _billed(line))
    assert cost is not None
    return cost


async def test_usage_is_what_the_simulator_would_bill_whichever_replica_is_asked(server: RedisServer) -> None:
    with running_simulator() as simulator:
        async with two_replicas(server, simulator) as client:
            await asyncio.gather(
                *(
                    client.ask(number % 2, model=MODELS[number // 2 % 2], stream=bool(number // 4 % 2))
                    for number in range(24)
                )
            )
            told = await client.usage_when(24)
            assert (await client.get("/v1/usage", 1))["days"] == told["days"]
        invoice = await asyncio.to_thread(simulator.settled_invoice)
    assert invoice["completed"]["calls"] == 24
    of_models = {model["model"]: model for model in told["days"][0]["models"]}
    assert set(of_models) == set(MODELS)
    for model, used in of_models.items():
        line = invoice["models"][model]["completed"]
        assert used["requests"] == line["calls"]
        assert {ours: used[ours] for ours in _CLASSES} == {ours: line[theirs] for ours, theirs in _CLASSES.items()}
        assert (round(used["cost"] * 1e9), used["estimated_cost"]) == (_nano(model, line), 0.0)
    assert told["estimated_share"] == 0.0
    nano = sum(_nano(model, lines["completed"]) for model, lines in invoice["models"].items())
    for spent in told["spend"].values():
        assert round(spent * 1e9) == nano
    for budget in (told["limits"]["budget_day"], told["limits"]["budget_total"]):
        assert round(budget["spent"] * 1e9) == nano
        assert (budget["reserved"], budget["remaining"]) == (0.0, round(budget["limit"] - nano / 1e9, 9))
    assert 0 < told["limits"]["requests_per_minute"]["remaining"] < 600


async def test_a_request_that_runs_is_seen_on_the_other_replica_and_estimated_when_it_is_cancelled(
    server: RedisServer,
) -> None:
    with running_simulator(tokens_per_second=50, output_tokens=2000) as simulator:
        async with two_replicas(server, simulator) as client:
            wire = await client.replicas[0].wire()
            body = chat("hello", model=MODELS[0], stream=True, max_tokens=3000)
            wire.send(post(body, headers=client.wire_headers))
            assert (await wire.head())[0] == 200
            await wire.until(b'"content":"')
            running = (await client.get("/v1/usage", 1))["limits"]
            assert running["concurrency"] == {"limit": 50, "in_use": 1}
            assert running["budget_day"]["reserved"] > 0
            for _ in range(20):
                await wire.until(b'"content":"')
            wire.close()
            told = await client.usage_when(1, replica=1)
        invoice = await asyncio.to_thread(simulator.settled_invoice)
    nano = _nano(MODELS[0], invoice["models"][MODELS[0]]["cancelled"])
    today = told["days"][0]
    # Ten per cent on a machine with nothing else to do; here, what is made while a busy one hears of the end counts.
    assert 0.75 * nano <= round(today["cost"] * 1e9) <= 1.25 * nano
    assert (today["estimated_cost"], told["estimated_share"]) == (today["cost"], 1.0)
    assert told["limits"]["budget_day"]["reserved"] == 0.0


async def test_days_before_midnight_are_told_beside_today(server: RedisServer) -> None:
    with running_simulator() as simulator:
        async with two_replicas(server, simulator) as client:
            await client.ask(0, model=MODELS[0], stream=False)
            told = await client.usage_when(1)
            today = dt.date.fromisoformat(told["days"][0]["date"])
            day = (today - dt.date(1970, 1, 1)).days
            name = keys.usage(tenant_tag("acme"), told["key"]["id"])
            for ago in (1, 3):
                counts = (f"{MODELS[1]} requests", ago, f"{MODELS[1]} cost", ago * 10**9)
                server.ask("HSET", f"{name}{day - ago}", *counts)
            days = (await client.get("/v1/usage?days=4", 1))["days"]
    assert [one["date"] for one in days] == [str(today - dt.timedelta(days=ago)) for ago in range(4)]
    assert [(one["requests"], one["cost"]) for one in days[1:]] == [(1, 1.0), (0, 0.0), (3, 3.0)]
    assert days[0] == told["days"][0]
