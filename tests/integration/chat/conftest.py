"""Chat completions over real connections: on uvloop, as in a worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import uvloop


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """A worker runs on uvloop."""
    return {"uvloop": uvloop.new_event_loop}
