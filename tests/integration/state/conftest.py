"""Every test of this folder runs on asyncio's own loop and on uvloop, which polls, reads and keeps time differently."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

from tests.support.redis import redis_servers, server, shared_server, state

__all__ = ["redis_servers", "server", "shared_server", "state"]


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
