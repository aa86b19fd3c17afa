"""Browsers of other origins (CORS): off unless origins are configured; then on every reply, errors and 401 included.

Which origin is allowed is decided by Litestar's ``CORSConfig``; the headers are added outside of Litestar, because a
reply that the middleware makes itself has to be readable by a browser too. Cookies play no part: keys travel in
headers. Source: the Fetch standard, section "CORS protocol".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from litestar.config.cors import CORSConfig

Headers = list[tuple[bytes, bytes]]

METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"

#: A browser may keep the answer to a preflight this long.
MAX_AGE_S = 600

#: Reply headers that scripts may read.
EXPOSED = (
    "x-request-id",
    "request-id",
    "retry-after",
    "retry-after-ms",
    "x-should-retry",
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-tokens",
    "x-claude-wrapper-ignored-params",
    "x-claude-wrapper-adjusted-params",
    "x-claude-wrapper-degraded",
    "x-claude-wrapper-cache",
    "age",
    "idempotent-replayed",
    "x-claude-wrapper-session",
    "x-claude-wrapper-session-messages",
    "x-claude-wrapper-session-dropped",
    "x-claude-wrapper-session-evicted",
    "x-claude-wrapper-session-forked-from",
    "x-claude-wrapper-thinking",
)


class Cors:
    """The CORS headers of a gateway.

    Args:
        origins: allowed origins such as ``https://chat.example.com``, patterns with ``*``, or ``*`` alone.
    """

    def __init__(self, origins: Sequence[str]) -> None:
        self._config = CORSConfig(allow_origins=list(origins))
        self._exposed = (b"access-control-expose-headers", ", ".join(EXPOSED).encode())

    def is_preflight(self, method: str, headers: Mapping[bytes, bytes]) -> bool:
        """Whether a browser asks for permission before the real request."""
        return method == "OPTIONS" and b"origin" in headers and b"access-control-request-method" in headers

    def preflight(self, headers: Mapping[bytes, bytes]) -> Headers:
        """Headers of the answer to a preflight; without permission the browser finds none and gives up."""
        permission = self._permission(headers[b"origin"])
        if permission is None:
            return [(b"vary", b"Origin")]
        return [
            *permission,
            (b"access-control-allow-methods", METHODS),
            # The client libraries send headers of their own (x-stainless-*): what is asked for is allowed.
            (b"access-control-allow-headers", headers.get(b"access-control-request-headers", b"*")),
            (b"access-control-max-age", str(MAX_AGE_S).encode()),
        ]

    def reply(self, headers: Mapping[bytes, bytes]) -> Headers:
        """Headers of any other reply."""
        origin = headers.get(b"origin")
        permission = self._permission(origin) if origin is not None else None
        if permission is None:
            return [] if self._config.is_allow_all_origins else [(b"vary", b"Origin")]
        return [*permission, self._exposed]

    def _permission(self, origin: bytes) -> Headers | None:
        if self._config.is_allow_all_origins:
            return [(b"access-control-allow-origin", b"*")]
        if self._config.is_origin_allowed(origin.decode("latin-1")):
            return [(b"access-control-allow-origin", origin), (b"vary", b"Origin")]
        return None
