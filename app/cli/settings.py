"""Settings as a command sees them: flags over environment over defaults, and what ``--production`` changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from app.cli.cores import usable_cores
from app.config import Config, Resolved, SettingError, known_variables, refuse_unknown, resolve


def load_settings(
    environ: Mapping[str, str],
    flags: Mapping[str, Any] | None = None,
    *,
    strict: bool = True,
    cores: Callable[[], int] = usable_cores,
) -> tuple[Config, dict[str, Resolved]]:
    """The settings, and where each came from.

    Args:
        environ: environment variables.
        flags: field -> text; ``None`` means not given.
        strict: refuse ``CLAUDE_WRAPPER_*`` variables that are no setting; commands that only look do not.
        cores: how many cores there are to use.

    Raises:
        SettingError: a setting is wrong, or with ``mock`` one of the simulator's; the text names it.
    """
    if strict:
        from workers.simulator.settings import SimulatorSettings

        refuse_unknown(environ, known_variables(Config, SimulatorSettings))
    config, sources = resolve(Config, environ, flags or {})
    if strict and config.mock:
        resolve(SimulatorSettings, environ, {})  # it would say so in a process of its own, when it is too late
    implied: dict[str, Any] = {"log_format": "json" if config.production else "text"}
    if config.production:
        implied |= {"host": "0.0.0.0", "workers": cores()}  # noqa: S104 - what --production is for
    if config.log_format != "auto":
        del implied["log_format"]
    implied = {
        name: value for name, value in implied.items() if sources[name].source == "default" or name == "log_format"
    }
    sources |= {
        name: Resolved(value, "production" if config.production else "default") for name, value in implied.items()
    }
    return msgspec.structs.replace(config, **implied), sources


def check_settings(config: Config, environ: Mapping[str, str]) -> None:
    """Refuses what a worker would refuse, before anything is started; imports nothing heavy.

    Args:
        config: the settings, each right by itself.
        environ: environment variables, for proxies and certificates.

    Raises:
        SettingError: a setting names something that cannot be used.
    """
    from app.gateway.alert_settings import check_alerts
    from app.gateway.gate import check_keys, trusted_proxies
    from app.gateway.key_file import load_key_file
    from app.gateway.model_table import load_served_models
    from app.identity import check_jwt
    from app.observability.request_log import RequestLogSettings
    from app.observability.telemetry import exports_telemetry
    from app.state.urls import parse_address, scheme_of
    from app.upstream import check_upstream

    if config.redis_url != "auto" and scheme_of(config.redis_url) != "memory":
        parse_address(config.redis_url)
    if not config.mock:  # which goes nowhere
        check_upstream(config, environ)
    load_served_models(config)
    trusted_proxies(config)
    check_keys(config)
    check_jwt(config)
    RequestLogSettings.of(config)
    check_alerts(config)
    exports_telemetry(config.otlp_endpoint, environ)
    if config.keys_file:
        load_key_file(config.keys_file)


def port_of(environ: Mapping[str, str], given: str | None) -> int:
    """The port a command looks at; nothing else of the settings has to be right for it.

    Raises:
        SettingError: what was given is no port.
    """
    names = ("CLAUDE_WRAPPER_PORT", "PORT", "CLAUDE_WRAPPER_DATA_DIR")
    config, _ = resolve(Config, {name: environ[name] for name in names if name in environ}, {"port": given})
    if config.port == 0:
        raise SettingError("--port: say which port; 0 is any free one.")
    return config.port
