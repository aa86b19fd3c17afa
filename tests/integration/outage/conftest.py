"""A gateway on uvloop before a Redis that fails, and an upstream that answers at once."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path

import pytest
import uvloop

from tests.support.outage import Site, redis_site
from tests.support.outage_gateway import FILE_KEYS, TENANT, Counted
from tests.support.redis import RedisServers, redis_servers
from tests.support.simulator import Simulator, running_simulator

__all__ = ["redis_servers"]


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """A worker runs on uvloop."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def shared_simulator() -> Iterator[Simulator]:
    """One process for all tests of this folder."""
    with running_simulator(validate=False, output_tokens=20) as simulator:
        yield simulator


@pytest.fixture
def simulator(shared_simulator: Simulator) -> Simulator:
    """A simulator that has billed nothing yet."""
    shared_simulator.reset()
    return shared_simulator


@pytest.fixture
async def site(redis_servers: RedisServers) -> AsyncIterator[Site]:
    """A Redis that keeps what it has acknowledged, behind a proxy."""
    async with redis_site(redis_servers) as made:
        yield made


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    """A key that goes on without Redis, and one that does not."""
    keys = [{"key": text, "id": name, "tenant": TENANT, "outage": f"fail_{name}"} for name, text in FILE_KEYS.items()]
    path = tmp_path / "keys.yaml"
    path.write_text(json.dumps({"keys": keys}))
    return path


@pytest.fixture
def log() -> Iterator[Counted]:
    """What the application logs during the test."""
    handler = Counted()
    logging.getLogger("app").addHandler(handler)
    yield handler
    logging.getLogger("app").removeHandler(handler)
