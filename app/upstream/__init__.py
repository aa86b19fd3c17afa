"""The room that talks to Anthropic: lanes behind ``app.domain.upstream``, keys, retries, and their errors."""

from __future__ import annotations

from collections.abc import Mapping

from app.config import Config
from app.domain.upstream import Upstream
from app.upstream.credentials import CredentialBook, WatchedLane
from app.upstream.pool import CredentialPool, own_credentials, pool_keys
from app.upstream.retries import RetryingUpstream
from app.upstream.route import find_route
from app.upstream.settings import LaneSettings


def check_upstream(config: Config, environ: Mapping[str, str]) -> None:
    """Refuses what ``open_upstream`` would refuse, without importing anything: for the start of a process.

    Raises:
        SettingError: a setting makes no sense; names the variable.
    """
    pool_keys(config)
    find_route(LaneSettings.of(config, environ))


def open_upstream(config: Config, environ: Mapping[str, str], credentials: CredentialBook | None = None) -> Upstream:
    """The way to Anthropic that the settings ask for, with retries; connects when the first call comes.

    Takes some 100 ms: the lane's library is imported here and nowhere else.

    Args:
        config: the gateway's settings.
        environ: environment variables, for ``HTTPS_PROXY``, ``NO_PROXY``, ``SSL_CERT_FILE`` and their family.
        credentials: is told what replies say about the gateway's own credentials; ``None``: nobody wants to know.

    Raises:
        SettingError: a setting makes no sense; names the variable.
    """
    keys = pool_keys(config)
    lane = _open_lane(config.upstream_lane, LaneSettings.of(config, environ))
    if credentials is not None:
        lane = WatchedLane(lane, credentials, next(iter(own_credentials(config)), ""))
    if len(keys) > 1:
        lane = CredentialPool(lane, keys)
    return RetryingUpstream(lane, config.upstream_retries)


def _open_lane(name: str, settings: LaneSettings) -> Upstream:
    if name == "sdk":
        from app.upstream.sdk import SdkUpstream

        return SdkUpstream(settings)
    from app.upstream.direct import DirectUpstream

    return DirectUpstream(settings)
