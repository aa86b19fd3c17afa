"""Error replies of Anthropic, or of whatever stands before it, as ``UpstreamStatus``.

A body of any quality comes in: Anthropic's JSON, a proxy's HTML page, nothing, half of something. What goes out is
bounded and fit for a client to read: never HTML, never a secret, never text of an unknown intermediary. Shapes:
``spec/errors-and-headers.md``, "Upstream shapes".
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

import msgspec

from app.errors import UpstreamStatus

#: More of an error body than this is not read; Anthropic's own are a few hundred bytes.
MAX_ERROR_BODY_BYTES = 64 * 1024

#: More of an error's text than this is not shown.
MAX_MESSAGE_CHARS = 2000

_FORWARDED = frozenset({"retry-after", "retry-after-ms", "x-should-retry", "request-id"})
_FORWARDED_FAMILIES = ("anthropic-ratelimit-", "anthropic-priority-", "anthropic-fast-")
_MAX_HEADER_CHARS = 256

_MARKUP = re.compile(r"<\s*/?\s*(?:!doctype|html|head|body|title|div|span|center|script|h[1-6]|p|br|hr)\b", re.I)
_SECRET = re.compile(r"\bsk-[A-Za-z0-9_-]{6,}|(?<=bearer )\S+", re.I)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")
_WORD = re.compile(r"[A-Za-z0-9_.:-]{1,128}")

_decode = msgspec.json.Decoder().decode


def status_error(
    status: int, headers: Mapping[str, str], body: bytes, *, now_at: float | None = None
) -> UpstreamStatus:
    """The error that a reply with an error status stands for.

    Args:
        status: HTTP status, at least 400.
        headers: reply headers, names in lower case.
        body: as much of it as there is; ``{"type":"error","error":{...},"request_id"}`` when it is Anthropic's.
        now_at: Unix seconds, for a ``retry-after`` that is a date; the clock when left out.
    """
    told = _json_object(body)
    error = told.get("error")
    error = error if isinstance(error, dict) else {}
    details = error.get("details")
    details = details if isinstance(details, dict) else {}
    return UpstreamStatus(
        _readable(error.get("message")) or _nameless(status),
        status=status,
        error_type=_word(error.get("type")) or "",
        error_code=_word(details.get("error_code")),
        retry_after_s=retry_after_s(headers, time.time() if now_at is None else now_at),
        request_id=_word(headers.get("request-id")) or _word(told.get("request_id")),
        headers=forwarded_headers(headers),
    )


def retry_after_s(headers: Mapping[str, str], now_at: float) -> float | None:
    """Seconds that the other side asks to wait: ``retry-after-ms``, else ``retry-after`` as a number or a date.

    Args:
        headers: reply headers, names in lower case.
        now_at: Unix seconds, to count a date from.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    text = headers.get("retry-after")
    seconds = _number(text)
    if seconds is not None or text is None:
        return seconds
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now_at)
    except (ValueError, OverflowError):
        return None


def should_retry(headers: Mapping[str, str]) -> bool | None:
    """Header ``x-should-retry``, or ``None`` where it is missing or says neither ``true`` nor ``false``."""
    return {"true": True, "false": False}.get(headers.get("x-should-retry", "").strip().lower())


def forwarded_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The reply headers that may be passed on with an error: waiting times, limits and Anthropic's request id."""
    return {
        name: value
        for name, value in headers.items()
        if (name in _FORWARDED or name.startswith(_FORWARDED_FAMILIES))
        and len(value) <= _MAX_HEADER_CHARS
        and value.isprintable()
        and value.isascii()
    }


def _json_object(body: bytes) -> dict[str, Any]:
    if len(body) > MAX_ERROR_BODY_BYTES:
        return {}
    try:
        told = _decode(body)
    except (msgspec.DecodeError, RecursionError):
        # msgspec reports text that is not UTF-8 as a DecodeError too.
        return {}
    return told if isinstance(told, dict) else {}


def _readable(message: object) -> str:
    if not isinstance(message, str) or _MARKUP.search(message):
        return ""
    text = _SECRET.sub("***", _CONTROL.sub(" ", message)).strip()
    return text if len(text) <= MAX_MESSAGE_CHARS else text[: MAX_MESSAGE_CHARS - 1] + "…"


def _nameless(status: int) -> str:
    known = {429: "Too Many Requests", 529: "Overloaded"}
    phrase = known.get(status) or (HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else "")
    return f"Anthropic answered {status}{f' ({phrase})' if phrase else ''} without saying why."


def _word(value: object) -> str | None:
    return value if isinstance(value, str) and _WORD.fullmatch(value) else None


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return max(0.0, number) if math.isfinite(number) else None
