"""Who is told by the gateway: the webhook of alerts, the collector of traces and metrics; and how they may be shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from app.config import Config
from app.observability.telemetry import exports_telemetry

#: What is exported over OTLP, in the order of the variables' names.
_SIGNALS: Final = ("traces", "metrics")


def collector_urls(config: Config, environ: Mapping[str, str]) -> dict[str, str]:
    """Where traces and metrics go, as it was set: signal -> URL; nothing while they are off. Not to be shown.

    Args:
        config: the settings.
        environ: environment variables; each signal may have one of its own.

    Raises:
        SettingError: they should be exported and cannot be.
    """
    if not exports_telemetry(config.otlp_endpoint, environ):
        return {}
    return {
        signal: environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT") or config.otlp_endpoint
        for signal in _SIGNALS
    }


def traces_origin(config: Config, environ: Mapping[str, str]) -> str:
    """Where traces go, as it may be shown; empty for nowhere.

    Raises:
        SettingError: they should be exported and cannot be.
    """
    return origin(collector_urls(config, environ).get("traces", ""))


def origin(url: str) -> str:
    """Scheme, host and port of a URL, which are no secret; empty where it is none for HTTP."""
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:
        return ""
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return ""
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{port}" if port else "")
