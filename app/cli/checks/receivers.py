"""The webhook of alerts and the collector of traces and metrics: can they be connected to; nothing is sent.

Of their URLs only scheme, host and port are shown: a path or a query may hold a secret.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import urlsplit

from app.cli.checks.finding import Finding, timed
from app.cli.receivers import collector_urls, origin
from app.config import Config, SettingError
from app.upstream.route import proxy_url

_TIMEOUT_S: Final = 5.0

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def check_webhook(config: Config, environ: Mapping[str, str]) -> Finding:
    """Whether the webhook can be connected to."""
    if not config.alert_webhook_url:
        return Finding.skip("webhook", "none is set: alerts are told to the log and the dashboard only")
    variable = "CLAUDE_WRAPPER_ALERT_WEBHOOK_URL"
    return _reach("webhook", config.alert_webhook_url, environ, variable, "alerts do not arrive there.")


def check_collector(config: Config, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Whether what traces and metrics are sent to can be connected to; each address once.

    Raises:
        SettingError: they cannot be exported; ``check_settings`` has said so before.
    """
    urls = collector_urls(config, environ)
    if not urls:
        yield Finding.skip("otlp collector", "traces and metrics are not exported: no endpoint is set")
    first_of: dict[str, str] = {}
    for signal, url in urls.items():
        first_of.setdefault(origin(url), signal)
    for signal in first_of.values():
        name = "otlp collector" if len(first_of) == 1 else f"otlp {signal}"
        variables = f"CLAUDE_WRAPPER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT"
        yield _reach(name, urls[signal], environ, variables, "until it answers, what is sent there is dropped.")


def _reach(name: str, url: str, environ: Mapping[str, str], variable: str, meanwhile: str) -> Finding:
    """Connects to what a URL names, or to the proxy on the way, and hangs up."""
    shown = origin(url)
    if not shown:
        return Finding.fail(name, "what is set is no URL", f"Correct {variable}.")
    advice = f"Check {variable}, the network and the proxy settings; {meanwhile}"
    try:
        proxy = proxy_url(url, "", environ)
    except SettingError as exc:
        return Finding.fail(name, str(exc), "Correct the variable.")
    where = f"{shown} (by the proxy {origin(proxy)})" if proxy else shown
    try:
        _, took = timed(lambda: socket.create_connection(_address(proxy or url), timeout=_TIMEOUT_S).close())
    except (OSError, UnicodeError) as exc:
        why = (exc.strerror if isinstance(exc, OSError) else None) or exc
        return Finding.fail(name, f"no connection to {where}: {why}", advice)
    return Finding.ok(name, f"{where} connected in {took}; nothing was sent")


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url.strip())
    return parts.hostname or "", parts.port or _DEFAULT_PORTS[parts.scheme]
