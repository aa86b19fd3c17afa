from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import uvloop

from app.domain.upstream import Upstream
from app.upstream.direct import DirectUpstream
from app.upstream.sdk import SdkUpstream
from app.upstream.settings import LaneSettings

LANES: dict[str, Callable[[LaneSettings], Upstream]] = {"direct": DirectUpstream, "sdk": SdkUpstream}


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Every test runs on both loops: a worker has uvloop, its users' tests have asyncio's."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


OpenLane = Callable[..., Upstream]


@pytest.fixture(params=LANES)
async def open_lane(request: pytest.FixtureRequest) -> AsyncIterator[OpenLane]:
    """Opens lanes of one kind, with short limits unless told otherwise, and closes them after the test."""
    opened: list[Upstream] = []

    def open_one(base_url: str, **settings: object) -> Upstream:
        defaults: dict[str, object] = {
            "api_key": "sk-test",
            "connect_timeout_s": 2.0,
            "first_byte_timeout_s": 5.0,
            "idle_timeout_s": 5.0,
        }
        lane = LANES[request.param](LaneSettings(base_url=base_url, **{**defaults, **settings}))
        opened.append(lane)
        return lane

    yield open_one
    for lane in opened:
        await lane.close()
