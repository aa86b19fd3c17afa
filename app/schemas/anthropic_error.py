"""Anthropic's error bodies: of an HTTP reply with an error status, and of an ``error`` event inside a stream.

A body may be of any quality (a proxy's HTML, nothing, half a JSON document): whatever it is, what comes out is short,
is not markup and holds no credential. What the headers of an error reply say is read in ``app/upstream/errors.py``.
Reference: spec/errors-and-headers.md, "Upstream shapes".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from app.errors import UpstreamStatus

#: Longest message of Anthropic's that is passed on, in characters.
MAX_MESSAGE_CHARS = 2000

#: Longest error body that is looked at; Anthropic's own are a few hundred bytes.
MAX_BODY_BYTES = 64 * 1024

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
_MARKUP = re.compile(
    r"<\s*/?\s*(?:!doctype|html|head|body|title|center|script|div|span|h[1-6]|p|br|hr)\b", re.IGNORECASE
)
_CREDENTIAL = re.compile(r"\bsk[-_][A-Za-z0-9_-]{6,}|(?<=bearer )[A-Za-z0-9._~+/=-]+", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")
_WORD = re.compile(r"[A-Za-z0-9_.:-]{1,128}")

_decode = msgspec.json.Decoder().decode


class AnthropicError(Struct, frozen=True, kw_only=True):
    """What an error body says, fit for a client to read.

    Args:
        message: Anthropic's words; empty when there are none that may be shown.
        type: such as ``overloaded_error``; empty when it has none.
        code: ``details.error_code``, the stable cause.
        request_id: Anthropic's id of the call; of a shape that may go into a header.
    """

    message: str = ""
    type: str = ""
    code: str | None = None
    request_id: str | None = None


def read_error(body: bytes) -> AnthropicError:
    """Reads ``{"type":"error","error":{...},"request_id"}``, or as much of it as there is.

    Args:
        body: of the reply, or the data of the event.
    """
    told = _json_object(body)
    error = _object(told.get("error"))
    return AnthropicError(
        message=_readable(error.get("message")),
        type=word(error.get("type")) or "",
        code=word(_object(error.get("details")).get("error_code")),
        request_id=word(told.get("request_id")),
    )


def event_error(data: bytes) -> UpstreamStatus:
    """The error that an ``error`` event inside a stream means, with the status its type has over plain HTTP.

    An event carries no headers: ``x-should-retry`` says what the plain reply of its type would have said.
    """
    error = read_error(data)
    status = STATUS_OF_TYPE.get(error.type, 500)
    return UpstreamStatus(
        error.message or "The upstream API ended the stream with an error.",
        status=status,
        error_type=error.type,
        error_code=error.code,
        request_id=error.request_id,
        headers={"x-should-retry": "true"} if status in _RETRYABLE_EVENTS else {},
    )


def word(value: object) -> str | None:
    """A text that is one harmless word, fit for a header and a log; ``None`` for everything else."""
    return value if isinstance(value, str) and _WORD.fullmatch(value) else None


def _json_object(body: bytes) -> dict[str, Any]:
    if len(body) > MAX_BODY_BYTES:
        return {}
    try:
        return _object(_decode(body))
    except (ValueError, RecursionError):  # msgspec reports text that is not UTF-8 as a DecodeError too
        return {}


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _readable(message: object) -> str:
    if not isinstance(message, str) or _MARKUP.search(message):
        return ""
    text = " ".join(_CREDENTIAL.sub("***", _CONTROL.sub(" ", message)).split())
    return text if len(text) <= MAX_MESSAGE_CHARS else text[: MAX_MESSAGE_CHARS - 1] + "…"
