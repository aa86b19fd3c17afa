"""The settings of JWT bearers as they are used: keys read, algorithms settled, everything else refused.

Filled once from ``app.config.Config``. A public key's file is read here; nothing is fetched.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct

from app.config import Config, SettingError
from app.domain.claims import ClaimNames
from app.identity.signing_keys import Algorithm, KeyRefused, SigningKey, pem_key, secret_key

_SECRET = "CLAUDE_WRAPPER_JWT_SECRET"  # noqa: S105 - the name of a variable
_PUBLIC_KEY = "CLAUDE_WRAPPER_JWT_PUBLIC_KEY"
_JWKS_URL = "CLAUDE_WRAPPER_JWT_JWKS_URL"
_ALGORITHMS = "CLAUDE_WRAPPER_JWT_ALGORITHMS"

#: A public key's file is a few hundred bytes; more than this is not read.
_MAX_PEM_BYTES = 65_536


class JwtSettings(Struct, frozen=True, kw_only=True):
    """How JWT bearers are checked.

    Args:
        algorithms: the accepted ones.
        keys: by algorithm, those that are configured themselves; others come from the JWKS.
        jwks_url: http or https; empty for none.
        issuer: required ``iss``; ``None`` for any.
        audience: required ``aud``; ``None`` when tokens must have none.
        leeway_s: the issuer's clock may differ this much.
        claims: which claims say what.
    """

    algorithms: frozenset[Algorithm]
    keys: Mapping[Algorithm, SigningKey]
    jwks_url: str
    issuer: str | None
    audience: str | None
    leeway_s: float
    claims: ClaimNames

    @classmethod
    def of(cls, config: Config) -> JwtSettings:
        """The part of the gateway's settings that concerns JWT bearers.

        Raises:
            SettingError: a setting makes no sense; names the variable.
        """
        if config.jwt_public_key and config.jwt_jwks_url:
            raise SettingError(f"{_PUBLIC_KEY}, {_JWKS_URL}: set one of them; a JWKS may hold several keys.")
        sources: dict[Algorithm, str] = {}
        keys: dict[Algorithm, SigningKey] = {}
        if config.jwt_secret:
            key = _secret(config.jwt_secret)
            keys[key.algorithm], sources[key.algorithm] = key, _SECRET
        if config.jwt_public_key:
            key = _public_key(config.jwt_public_key)
            keys[key.algorithm], sources[key.algorithm] = key, _PUBLIC_KEY
        if config.jwt_jwks_url:
            _check_url(config.jwt_jwks_url)
            sources |= {"RS256": _JWKS_URL, "ES256": _JWKS_URL}
        return cls(
            algorithms=_accepted(config.jwt_algorithms, sources),
            keys=keys,
            jwks_url=config.jwt_jwks_url,
            issuer=config.jwt_issuer or None,
            audience=config.jwt_audience or None,
            leeway_s=config.jwt_leeway_s,
            claims=ClaimNames(
                tenant=config.jwt_tenant_claim, scope=config.jwt_scope_claim, limits=config.jwt_limits_claim
            ),
        )


def _secret(secret: str) -> SigningKey:
    try:
        return secret_key(secret)
    except KeyRefused as exc:
        raise SettingError(f"{_SECRET}: {exc}.") from None


def _public_key(path: str) -> SigningKey:
    try:
        with Path(path).open("rb") as file:
            return pem_key(file.read(_MAX_PEM_BYTES))
    except OSError as exc:
        raise SettingError(f"{_PUBLIC_KEY}: {path!r} cannot be read: {exc.strerror or type(exc).__name__}.") from None
    except KeyRefused as exc:
        raise SettingError(f"{_PUBLIC_KEY}: {path!r} {exc}.") from None


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise SettingError(f"{_JWKS_URL}: is not a URL.") from None
    if parts.scheme not in ("http", "https") or not host:
        raise SettingError(f"{_JWKS_URL}: takes a URL such as https://issuer.example/.well-known/jwks.json.")
    if parts.username is not None or parts.password is not None:
        raise SettingError(f"{_JWKS_URL}: takes a URL without user and password.")
    if parts.scheme == "http" and not is_loopback(host):
        raise SettingError(f"{_JWKS_URL}: has to be https, unless the host is this machine: keys decide who comes in.")


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _accepted(given: tuple[Algorithm, ...], sources: Mapping[Algorithm, str]) -> frozenset[Algorithm]:
    """The accepted algorithms: those that the keys can have, or those of them that are asked for.

    Args:
        given: ``jwt_algorithms``.
        sources: by algorithm, the variable that names its key.
    """
    if not given:
        return frozenset(sources)
    for algorithm in given:
        if algorithm not in sources:
            needed = _SECRET if algorithm == "HS256" else f"{_PUBLIC_KEY} (of that kind) or {_JWKS_URL}"
            raise SettingError(f"{_ALGORITHMS}: no configured key is for {algorithm}; it needs {needed}.")
    for variable in dict.fromkeys(sources.values()):
        kinds = [algorithm for algorithm, source in sources.items() if source == variable]
        if not set(kinds) & set(given):
            raise SettingError(
                f"{variable}: is for {' or '.join(kinds)}, which {_ALGORITHMS} does not accept: add it there, or unset "
                "the key."
            )
    return frozenset(given)
