"""Worker processes: each is an instance of its own, and all of what they have is sent before they end."""

from __future__ import annotations

import asyncio
import json
import signal
import time
import urllib.request

from app.observability.telemetry import CLOSES_WITHIN_S
from tests.support.chat_wire import chat
from tests.support.gateway import RunningGateway, running_gateway
from tests.support.otlp_receiver import attributes

REQUESTS = 20

#: The end of a gateway of two workers that has nothing to wait for, on a busy machine.
ENDS_WITHIN_S = 10.0


def run(url: str, *, times: int = REQUESTS) -> float:
    """A gateway of two workers, so many requests, SIGTERM; how long that took to end it."""
    with running_gateway("--mock", "--workers", "2", env={"OTEL_EXPORTER_OTLP_ENDPOINT": url}) as gateway:
        for _ in range(times):
            assert ask(gateway)["object"] == "chat.completion"
        began = time.monotonic()
        gateway.process.send(signal.SIGTERM)
        assert gateway.process.wait(within_s=CLOSES_WITHIN_S + ENDS_WITHIN_S) == 0
        return time.monotonic() - began


def ask(gateway: RunningGateway) -> dict[str, object]:
    request = urllib.request.Request(
        f"{gateway.base_url}/v1/chat/completions", chat(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as reply:
        body: dict[str, object] = json.load(reply)
    return body


async def test_workers_are_instances_and_lose_nothing_at_their_end(collector):
    await asyncio.to_thread(run, collector.url)
    assert sum(span.name.startswith("POST") for span in collector.spans) == REQUESTS
    last = {resource["service.instance.id"]: named for resource, named in collector.exports}
    assert len(last) == 2
    counted = [
        (attributes(point.attributes)["http.response.status_code"], point.as_int)
        for named in last.values()
        if "claude_wrapper.requests" in named
        for point in named["claude_wrapper.requests"].sum.data_points
    ]
    assert {status for status, _ in counted} == {200}
    assert sum(count for _, count in counted) == REQUESTS


async def test_a_collector_that_is_away_holds_no_worker_up():
    took_s = await asyncio.to_thread(run, "http://127.0.0.1:9", times=3)
    assert took_s < CLOSES_WITHIN_S + ENDS_WITHIN_S
