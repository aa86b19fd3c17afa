"""A worker runs on uvloop; the log of a test goes where the test wants it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping

import pytest
import uvloop

from app.observability.log import OUR_LOGGERS, SERVER_LOGGERS, configure
from tests.support.redis import redis_servers

__all__ = ["redis_servers"]


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loops that these tests run on."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    """Takes back what a test has configured."""
    loggers = [logging.getLogger(name) for name in (None, *OUR_LOGGERS, *SERVER_LOGGERS)]
    before = [(logger, logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    yield
    configure()
    for logger, handlers, level, propagate in before:
        logger.handlers[:] = handlers
        logger.setLevel(level)
        logger.propagate = propagate
