"""Who may call: keys of the keys file, and the keys that tokens (JWT) are checked with."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from app.cli.checks.finding import Finding, in_ms
from app.config import Config, SettingError

if TYPE_CHECKING:
    from app.identity.settings import JwtSettings


def check_key_file(config: Config, *, now: float) -> Finding:
    """What the keys file holds.

    Args:
        config: the settings.
        now: Unix seconds; keys may have expired.
    """
    from app.gateway.key_file import load_key_file

    if not config.keys_file:
        return Finding.skip("keys file", "none is configured")
    try:
        content = load_key_file(config.keys_file)
    except SettingError as exc:
        return Finding.fail(
            "keys file", str(exc), "Correct the file; a running gateway goes on with what it read last."
        )
    expired = sum(key.expires_at is not None and key.expires_at <= now for key in content.keys.values())
    keys = f"{_several(len(content.keys), 'key')}{f' ({expired} expired)' if expired else ''}"
    return Finding.ok("keys file", f"{keys}, limits of {_several(len(content.tenants), 'tenant')}")


def check_tokens(config: Config) -> Finding:
    """Whether there are keys to check tokens with; those of a JWKS are fetched."""
    if not config.accepts_jwt:
        return Finding.skip("tokens", "JWTs are not accepted: no secret, public key or JWKS is configured")
    from app.identity.settings import JwtSettings

    try:
        settings = JwtSettings.of(config)
    except SettingError as exc:
        return Finding.fail("tokens", str(exc), "Correct the variable.")
    own = [f"a key for {algorithm}" for algorithm in settings.keys]
    if not settings.jwks_url:
        return Finding.ok("tokens", ", ".join(own))
    return _check_jwks(settings, own)


def _check_jwks(settings: JwtSettings, own: list[str]) -> Finding:
    from app.identity.jwks import FetchFailed
    from app.identity.jwks_http import fetch_jwks
    from app.identity.signing_keys import KeyRefused, jwks_keys

    place = f"the JWKS at {urlsplit(settings.jwks_url).netloc}"
    started = time.perf_counter()
    try:
        keys = jwks_keys(asyncio.run(fetch_jwks(settings.jwks_url)))
    except (FetchFailed, KeyRefused) as exc:
        advice = "Check CLAUDE_WRAPPER_JWT_JWKS_URL, the network and the proxy settings; tokens cannot be checked."
        return Finding.fail("tokens", f"{place} {exc}", advice)
    took = in_ms(time.perf_counter() - started)
    usable = [key for key in keys if key.algorithm in settings.algorithms]
    if not usable:
        advice = f"It needs keys for {' or '.join(sorted(settings.algorithms))}: check the URL with the issuer."
        return Finding.fail("tokens", f"{place} holds no key that tokens could be checked with", advice)
    return Finding.ok("tokens", ", ".join([*own, f"{_several(len(usable), 'usable key')} in {place}, in {took}"]))


def _several(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
