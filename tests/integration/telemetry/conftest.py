"""Traces and metrics over OTLP: a gateway in the test's event loop, and a collector that keeps what it is sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import pytest_asyncio
import uvloop

from app.observability import tracing
from tests.support.otlp_receiver import Collector, otlp_receiver


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """A worker runs on uvloop."""
    return {"uvloop": uvloop.new_event_loop}


@pytest_asyncio.fixture
async def collector() -> AsyncIterator[Collector]:
    """A collector that answers at once."""
    async with otlp_receiver() as collector:
        yield collector


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports are made at once, instead of every few seconds."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "50")
    monkeypatch.setattr(tracing, "SETTLES_WITHIN_S", 60.0)  # however busy the machine is
