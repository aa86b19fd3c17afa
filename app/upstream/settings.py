"""What a lane to Anthropic has to know, apart from how it works: the settings of any lane.

Filled from ``app.config.Config`` by ``app.upstream.open_upstream``; tests fill it themselves.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from app.config import Config
from app.errors import UpstreamStatus


class LaneSettings(Struct, frozen=True, kw_only=True):
    """Settings of a lane. Durations are seconds; the fields mean what the settings of the same names in Config do.

    Args:
        base_url: of the Anthropic API; http or https, may have a path.
        api_key: of calls that bring no credential; preferred over ``auth_token``. Both empty: such a call is refused
            without a network. Of several keys the first; ``app.upstream.pool`` gives each call its own.
        proxy: empty for what ``environ`` says.
        ca_bundle: empty for what ``environ`` or the system says.
        environ: where proxies and certificates are looked up.
    """

    base_url: str
    api_key: str = ""
    auth_token: str = ""
    connect_timeout_s: float = 5.0
    first_byte_timeout_s: float = 600.0
    idle_timeout_s: float = 300.0
    max_connections: int = 256
    pool_wait_s: float = 5.0
    keepalive_s: float = 30.0
    max_reply_bytes: int = 64 * 1024**2
    proxy: str = ""
    ca_bundle: str = ""
    environ: Mapping[str, str] = {}

    @classmethod
    def of(cls, config: Config, environ: Mapping[str, str]) -> LaneSettings:
        """The part of the gateway's settings that concerns Anthropic."""
        return cls(
            base_url=config.anthropic_base_url,
            api_key=next(iter(config.anthropic_keys), ""),
            auth_token=config.anthropic_auth_token,
            connect_timeout_s=config.upstream_connect_timeout_s,
            first_byte_timeout_s=config.upstream_first_byte_timeout_s,
            idle_timeout_s=config.upstream_idle_timeout_s,
            max_connections=config.upstream_max_connections,
            pool_wait_s=config.upstream_pool_wait_s,
            keepalive_s=config.upstream_keepalive_s,
            max_reply_bytes=config.upstream_max_reply_bytes,
            proxy=config.upstream_proxy,
            ca_bundle=config.upstream_ca_bundle,
            environ=environ,
        )


def no_credential() -> UpstreamStatus:
    """What every call is answered with when the gateway has neither key nor token."""
    return UpstreamStatus(
        "The gateway has no Anthropic credential: set ANTHROPIC_API_KEY (or ANTHROPIC_AUTH_TOKEN) and restart it, "
        "or start it with --mock.",
        status=401,
        error_type="authentication_error",
    )
