"""Every test of this folder runs on asyncio's own loop and on uvloop, which polls, reads and keeps time differently."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable, Iterator, Mapping

import pytest
import uvloop

from tests.support.redis import redis_servers, server, shared_server, state

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
