"""The room that knows callers by the tokens of somebody else: JWT bearers, their keys, and where those come from.

What the claims mean is decided in ``app/domain/claims.py``. Cryptography takes a tenth of a second to import, and is
imported only where tokens are configured.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from app.config import Config, SettingError

if TYPE_CHECKING:
    from app.identity.jwt import JwtVerifier

#: Gets the document at a URL; raises ``app.identity.jwks.FetchFailed``.
Fetch = Callable[[str], Awaitable[bytes]]


def check_jwt(config: Config) -> None:
    """Refuses what ``open_jwt`` would refuse: for the start of a process.

    Raises:
        SettingError: a setting makes no sense, or does nothing; names the variable.
    """
    if config.accepts_jwt:
        from app.identity.settings import JwtSettings

        JwtSettings.of(config)
        return
    usual = Config()
    for field in (name for name in Config.__struct_fields__ if name.startswith("jwt_")):
        if getattr(config, field) != getattr(usual, field):
            raise SettingError(
                f"CLAUDE_WRAPPER_{field.upper()}: does nothing without a key to check tokens with: set "
                "CLAUDE_WRAPPER_JWT_SECRET, CLAUDE_WRAPPER_JWT_PUBLIC_KEY or CLAUDE_WRAPPER_JWT_JWKS_URL."
            )


def open_jwt(
    config: Config,
    *,
    fetch: Fetch | None = None,
    now: Callable[[], float] = time.time,
    clock: Callable[[], float] = time.monotonic,
) -> JwtVerifier | None:
    """What checks JWT bearers; ``None`` where the settings accept none. Nothing is fetched before it is needed.

    Args:
        config: the gateway's settings.
        fetch: gets the JWKS instead of our HTTP client.
        now: the wall clock, which tokens go by.
        clock: monotonic seconds, for the age of the JWKS.

    Raises:
        SettingError: a setting makes no sense; names the variable.
    """
    if not config.accepts_jwt:
        return None
    from app.identity.jwks import Jwks
    from app.identity.jwt import JwtVerifier
    from app.identity.settings import JwtSettings

    settings = JwtSettings.of(config)
    jwks = Jwks(settings.jwks_url, fetch or _fetch_over_http(), clock=clock) if settings.jwks_url else None
    return JwtVerifier(settings, jwks, now=now)


def _fetch_over_http() -> Fetch:
    from app.identity.jwks_http import fetch_jwks

    return fetch_jwks
