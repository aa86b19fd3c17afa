"""What the claims of a verified JWT say of its bearer; pure.

The signature, issuer and audience are checked in ``app/identity``; the times here, because the clock is ours. A message
names a claim and never repeats what it says. Source: RFC 7519 section 4.1; DESIGN.md sections 3 and 7.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Mapping
from typing import Any, Final, Protocol

from msgspec import Struct

from app.domain.auth import DEFAULT_SCOPES, SCOPES, TENANT_NAME, Caller, Scope, tenant_tag
from app.domain.key_changes import limits_from_wire
from app.domain.limits import NO_LIMITS, Limits
from app.errors import InvalidRequest, Unauthenticated

#: The tenant of a token that names none.
DEFAULT_TENANT: Final = "jwt"

MAX_SUBJECT_CHARS: Final = 256

_SUBJECT_ID_CHARS: Final = 16

#: Three parts of base64url, the first of which is a JSON object: ``ey`` and ``ew`` are ``{`` before a quote or a space.
_TOKEN: Final = re.compile(rb"e[yw][A-Za-z0-9_=-]*\.[A-Za-z0-9_=-]*\.[A-Za-z0-9_=-]*")

Claims = Mapping[str, Any]


class ClaimNames(Struct, frozen=True, kw_only=True):
    """Which claims say what.

    Args:
        tenant: of the one that names the tenant.
        scope: of the one with the scopes.
        limits: of the one with the subject's limits.
    """

    tenant: str = "tenant"
    scope: str = "scope"
    limits: str = "limits"


class TokenVerifier(Protocol):
    """Tells the caller by a bearer token."""

    def known(self, token: bytes) -> Caller | None:
        """The bearer of a token that was verified lately; ``None`` says nothing about the token."""
        ...

    async def verify(self, token: bytes) -> Caller:
        """The bearer of a token.

        Raises:
            Unauthenticated: the token is not accepted; the message says why.
            IdentityUnavailable: the keys that would tell are away.
        """
        ...

    async def close(self) -> None:
        """Ends what runs in the background."""
        ...


def looks_like_token(presented: bytes) -> bool:
    """Whether a presented bearer has the shape of a signed JWT; an API key never has."""
    return _TOKEN.fullmatch(presented) is not None


def check_times(claims: Claims, *, now: float, leeway_s: float) -> float:
    """Refuses a token out of its time; returns the end of it.

    Args:
        claims: of the token; ``exp`` is required.
        now: Unix seconds.
        leeway_s: the issuer's clock may differ this much.

    Returns:
        ``exp``, in Unix seconds, without the leeway.

    Raises:
        Unauthenticated: it has expired, is not valid yet, or a time is no number.
    """
    expires_at = _time(claims, "exp")
    if expires_at is None:
        raise Unauthenticated("The token never expires: its issuer has to set the claim exp.")
    if expires_at <= now - leeway_s:
        raise Unauthenticated("The token has expired; get a new one from its issuer.")
    for name in ("nbf", "iat"):
        begins_at = _time(claims, name)
        if begins_at is not None and begins_at > now + leeway_s:
            raise Unauthenticated(f"The token is not yet valid ({name}); check the clocks of issuer and gateway.")
    return expires_at


def caller_of(claims: Claims, names: ClaimNames) -> Caller:
    """The caller that a token's claims describe.

    A token without the scope claim may do what an ordinary key may; one whose scope claim has none of our scopes may
    do nothing. Scopes of other services are ignored: one token may be for several.

    Raises:
        Unauthenticated: the subject, the tenant or a limit is none.
    """
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT_CHARS or not subject.isprintable():
        raise Unauthenticated(f"The token's claim sub has to be 1 to {MAX_SUBJECT_CHARS} printable characters.")
    tenant = claims.get(names.tenant, DEFAULT_TENANT)
    if not isinstance(tenant, str) or not TENANT_NAME.fullmatch(tenant):
        raise Unauthenticated(
            f"The token's claim {names.tenant} has to be 1 to 64 letters, digits or '._-', "
            "beginning with a letter or digit."
        )
    return Caller(
        source="jwt",
        tenant=tenant,
        tag=tenant_tag(tenant),
        key_id=subject_id(subject),
        subject=subject,
        scopes=_scopes(claims[names.scope]) if names.scope in claims else DEFAULT_SCOPES,
        limits=_limits(claims[names.limits], names.limits) if names.limits in claims else NO_LIMITS,
        authenticated=True,
    )


def subject_id(subject: str) -> str:
    """Whose limits and spend the tokens of a subject share: ``jwt-`` and 80 bits of its hash."""
    digest = base64.b32encode(hashlib.sha256(subject.encode()).digest()).decode().lower()
    return f"jwt-{digest[:_SUBJECT_ID_CHARS]}"


def _time(claims: Claims, name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _no_time(name)
    if isinstance(value, float) and not math.isfinite(value):  # Python's JSON knows NaN and Infinity
        raise _no_time(name)
    return value


def _no_time(name: str) -> Unauthenticated:
    return Unauthenticated(f"The token's claim {name} has to be a number of seconds.")


def _scopes(claim: object) -> tuple[Scope, ...]:
    """Scopes of ours in a claim: words (RFC 8693 section 4.2) or a list of them; of another kind, none."""
    words = claim.split() if isinstance(claim, str) else claim if isinstance(claim, list) else []
    return tuple(scope for scope in SCOPES if scope in words)


def _limits(claim: object, name: str) -> Limits:
    try:
        return limits_from_wire(claim, param=name)
    except InvalidRequest as exc:
        raise Unauthenticated(f"The token's claim {name} is not accepted. {exc.message}") from None
