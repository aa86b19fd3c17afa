"""Every error the gateway raises on purpose, as one tree; facts only, no status codes and no bodies.

    GatewayError
    |-- RequestError                 the client's request cannot be served as it is
    |   |-- InvalidRequest           a field is wrong; ``param`` names it
    |   |-- BodyTooLarge             the body is over the configured limit
    |   |-- RequestTimeout           the client did not finish sending its body in time
    |   |-- Unauthenticated          the key is missing, wrong, expired or revoked
    |   |-- PermissionDenied         the key is good, and may not do this
    |   |-- RateLimited              a rate limit, the concurrency or a budget of the caller is used up
    |   |-- NotFound                 no such route, model or object
    |   |-- Conflict                 somebody else changed the object at the same time
    |   |-- IdempotencyKeyReused     the key of an earlier request came with another body
    |   `-- MethodNotAllowed         the route exists, the method does not
    |-- CapacityError                the gateway cannot take the request now
    |   |-- Overloaded               this worker is at its bound of requests or upstream connections
    |   `-- ShuttingDown             this worker is draining or stopping
    |-- StateError                   Redis
    |   |-- SessionDamaged           what is kept of a session cannot be read
    |   `-- StateUnavailable         the state store did not answer, and the request needs it
    |-- IdentityUnavailable          the keys of the issuer of tokens cannot be had
    |-- UpstreamError                Anthropic's side
    |   |-- UpstreamStatus           it answered with an error status or an error event
    |   |-- UpstreamUnreachable      no connection, or it broke
    |   |-- UpstreamTimeout          no connection, no first byte or no further byte in time
    |   `-- BadUpstreamReply         it answered something that is not its protocol
    |-- InternalError                a bug of ours, reported without a trace
    `-- ClientDisconnected           nobody is left to answer

Rooms raise these; foreign errors are turned into them at the border of a room. The body for each dialect is made in
``translate/error_bodies.py``, the reply in ``api/errors.py``. A message says what was wrong and what would fix it, and
never carries a key or a prompt. Imports nothing of ours (STYLE.md section 7).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal


class GatewayError(Exception):
    """Base of the tree.

    Args:
        message: one sentence for the caller: what was wrong, what would fix it.
        param: the request path at fault, such as ``messages[0].content``.
        code: a stable machine-readable cause, such as ``invalid_value``.
        retry_after_s: seconds after which a retry may succeed.
    """

    default_code: str | None = None

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code if code is not None else self.default_code
        self.retry_after_s = retry_after_s


class RequestError(GatewayError):
    """The client's request cannot be served as it is."""


class InvalidRequest(RequestError):
    """A field of the request is wrong."""


class BodyTooLarge(RequestError):
    """The body is over ``CLAUDE_WRAPPER_MAX_BODY_BYTES``."""

    default_code = "request_too_large"


class RequestTimeout(RequestError):
    """The client did not finish sending its body in time."""

    default_code = "request_timeout"


class Unauthenticated(RequestError):
    """The API key is missing, wrong, expired or revoked.

    Args:
        message: what is wrong with it.
        guessed: the key is nobody's: it may be one of many that somebody tries.
    """

    default_code = "invalid_api_key"

    def __init__(self, message: str, *, guessed: bool = True) -> None:
        super().__init__(message)
        self.guessed = guessed


class PermissionDenied(RequestError):
    """The key is good, and may not do this: a scope or a model that it does not have."""

    default_code = "permission_denied"


class RateLimited(RequestError):
    """A limit of the caller is used up; nothing was taken.

    Args:
        message: names the limit and its number.
        limit: which one, such as ``requests_per_minute`` or ``budget_day``.
        spent: money is what is missing, and a retry within minutes will not help.
        retry_after_s: when it frees up; ``None`` for a budget that never does.
        headers: the numbers, as ``x-ratelimit-*``.
    """

    default_code = "rate_limit_exceeded"

    def __init__(
        self,
        message: str,
        *,
        limit: str,
        spent: bool = False,
        retry_after_s: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, code="insufficient_quota" if spent else None, retry_after_s=retry_after_s)
        self.limit = limit
        self.spent = spent
        self.headers: Mapping[str, str] = headers or {}


class NotFound(RequestError):
    """No such route, model or object."""

    default_code = "unknown_url"


class Conflict(RequestError):
    """Somebody else changed the object at the same time."""

    default_code = "conflict"


class IdempotencyKeyReused(RequestError):
    """An ``Idempotency-Key`` came again with a request that is not the one it was first sent with."""

    default_code = "idempotency_key_reused"


class MethodNotAllowed(RequestError):
    """The route exists, this method of it does not."""

    default_code = "method_not_allowed"


class CapacityError(GatewayError):
    """The gateway cannot take the request now."""


class Overloaded(CapacityError):
    """This worker is at its bound of concurrent requests or upstream connections."""

    default_code = "overloaded"


class ShuttingDown(CapacityError):
    """This worker is draining or stopping."""

    default_code = "server_shutting_down"


class StateError(GatewayError):
    """The state store: it refused a command, or what it keeps cannot be read."""

    default_code = "state_unavailable"


class SessionDamaged(StateError):
    """What is kept of a session cannot be read; the store is well, and asking again is of no use."""

    default_code = "session_damaged"


class StateUnavailable(StateError):
    """Redis did not answer in time, or the breaker is open."""


class IdentityUnavailable(GatewayError):
    """The keys of the issuer of tokens cannot be fetched, and the one that is needed is not known."""

    default_code = "identity_unavailable"


class UpstreamError(GatewayError):
    """Anthropic's side failed.

    ``request_id`` is Anthropic's own id of the call, when it gave one; ``attempts`` counts the calls that were made.
    """

    request_id: str | None = None
    attempts: int = 1


class UpstreamStatus(UpstreamError):
    """Anthropic answered with an error status, or with an error event inside a stream.

    Args:
        status: HTTP status; for an error event the one that its ``error_type`` has over plain HTTP.
        error_type: ``error.type`` of Anthropic's body, such as ``overloaded_error``; empty when it had none.
        error_code: ``error.details.error_code``, the stable cause.
        headers: lower-case reply headers that may be passed on (``retry-after``, ``x-should-retry``, ...).
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        error_type: str = "",
        error_code: str | None = None,
        retry_after_s: float | None = None,
        request_id: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.status = status
        self.error_type = error_type
        self.error_code = error_code
        self.request_id = request_id
        self.headers: Mapping[str, str] = headers or {}


class UpstreamUnreachable(UpstreamError):
    """No connection to Anthropic, or it broke.

    Args:
        sent: the request may have been taken up.
        kept: it broke before the reply, and had served an earlier call: most likely it was dead already.
    """

    default_code = "upstream_unreachable"

    def __init__(self, message: str, *, sent: bool = False, kept: bool = False) -> None:
        super().__init__(message)
        self.sent = sent
        self.kept = kept


class UpstreamTimeout(UpstreamError):
    """Anthropic was silent for too long in the named phase of the call."""

    default_code = "timeout"

    def __init__(self, message: str, *, phase: Literal["connect", "first_byte", "idle"]) -> None:
        super().__init__(message)
        self.phase = phase


class BadUpstreamReply(UpstreamError):
    """Anthropic's reply is not the Messages protocol."""

    default_code = "bad_upstream_response"


class InternalError(GatewayError):
    """A bug of ours. The caller gets the request id to quote, the log gets the trace."""

    default_code = "internal_error"


class ClientDisconnected(GatewayError):
    """The client closed its connection; whatever still runs for it is cancelled."""
