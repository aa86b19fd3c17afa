"""Error replies of Anthropic, or of whatever stands before it, as ``UpstreamStatus``.

A reply of any quality comes in. What goes out is bounded and fit for a client to read: never HTML, never a secret,
never text of an unknown intermediary. The body is read in ``app/schemas/anthropic_error.py``, the headers here.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from app.errors import UpstreamStatus
from app.schemas.anthropic_error import MAX_BODY_BYTES, read_error, word

#: More of an error body than this is not read.
MAX_ERROR_BODY_BYTES = MAX_BODY_BYTES

_FORWARDED = frozenset({"retry-after", "retry-after-ms", "x-should-retry", "request-id"})
_FORWARDED_FAMILIES = ("anthropic-ratelimit-", "anthropic-priority-", "anthropic-fast-")
_MAX_HEADER_CHARS = 256


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
    error = read_error(body)
    return UpstreamStatus(
        error.message or _nameless(status),
        status=status,
        error_type=error.type,
        error_code=error.code,
        retry_after_s=retry_after_s(headers, time.time() if now_at is None else now_at),
        request_id=word(headers.get("request-id")) or error.request_id,
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


def _nameless(status: int) -> str:
    known = {429: "Too Many Requests", 529: "Overloaded"}
    phrase = known.get(status) or (HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else "")
    return f"Anthropic answered {status}{f' ({phrase})' if phrase else ''} without saying why."


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return max(0.0, number) if math.isfinite(number) else None
