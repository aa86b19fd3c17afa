"""A collector that is away, slow or broken costs no request anything; at the end of a worker what is left is sent."""

from __future__ import annotations

import logging
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from app.config import Config, SettingError
from app.main import create_app
from app.observability import tracing
from app.observability.telemetry import CLOSES_WITHIN_S
from tests.support.chat_wire import chat, until
from tests.support.gateway_here import GatewayHere, gateway_here
from tests.support.messages_peer import keep_answering
from tests.support.raw_upstream import Peer, raw_upstream

_ROOT = Path(__file__).parents[3]

#: A port where nobody listens.
AWAY = "http://127.0.0.1:9"

#: What a request takes at most, on a busy machine; far less than an exporter waits for its collector.
QUICK_S = 5.0


async def ask(gateway: GatewayHere, times: int) -> None:
    """Good requests, one after the other, none of which may be slow."""
    for _ in range(times):
        began = time.monotonic()
        assert (await gateway.ask(chat())).status == 200
        assert time.monotonic() - began < QUICK_S


def told(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """Records about exports."""
    return [record for record in caplog.records if "opentelemetry" in record.name or "observability" in record.name]


@pytest.mark.parametrize("trouble", ["away", "silent", "broken", "unavailable"])
async def test_requests_do_not_notice(collector, caplog, monkeypatch, trouble):
    monkeypatch.setattr(tracing, "MOST_WAITING", 20)
    collector.status = 500 if trouble == "broken" else 503
    async with raw_upstream(keep_answering) as upstream, raw_upstream(Peer.gone) as silent:
        endpoint = {"away": AWAY, "silent": silent.base_url}.get(trouble, collector.url)
        async with gateway_here(upstream.base_url, otlp_endpoint=endpoint) as gateway:
            tracer = gateway.app._tracer
            await ask(gateway, 60)
            assert len(tracer._waiting) <= 20
            await until(lambda: tracer.dropped > 0)
            ended_at = time.monotonic()
        assert time.monotonic() - ended_at < CLOSES_WITHIN_S + QUICK_S
    assert not collector.spans
    # A line of each exporter and one about what was lost, in a minute; and what is said at the end.
    assert len(told(caplog)) <= 5, [record.getMessage() for record in told(caplog)]


async def test_what_is_left_is_sent_at_the_end(collector, monkeypatch):
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000")
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "3600000")
    async with (
        raw_upstream(keep_answering) as upstream,
        gateway_here(upstream.base_url, otlp_endpoint=collector.url) as gateway,
    ):
        await ask(gateway, 30)
        assert not collector.raw
    assert sum(span.name.startswith("POST") for span in collector.spans) == 30
    assert sum(span.name == "settle" for span in collector.spans) == 30
    (requests,) = collector.totals()["claude_wrapper.requests"].sum.data_points
    assert requests.as_int == 30


async def test_many_that_wait_are_sent_before_the_round(collector, monkeypatch):
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000")
    monkeypatch.setattr(tracing, "WAKES_AT", 5)
    async with (
        raw_upstream(keep_answering) as upstream,
        gateway_here(upstream.base_url, otlp_endpoint=collector.url) as gateway,
    ):
        await ask(gateway, 8)
        await until(lambda: collector.spans)


async def test_headers_and_resource_are_those_of_the_environment(collector, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=collectors-key")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "chat-gateway")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=pod-7,deployment.environment=test")
    async with (
        raw_upstream(keep_answering) as upstream,
        gateway_here(upstream.base_url, otlp_endpoint=collector.url) as gateway,
    ):
        await ask(gateway, 1)
    assert {headers["api-key"] for headers in collector.headers} == {"collectors-key"}
    resource = collector.spans[0].resource
    assert resource == collector.exports[-1][0]
    assert resource["service.name"] == "chat-gateway"
    assert resource["deployment.environment"] == "test"
    assert resource["service.instance.id"].startswith("pod-7.")


async def test_a_signal_may_have_an_endpoint_of_its_own(collector, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{collector.url}/mine/v1/traces")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", f"{collector.url}/mine/v1/metrics")
    async with (
        raw_upstream(keep_answering) as upstream,
        gateway_here(upstream.base_url, otlp_endpoint=AWAY) as gateway,
    ):
        await ask(gateway, 1)
    assert collector.spans
    assert collector.exports


def test_an_endpoint_that_cannot_be_used_is_said_at_the_start():
    with pytest.raises(SettingError, match="CLAUDE_WRAPPER_OTLP_ENDPOINT: takes a URL"):
        create_app(Config(redis_url="memory://", anthropic_api_key="sk-ant-1", otlp_endpoint="collector:4318"))


def test_nothing_of_it_is_loaded_while_it_is_off():
    """Parts of OpenTelemetry are there all the same: ``anthropic`` needs its API, ``redis`` takes its SDK if it can."""
    script = """
        import asyncio, sys, threading
        from tests.support.chat_wire import chat
        from tests.support.gateway_here import gateway_here
        from tests.support.messages_peer import keep_answering
        from tests.support.raw_upstream import raw_upstream

        OURS = ("opentelemetry.exporter", "opentelemetry.proto", "google.protobuf", "app.observability.otlp")

        async def main():
            async with raw_upstream(keep_answering) as upstream, gateway_here(upstream.base_url) as gateway:
                assert (await gateway.ask(chat())).status == 200
                print(*(name for name in sys.modules if name.startswith(OURS)))
                print(*(thread.name for thread in threading.enumerate() if thread.name.startswith("export")))

        asyncio.run(main())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], cwd=_ROOT, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
