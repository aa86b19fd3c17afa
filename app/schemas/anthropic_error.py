"""Anthropic's error bodies: of an HTTP reply with an error status, and of an ``error`` event inside a stream.

A body may be of any quality (a proxy's HTML, nothing, half a JSON document): whatever it is, the result is an
``UpstreamStatus`` whose message is short, is not markup and holds no credential. Reference:
spec/errors-and-headers.md, "Upstream shapes".
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import msgspec
from msgspec import Raw, Struct

from app.errors import UpstreamStatus

#: Longest message of Anthropic's that is passed on, in characters.
MAX_MESSAGE_CHARS = 2000

#: Longest error body that is looked at.
MAX_BODY_BYTES = 256 * 1024

#: The HTTP status that each type of error has; an error event has none of its own.
STATUS_OF_TYPE: Mapping[str, int] = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "conflict_error": 409,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}

_RETRYABLE_EVENTS = frozenset({429, 500, 504, 529})
_KEPT_HEADERS = frozenset({"retry-after", "retry-after-ms", "x-should-retry", "request-id"})
_RATE_LIMIT_PREFIX = "anthropic-ratelimit-"
_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_MARKUP = re.compile(r"<(!doctype|/?(html|head|body|title|center|script|div|span|h\d|p|hr|br)\b)", re.IGNORECASE)
_CREDENTIAL = re.compile(r"\b(sk|Bearer)([-_ ])[A-Za-z0-9._~+/=-]{8,}")


class _Details(Struct, frozen=True):
    error_code: str | None = None


class _Error(Struct, frozen=True):
    type: str = ""
    message: str = ""
    details: Raw = Raw(b"null")


class _Body(Struct, frozen=True):
    error: _Error
    request_id: str | None = None


_BODY = msgspec.json.Decoder(_Body)
_DETAILS: msgspec.json.Decoder[_Details | None] = msgspec.json.Decoder(_Details | None)


def upstream_status(status: int, headers: Mapping[str, str], body: bytes) -> UpstreamStatus:
    """The error that an HTTP reply with an error status means.

    Args:
        status: HTTP status, 400 or above.
        headers: reply headers, names in lower case.
        body: as much of the reply's body as was read.
    """
    parsed = _parsed(body)
    return UpstreamStatus(
        _message(parsed.error.message) or f"The upstream API answered with status {status} and no usable message.",
        status=status,
        error_type=parsed.error.type,
        error_code=_error_code(parsed.error),
        retry_after_s=_retry_after_s(headers),
        request_id=headers.get("request-id") or _request_id(parsed),
        headers={
            name: value
            for name, value in headers.items()
            if name in _KEPT_HEADERS or name.startswith(_RATE_LIMIT_PREFIX)
        },
    )


def event_error(data: bytes) -> UpstreamStatus:
    """The error that an ``error`` event inside a stream means, with the status its type has over plain HTTP.

    An event carries no headers: ``x-should-retry`` says what the plain reply of its type would have said.
    """
    parsed = _parsed(data)
    status = STATUS_OF_TYPE.get(parsed.error.type, 500)
    return UpstreamStatus(
        _message(parsed.error.message) or "The upstream API ended the stream with an error.",
        status=status,
        error_type=parsed.error.type,
        error_code=_error_code(parsed.error),
        request_id=_request_id(parsed),
        headers={"x-should-retry": "true"} if status in _RETRYABLE_EVENTS else {},
    )


def _parsed(body: bytes) -> _Body:
    if len(body) <= MAX_BODY_BYTES:
        try:
            return _BODY.decode(body)
        except (ValueError, RecursionError):
            pass
    return _Body(_Error())


def _error_code(error: _Error) -> str | None:
    try:
        details = _DETAILS.decode(error.details)
    except (ValueError, RecursionError):
        return None
    return details.error_code if details else None


def _request_id(body: _Body) -> str | None:
    """Anthropic's id, if it looks like one: it goes into a header."""
    return body.request_id if body.request_id and _REQUEST_ID.fullmatch(body.request_id) else None


def _message(text: str) -> str:
    text = " ".join(text.split())
    if _MARKUP.search(text):
        return ""
    text = _CREDENTIAL.sub(r"\1\2***", text)
    return text if len(text) <= MAX_MESSAGE_CHARS else text[: MAX_MESSAGE_CHARS - 1] + "…"


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) * unit_s
        except (KeyError, ValueError):
            continue
        if math.isfinite(seconds) and seconds >= 0:
            return seconds
    return None
