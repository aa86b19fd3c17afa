from __future__ import annotations

import pytest

from app.cli.receivers import collector_urls, origin, traces_origin
from app.config import Config

ENDPOINT = "http://collector:4318"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://hooks.example.com/services/canary?token=canary", "https://hooks.example.com"),
        ("http://user:canary@10.0.0.1:9000/", "http://10.0.0.1:9000"),
        (" http://[::1]:4318/v1/traces ", "http://[::1]:4318"),
        ("ftp://example.com/canary", ""),
        ("http://example.com:canary/", ""),
        ("canary", ""),
        ("", ""),
    ],
)
def test_of_a_url_only_scheme_host_and_port_are_shown(url: str, shown: str) -> None:
    assert origin(url) == shown


def test_traces_go_nowhere_until_an_endpoint_is_set() -> None:
    assert collector_urls(Config(), {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": ENDPOINT}) == {}
    assert traces_origin(Config(), {}) == ""
    assert traces_origin(Config(otlp_endpoint=ENDPOINT), {"OTEL_SDK_DISABLED": "true"}) == ""


def test_each_signal_may_have_an_endpoint_of_its_own() -> None:
    environ = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://traces.example.com/canary"}
    config = Config(otlp_endpoint=ENDPOINT)
    assert traces_origin(config, {}) == ENDPOINT
    assert traces_origin(config, environ) == "https://traces.example.com"
    assert collector_urls(config, environ)["metrics"] == ENDPOINT
