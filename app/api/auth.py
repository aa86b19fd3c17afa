"""The gateway's own key: one static key for all of it (``--api-key``), asked for once, before any route.

A key comes as ``Authorization: Bearer`` (OpenAI's clients) or ``x-api-key`` (Anthropic's). It is compared by digest in
constant time, and never shown: not in an error, not in ``GET /v1/auth/status``.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from hashlib import sha256

from litestar import Controller, Request, get
from litestar.datastructures import State
from litestar.di import NamedDependency
from msgspec import Struct

from app.api.operation import operation
from app.domain.auth import ANONYMOUS, Caller
from app.errors import Unauthenticated
from app.gateway.services import Services

#: Open while protected: health, documents and the status of protection. Not among them are ``/health/detailed``, which
#: shows settings and workers, and ``/``.
OPEN_PATHS = frozenset(
    {"/health", "/health/live", "/health/ready", "/docs", "/openapi.json", "/swagger.json", "/v1/auth/status"}
)

#: The files of the documentation page.
OPEN_PREFIX = "/docs/"

_AUTHENTICATED = Caller(authenticated=True)

_MISSING = (
    "You didn't provide an API key. This gateway is protected: send its key in an Authorization header using Bearer "
    "auth (Authorization: Bearer YOUR_KEY) or in an x-api-key header. It is the key that the gateway was started with."
)
_WRONG = (
    "Incorrect API key provided. Send the API key that this gateway was started with, not one of Anthropic or OpenAI."
)


def digest(key: str | bytes) -> bytes | None:
    """What a key is compared by; ``None`` for no key.

    Args:
        key: the configured key; empty means unprotected.
    """
    raw = key.encode() if isinstance(key, str) else key
    return sha256(raw).digest() if raw else None


def is_open(path: str) -> bool:
    """Whether a path is served without a key. Routing ignores doubled and trailing slashes, and so does this."""
    if path in OPEN_PATHS:
        return True
    normalized = "/" + "/".join(part for part in path.split("/") if part)
    return normalized in OPEN_PATHS or normalized.startswith(OPEN_PREFIX)


def authenticate(headers: Mapping[bytes, bytes], key_digest: bytes | None) -> Caller:
    """Who calls.

    Args:
        headers: request headers, names in lower case.
        key_digest: ``digest`` of the gateway's key; ``None`` when it is unprotected.

    Raises:
        Unauthenticated: the key is missing or wrong.
    """
    if key_digest is None:
        return ANONYMOUS
    presented = presented_keys(headers)
    if not presented:
        raise Unauthenticated(_MISSING)
    # Both headers count: a client may send its provider's key in one and ours in the other.
    if any(hmac.compare_digest(sha256(key).digest(), key_digest) for key in presented):
        return _AUTHENTICATED
    raise Unauthenticated(_WRONG)


def presented_keys(headers: Mapping[bytes, bytes]) -> list[bytes]:
    """The keys of a request, from both headers."""
    keys = []
    scheme, _, token = headers.get(b"authorization", b"").strip().partition(b" ")
    if scheme.lower() == b"bearer" and (token := token.strip()):
        keys.append(token)
    if key := headers.get(b"x-api-key", b"").strip():
        keys.append(key)
    return keys


class AuthStatus(Struct, frozen=True, kw_only=True):
    """Whether this gateway asks for a key, and whether this request brought the right one.

    Args:
        protected: requests need a key.
        authenticated: this request would be let in.
        methods: how a key may be sent; empty when none is needed.
    """

    protected: bool
    authenticated: bool
    methods: list[str]


class AuthController(Controller):
    """``/v1/auth``: what can be known without a key."""

    path = "/v1/auth"

    @get(
        "/status",
        operation_class=operation(
            "getAuthStatus",
            tag="auth",
            summary="Whether this gateway asks for a key",
            description="Whether a key is needed and whether this request's key is accepted; nothing about the key.",
            replies={200: ("The status.", AuthStatus)},
            protected=False,
        ),
    )
    async def status(self, request: Request[None, None, State], services: NamedDependency[Services]) -> AuthStatus:
        """Whether a key is needed, and whether this request brought the right one."""
        key_digest = digest(services.config.api_key)
        try:
            authenticate(dict(request.scope["headers"]), key_digest)
        except Unauthenticated:
            accepted = False
        else:
            accepted = True
        return AuthStatus(
            protected=key_digest is not None,
            authenticated=accepted,
            methods=["authorization: bearer", "x-api-key"] if key_digest is not None else [],
        )
