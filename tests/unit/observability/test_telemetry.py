"""Whether telemetry is exported, and what its settings accept."""

from __future__ import annotations

import logging

import pytest

from app.config import SettingError
from app.observability import telemetry
from app.observability.otlp import TOLD_EVERY_S, Seldom, worker_resource
from app.observability.telemetry import exports_telemetry, milliseconds

URL = "http://collector:4318"


@pytest.mark.parametrize(
    ("endpoint", "environ"),
    [("", {}), ("", {"OTEL_SDK_DISABLED": "false"}), (URL, {"OTEL_SDK_DISABLED": "true"}), ("", {"X": "1"})],
)
def test_it_is_off(endpoint: str, environ: dict[str, str]) -> None:
    assert not exports_telemetry(endpoint, environ)


@pytest.mark.parametrize("endpoint", [URL, "https://collector", f"{URL}/"])
def test_it_is_on(endpoint: str) -> None:
    assert exports_telemetry(endpoint, {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"})


@pytest.mark.parametrize(
    "endpoint", ["collector:4318", "grpc://collector", "http://", "4318", "http://[bad", "http://a:x"]
)
def test_an_endpoint_that_is_no_url_is_refused(endpoint: str) -> None:
    with pytest.raises(
        SettingError, match=r"CLAUDE_WRAPPER_OTLP_ENDPOINT: takes a URL such as http://collector:4318\."
    ):
        exports_telemetry(endpoint, {})


@pytest.mark.parametrize("endpoint", ["http://user:secret@collector:4318", f"{URL}?key=secret"])
def test_an_endpoint_holds_no_secret(endpoint: str) -> None:
    with pytest.raises(SettingError, match="OTEL_EXPORTER_OTLP_HEADERS") as refused:
        exports_telemetry(endpoint, {})
    assert "secret" not in str(refused.value)


def test_a_protocol_that_is_not_spoken_is_refused() -> None:
    with pytest.raises(SettingError, match="OTEL_EXPORTER_OTLP_PROTOCOL: only http/protobuf"):
        exports_telemetry(URL, {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})


@pytest.mark.parametrize("missing", ["opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http"])
def test_packages_that_are_missing_are_named(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "_is_installed", lambda package: package != missing)
    with pytest.raises(SettingError, match=r"pip install opentelemetry-sdk opentelemetry-exporter-otlp-proto-http"):
        exports_telemetry(URL, {})


@pytest.mark.parametrize("package", ["opentelemetry.nothing", "nothing_at_all.of.it"])
def test_a_package_is_looked_for_without_importing_it(package: str) -> None:
    assert not telemetry._is_installed(package)


@pytest.mark.parametrize("text", ["0", "-1", "soon", "1.5", "1e3", "99999999999"])
def test_an_interval_is_a_positive_number(text: str) -> None:
    with pytest.raises(SettingError, match="OTEL_BSP_SCHEDULE_DELAY: takes a number of milliseconds, such as 5000"):
        milliseconds({"OTEL_BSP_SCHEDULE_DELAY": text}, "OTEL_BSP_SCHEDULE_DELAY", 5.0)
    with pytest.raises(SettingError):
        exports_telemetry(URL, {"OTEL_METRIC_EXPORT_INTERVAL": text})


def test_an_interval_has_a_default() -> None:
    assert milliseconds({}, "X", 5.0) == 5.0
    assert milliseconds({"X": " 250 "}, "X", 5.0) == 0.25


def test_a_worker_is_an_instance_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_RESOURCE_ATTRIBUTES", "OTEL_SERVICE_NAME"):
        monkeypatch.delenv(name, raising=False)
    attributes = worker_resource("abc").attributes
    assert (attributes["service.name"], attributes["service.instance.id"]) == ("claude-wrapper", "abc")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=pod-1,service.version=9")
    attributes = worker_resource("abc").attributes
    assert (attributes["service.instance.id"], attributes["service.version"]) == ("pod-1.abc", "9")


def test_equal_resources_are_one_to_the_encoder() -> None:
    assert hash(worker_resource("abc")) == hash(worker_resource("abc"))
    assert worker_resource("abc") == worker_resource("abc") != worker_resource("def")


def test_an_exporter_tells_its_troubles_seldom() -> None:
    now = 100.0
    seldom = Seldom(lambda: now)
    record = logging.LogRecord("x", logging.ERROR, "x", 1, "x", None, None)
    assert seldom.filter(record)
    now += TOLD_EVERY_S - 1
    assert not seldom.filter(record)
    now += 1
    assert seldom.filter(record)
