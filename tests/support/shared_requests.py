"""For tests of equal requests and of retries: replicas that must leave nothing behind, and what they say.

The fixtures are used by importing them.
"""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.support.chat_frames import deltas, frames
from tests.support.chat_wire import Reply
from tests.support.redis import RedisServer, RedisServers
from tests.support.replicas import MODEL, Key
from tests.support.replicas_here import ReplicasHere, replicas_here
from tests.support.simulator import Simulator, running_simulator

#: Long enough for everybody to come aboard, however busy the machine is.
SLOW = "[[sim: ttft_ms=700 output_tokens=30]]"


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running_simulator(journal=5000) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def own_server() -> Iterator[RedisServer]:
    servers = RedisServers()
    yield servers()
    servers.end()


@pytest.fixture
async def key(replicas: ReplicasHere) -> Key:
    return await replicas.create_key("acme")


@pytest.fixture
def topic(request: pytest.FixtureRequest) -> str:
    """Stands in no other prompt."""
    return f"{request.node.name} {random.randrange(10**9)}"


@asynccontextmanager
async def clean_replicas(server: RedisServer, simulator: Simulator, **settings: Any) -> AsyncIterator[ReplicasHere]:
    """Three on an empty Redis, which leave nothing behind."""
    server.ask("FLUSHALL")
    async with replicas_here(server, simulator, upstream_retries=0, **settings) as replicas:
        yield replicas
        await replicas.at_rest()
        assert not replicas.keys("flight")
        for gateway in replicas.gateways:
            assert not gateway.app._app.state.services.flights._open


def body(prompt: str, **fields: Any) -> bytes:
    """A request of one question."""
    return json.dumps({"model": MODEL, "messages": [{"role": "user", "content": prompt}], **fields}).encode()


def text_of(reply: Reply) -> str:
    """What an answer says, plain or streamed."""
    assert reply.status == 200, reply.body
    if reply.headers["content-type"] == "application/json":
        content: str = json.loads(reply.body)["choices"][0]["message"]["content"]
        return content
    assert frames(reply.body)[-1] == "[DONE]"
    return "".join(delta.get("content") or "" for delta in deltas(reply.body))
