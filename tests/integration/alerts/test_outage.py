"""An outage of the store on the page of metrics and on the dashboard: no alert vanishes, and the outage is one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

import pytest
from msgspec import Struct

from app.observability.catalog import ALERT
from tests.support.redis import RedisServer, redis_servers, server
from tests.support.replicas import Replicas, running_replicas
from tests.support.scraped import scrape

__all__ = ["redis_servers", "server"]

#: Enough for a rate.
ERRORS = 25


class Seen(Struct, frozen=True):
    """What an operator sees of the alerts.

    Args:
        errors: level of the alert of errors on the page of metrics; ``None``: it is not there.
        outage: the same of the outage.
        dashboard: levels of the active alerts on the dashboard, by name.
        degraded: the dashboard says that it shows what one worker knows.
    """

    errors: float | None
    outage: float | None
    dashboard: Mapping[str, str]
    degraded: bool


async def look(replicas: Replicas) -> Seen:
    """What is to be seen now."""
    page = await scrape(replicas.ports[0])
    data = await asyncio.to_thread(replicas.admin, "GET", "/dashboard/data")
    return Seen(
        errors=page.values.get((ALERT.name, (("alert", "error_rate"),))),
        outage=page.values.get((ALERT.name, (("alert", "store_away"),))),
        dashboard={alert["name"]: alert["level"] for alert in data["overview"]["alerts"]},
        degraded=data["degraded"],
    )


async def seen(replicas: Replicas, is_so: Callable[[Seen], bool]) -> None:
    """Returns once an operator sees what the test wants."""
    deadline = time.monotonic() + 60
    while not is_so(now := await look(replicas)):
        assert time.monotonic() < deadline, now
        await asyncio.sleep(0.2)


@pytest.mark.parametrize("how", ["frozen", "killed"])
async def test_alerts_stay_to_be_seen_while_the_store_is_away(server: RedisServer, how: str) -> None:
    settings = {
        "CLAUDE_WRAPPER_HEALTH_MONITORING": "true",
        "CLAUDE_WRAPPER_MONITOR_INTERVAL_S": "0.5",
        "CLAUDE_WRAPPER_UPSTREAM_RETRIES": "0",
        "CLAUDE_WRAPPER_REDIS_TIMEOUT_S": "0.5",
    }
    with running_replicas(server, count=1, env=settings) as replicas:
        key = replicas.create_key("acme")
        async with replicas.client() as client:
            asked = (client.chat(replicas.port(), key, "Fail. [[sim: status=500]]") for _ in range(ERRORS))
            await asyncio.gather(*asked)
        errors = {"error_rate": "critical"}
        await seen(replicas, lambda now: now == Seen(2, 0, errors, False))
        server.freeze() if how == "frozen" else server.kill()
        await seen(replicas, lambda now: now == Seen(2, 2, {"store_away": "critical", **errors}, True))
        server.thaw() if how == "frozen" else server.start()
        await seen(replicas, lambda now: now.outage == 0 and "store_away" not in now.dashboard and not now.degraded)
