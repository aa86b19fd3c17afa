"""How a key is sent, which paths need none, and what can be known without one.

A key comes as ``Authorization: Bearer`` (OpenAI's clients) or ``x-api-key`` (Anthropic's). Who that makes the caller is
decided by ``app.gateway.gate``; a key is never shown, not in an error, not in ``GET /v1/auth/status``.
"""

from __future__ import annotations

from collections.abc import Mapping

from litestar import Controller, Request, get
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.types import Scope as AsgiScope
from msgspec import Struct

from app.api.operation import operation
from app.domain.auth import Caller, Scope
from app.errors import Unauthenticated
from app.gateway.admission import scope_missing
from app.gateway.gate import Gate, Presented
from app.gateway.services import Services

#: Open while protected: health, documents, the status of protection, and the dashboard's page, which asks for a key
#: itself. ``/metrics`` decides by its setting. Not among them are ``/health/detailed``, which shows settings and
#: workers, and ``/``.
OPEN_PATHS = frozenset(
    {
        "/health",
        "/health/live",
        "/health/ready",
        "/metrics",
        "/dashboard",
        "/docs",
        "/openapi.json",
        "/swagger.json",
        "/v1/auth/status",
    }
)

#: The files of the documentation page.
OPEN_PREFIX = "/docs/"

_NO_ADMIN = (
    "This route is for the operator: send the admin key (CLAUDE_WRAPPER_ADMIN_KEY), or a key with the scope 'admin'."
)


def is_open(path: str) -> bool:
    """Whether a path is served without a key. Routing ignores doubled and trailing slashes, and so does this."""
    if path in OPEN_PATHS:
        return True
    normalized = "/" + "/".join(part for part in path.split("/") if part)
    return normalized in OPEN_PATHS or normalized.startswith(OPEN_PREFIX)


async def identify(request: Request[None, None, State], gate: Gate) -> None:
    """Finds out who asks on a route that is open, and yet has something to hide.

    Raises:
        Unauthenticated: the key is missing or wrong.
    """
    asked = presented(request.scope, dict(request.scope["headers"]), gate)
    request.scope["state"]["caller"] = await gate.verified(await gate.caller(asked))


def presented(scope: AsgiScope, headers: Mapping[bytes, bytes], gate: Gate) -> Presented:
    """The keys of a request, and whom wrong ones are counted for.

    Args:
        scope: the request.
        headers: its headers, names in lower case.
        gate: knows the trusted proxies.
    """

    def group() -> str:
        client = scope.get("client")
        forwarded = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
        return gate.group(client[0] if client else None, forwarded)

    return Presented(presented_keys(headers), group)


def presented_keys(headers: Mapping[bytes, bytes]) -> list[bytes]:
    """The keys of a request, from both headers."""
    keys = []
    scheme, _, token = headers.get(b"authorization", b"").strip().partition(b" ")
    if scheme.lower() == b"bearer" and (token := token.strip()):
        keys.append(token)
    if key := headers.get(b"x-api-key", b"").strip():
        keys.append(key)
    return keys


def require_scope(request: Request, scope: Scope) -> Caller:  # type: ignore[type-arg]
    """The caller of a request, if it may do what the scope stands for.

    Raises:
        Unauthenticated: nobody in particular calls.
        PermissionDenied: the key does not have the scope.
    """
    caller: Caller = request.scope["state"]["caller"]
    if not caller.authenticated and scope == "admin":
        raise Unauthenticated(_NO_ADMIN)
    if scope not in caller.scopes:
        raise scope_missing(scope)
    return caller


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
            errors=(429,),
            protected=False,
        ),
    )
    async def status(self, request: Request[None, None, State], services: NamedDependency[Services]) -> AuthStatus:
        """Whether a key is needed, and whether this request brought the right one."""
        gate = services.gate
        asked = presented(request.scope, dict(request.scope["headers"]), gate)
        try:
            caller = await gate.verified(await gate.caller(asked))
        except Unauthenticated:
            accepted = False
            if asked.keys:
                gate.wrong(asked)  # no way to guess without being counted
        else:
            accepted = caller.authenticated or not gate.protected
        return AuthStatus(
            protected=gate.protected,
            authenticated=accepted,
            methods=["authorization: bearer", "x-api-key"] if gate.protected else [],
        )
