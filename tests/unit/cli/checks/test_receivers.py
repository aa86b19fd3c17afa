from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from app.cli.checks.finding import Outcome
from app.cli.checks.receivers import check_collector, check_webhook
from app.config import Config

#: Nobody listens there.
CLOSED = 1


@pytest.fixture
def port() -> Iterator[int]:
    """Somebody listens there."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def test_what_is_not_set_is_not_checked() -> None:
    (collector,) = check_collector(Config(), {})
    assert (collector.outcome, check_webhook(Config(), {}).outcome) == (Outcome.SKIP, Outcome.SKIP)


def test_a_webhook_is_connected_to_and_its_path_is_not_shown(port: int) -> None:
    finding = check_webhook(Config(alert_webhook_url=f"http://127.0.0.1:{port}/canary?key=canary"), {})
    assert finding.outcome is Outcome.OK
    assert f"http://127.0.0.1:{port} connected in " in finding.detail
    assert "canary" not in finding.detail


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
def test_a_webhook_that_is_away_fails_and_its_path_is_not_shown(host: str) -> None:
    finding = check_webhook(Config(alert_webhook_url=f"http://{host}:{CLOSED}/canary"), {})
    assert finding.outcome is Outcome.FAIL
    assert f"no connection to http://{host}:{CLOSED}: " in finding.detail
    assert "CLAUDE_WRAPPER_ALERT_WEBHOOK_URL" in finding.advice
    assert "canary" not in finding.detail + finding.advice


def test_the_way_leads_over_the_proxy_of_the_environment(port: int) -> None:
    environ = {"http_proxy": f"http://user:canary@127.0.0.1:{port}"}
    finding = check_webhook(Config(alert_webhook_url=f"http://127.0.0.1:{CLOSED}/"), environ)
    assert finding.outcome is Outcome.OK
    assert f"(by the proxy http://127.0.0.1:{port})" in finding.detail
    assert "canary" not in finding.detail


def test_a_proxy_that_is_none_fails() -> None:
    finding = check_webhook(Config(alert_webhook_url="http://127.0.0.1:1/"), {"http_proxy": "socks5://x"})
    assert finding.outcome is Outcome.FAIL
    assert "HTTP_PROXY" in finding.detail.upper()


def test_a_collector_of_both_signals_is_connected_to_once(port: int) -> None:
    (finding,) = check_collector(Config(otlp_endpoint=f"http://127.0.0.1:{port}/canary"), {})
    assert (finding.name, finding.outcome) == ("otlp collector", Outcome.OK)
    assert "canary" not in finding.detail


def test_two_collectors_are_two_findings(port: int) -> None:
    environ = {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"http://127.0.0.1:{CLOSED}"}
    traces, metrics = check_collector(Config(otlp_endpoint=f"http://127.0.0.1:{port}"), environ)
    assert (traces.name, traces.outcome) == ("otlp traces", Outcome.OK)
    assert (metrics.name, metrics.outcome) == ("otlp metrics", Outcome.FAIL)
    assert "dropped" in metrics.advice


def test_an_endpoint_that_is_no_url_fails(port: int) -> None:
    environ = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "canary:4318"}
    traces, _ = check_collector(Config(otlp_endpoint=f"http://127.0.0.1:{port}"), environ)
    assert (traces.outcome, traces.detail) == (Outcome.FAIL, "what is set is no URL")
