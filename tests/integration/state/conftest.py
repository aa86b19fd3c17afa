"""Every test of this folder runs on asyncio's own loop and on uvloop, which polls, reads and keeps time differently.

After each test that used the shared server, its keys are looked through: only API keys live for ever.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable, Iterator, Mapping

import pytest
import uvloop

from tests.support.redis import RedisServer, redis_servers, server, shared_server, state
from tests.support.stored_ledger import lasting_keys

__all__ = ["redis_servers", "server", "shared_server", "state"]


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(autouse=True)
def quiet_loop(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No future or task of ours may end with an exception that nobody takes: the loop would log it."""
    yield
    gc.collect()
    records = [*caplog.get_records("call"), *caplog.get_records("teardown")]
    noise = [record.getMessage() for record in records if record.name == "asyncio" and record.levelno >= logging.ERROR]
    assert not noise


#: Their tests put values into the store by hand.
_BY_HAND = ("test_usage.py", "test_key_pushes.py")


@pytest.fixture(autouse=True)
def nothing_lasts(request: pytest.FixtureRequest) -> Iterator[None]:
    """No key of ours may be left without a time to live, but API keys and their index."""
    yield
    callspec = getattr(request.node, "callspec", None)
    on_server = "shared_server" in request.fixturenames or (callspec and "redis" in callspec.params.values())
    if on_server and request.path.name not in _BY_HAND:
        shared: RedisServer = request.getfixturevalue("shared_server")
        assert lasting_keys(shared.ask) == []
