"""What each error of the tree means to a client: status, OpenAI's type and code, the field at fault, whether to retry.

One row of the tables of spec/errors-and-headers.md per ``case``. ``retry-after`` goes with every 429 and 503 except a
quota that is spent for good, or by Anthropic's word; ``x-should-retry`` where OpenAI's SDK would decide wrongly by the
status alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from msgspec import Struct

from app.errors import (
    BadUpstreamReply,
    BodyTooLarge,
    ClientDisconnected,
    Conflict,
    GatewayError,
    IdempotencyKeyReused,
    IdentityUnavailable,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    Overloaded,
    PermissionDenied,
    RateLimited,
    RequestTimeout,
    SessionDamaged,
    ShuttingDown,
    StateError,
    Unauthenticated,
    UpstreamError,
    UpstreamStatus,
    UpstreamTimeout,
    UpstreamUnreachable,
)

#: ``retry-after`` of a 429 or 503 whose cause gave none, in seconds.
DEFAULT_RETRY_AFTER_S = 1

#: Longest ``retry-after`` that is passed on, in seconds.
MAX_RETRY_AFTER_S = 86_400

_INVALID = "invalid_request_error"
_SERVER = "server_error"
_QUOTA = "insufficient_quota"
_NO_RETRY: Mapping[str, str] = {"x-should-retry": "false"}
#: Conflicts that the same request again would not solve, or solve wrongly: as a session without its history.
_CONFLICTS_THAT_STAY = frozenset({"conversation_changed", "session_exists"})

_PATH = re.compile(r"([a-z_][a-z0-9_]*(?:\.[A-Za-z0-9_]+)*): ")
_TOO_LONG = re.compile(r"prompt is too long\b|input length and `max_tokens` exceed context limit")
_EXTRA_INPUT = re.compile(r"\S+: Extra inputs are not permitted")
_SPENT = re.compile(
    r"spend(ing)? limit|reached your specified API usage limits|credit balance is too low", re.IGNORECASE
)


class Meaning(Struct, frozen=True, kw_only=True):
    """An error in OpenAI's terms; header names in lower case."""

    status: int
    type: str
    message: str
    code: str | None = None
    param: str | None = None
    headers: Mapping[str, str] = {}


def meaning_of(error: GatewayError, *, request_id: str = "", client_credential: bool = False) -> Meaning:
    """What ``error`` means; see ``error_bodies.openai_error`` for the arguments."""
    if isinstance(error, UpstreamStatus):
        meaning = _upstream_meaning(error, client_credential=client_credential)
        headers = _upstream_headers(error, meaning)
    else:
        meaning = _own_meaning(error, request_id)
        headers = dict(meaning.headers)
        if isinstance(error, UpstreamError) and error.request_id:
            headers["request-id"] = error.request_id
        if meaning.status == 503 or (meaning.status == 409 and error.retry_after_s is not None):
            headers["retry-after"] = str(_whole_seconds(error.retry_after_s))
    return Meaning(
        status=meaning.status,
        type=meaning.type,
        message=meaning.message,
        code=meaning.code,
        param=meaning.param,
        headers=headers,
    )


def _own_meaning(error: GatewayError, request_id: str) -> Meaning:
    status, kind, headers = _own_row(error)
    if status == 500:
        # NOTE: whatever the error says is for the log; the caller gets the id to quote.
        quote = f" Please quote the request id {request_id}." if request_id else ""
        return Meaning(
            status=500, type=_SERVER, message=f"Internal error of the gateway.{quote}", code="internal_error"
        )
    return Meaning(status=status, type=kind, message=error.message, code=error.code, param=error.param, headers=headers)


def _own_row(error: GatewayError) -> tuple[int, str, Mapping[str, str]]:
    match error:
        case InvalidRequest():
            return 400, _INVALID, {}
        case Unauthenticated():
            return 401, _INVALID, {"www-authenticate": "Bearer"}
        case PermissionDenied():
            return 403, "permission_error", {}
        case NotFound():
            return 404, _INVALID, {}
        case Conflict():
            return 409, _INVALID, _NO_RETRY if error.code in _CONFLICTS_THAT_STAY else {}
        case IdempotencyKeyReused():
            return 422, _INVALID, {}
        case MethodNotAllowed():
            return 405, _INVALID, {}
        case RequestTimeout():
            return 408, _INVALID, {}
        case BodyTooLarge():
            return 413, _INVALID, {}
        case RateLimited():
            return 429, _QUOTA if error.spent else "rate_limit_error", _limit_headers(error)
        case ClientDisconnected():
            return 499, _INVALID, {}
        case SessionDamaged():
            return 503, _SERVER, _NO_RETRY
        case Overloaded() | ShuttingDown() | StateError() | IdentityUnavailable():
            return 503, _SERVER, {}
        case UpstreamUnreachable():
            return 502, _SERVER, {}
        case UpstreamTimeout():
            return 504, _SERVER, {}
        case BadUpstreamReply():
            return 502, _SERVER, _NO_RETRY
        case _:
            return 500, _SERVER, {}


def _limit_headers(error: RateLimited) -> dict[str, str]:
    """The numbers of a limit of ours; a spent budget is not worth a retry of a client that waits."""
    wait_s = MAX_RETRY_AFTER_S if error.retry_after_s is None else error.retry_after_s
    headers = {
        **error.headers,
        "retry-after": str(math.ceil(wait_s)),
        "retry-after-ms": str(math.ceil(1000 * wait_s)),
    }
    if error.spent:
        headers["x-should-retry"] = "false"
    return headers


def _upstream_meaning(error: UpstreamStatus, *, client_credential: bool) -> Meaning:
    message, status = error.message, error.status
    if _is_quota(error):
        return Meaning(status=429, type=_QUOTA, message=message, code=_QUOTA, headers=_NO_RETRY)
    match status:
        case 400:
            return _bad_request(message)
        case 401 if client_credential:
            return Meaning(status=401, type=_INVALID, message=message, code="invalid_api_key")
        case 401:
            return Meaning(
                status=502,
                type=_SERVER,
                message="The gateway could not authenticate to the upstream API.",
                code="upstream_authentication_error",
                headers=_NO_RETRY,
            )
        case 403:
            return Meaning(status=403, type="permission_error", message=message, code="permission_denied")
        case 404:
            return Meaning(status=404, type=_INVALID, message=message, code="model_not_found", param="model")
        case 408 | 504:
            return Meaning(status=504, type=_SERVER, message=message, code="timeout")
        case 409:
            return Meaning(status=409, type=_INVALID, message=message, code="conflict")
        case 413:
            return Meaning(status=413, type=_INVALID, message=message, code="request_too_large")
        case 429:
            wait = _whole_seconds(error.retry_after_s)
            message = f"{message} Please try again in {wait}s."
            return Meaning(status=429, type="rate_limit_error", message=message, code="rate_limit_exceeded")
        case 501:
            return Meaning(status=501, type=_SERVER, message=message, headers=_NO_RETRY)
        case 503:
            return Meaning(status=503, type=_SERVER, message=message)
        case 529:
            return Meaning(status=503, type=_SERVER, message=message, code="overloaded")
        case _ if 400 <= status < 500:
            return Meaning(status=status, type=_INVALID, message=message)
        case _:
            return Meaning(status=500, type=_SERVER, message=message)


def _bad_request(message: str) -> Meaning:
    if _TOO_LONG.match(message):
        return Meaning(status=400, type=_INVALID, message=message, code="context_length_exceeded", param="messages")
    code = "unsupported_parameter" if _EXTRA_INPUT.match(message) else None
    return Meaning(status=400, type=_INVALID, message=message, code=code, param=_param(message))


def _param(message: str) -> str | None:
    """``messages[1].content[0]`` from ``messages.1.content.0: ...``."""
    found = _PATH.match(message)
    return re.sub(r"\.(\d+)(?=\.|$)", r"[\1]", found[1]) if found else None


def _is_quota(error: UpstreamStatus) -> bool:
    """Whether money is what is missing: no retry will help until a human acts.

    A 429 that names no time to come back is one as well, unless Anthropic says that a retry is worth it.
    """
    if error.status == 402 or error.error_type == "billing_error":
        return True
    if error.status not in (400, 429):
        return False
    if "spend_limit" in (error.error_code or ""):
        return True
    if error.status == 400:
        return _SPENT.search(error.message) is not None
    return error.retry_after_s is None and error.headers.get("x-should-retry") != "true"


def _upstream_headers(error: UpstreamStatus, meaning: Meaning) -> dict[str, str]:
    headers: dict[str, str] = {}
    if error.request_id:
        headers["request-id"] = error.request_id
    if (should_retry := error.headers.get("x-should-retry")) in ("true", "false"):
        headers["x-should-retry"] = should_retry
    headers |= meaning.headers
    if meaning.type == _QUOTA:
        return headers
    if error.retry_after_s is not None or meaning.status in (429, 503):
        headers["retry-after"] = str(_whole_seconds(error.retry_after_s))
    if (exact := error.headers.get("retry-after-ms", "")).isdecimal():
        headers["retry-after-ms"] = exact
    return headers


def _whole_seconds(seconds: float | None) -> int:
    return DEFAULT_RETRY_AFTER_S if seconds is None else min(math.ceil(seconds), MAX_RETRY_AFTER_S)
