"""Request headers about what the gateway keeps, read in one pass: most requests have none of them."""

from __future__ import annotations

import re
from typing import Final

from litestar.types import Scope

from app.domain.caching import read_cache_control
from app.domain.sessions import session_id
from app.errors import InvalidRequest
from app.gateway.wants import NOTHING_WANTED, Wants

SESSION_HEADER: Final = b"x-session-id"
WAIT_HEADER: Final = b"x-claude-wrapper-session-wait"
CONFLICT_HEADER: Final = b"x-claude-wrapper-session-conflict"
IDEMPOTENCY_HEADER: Final = b"idempotency-key"
CACHE_HEADER: Final = b"cache-control"

_HEADERS: Final = frozenset({SESSION_HEADER, WAIT_HEADER, CONFLICT_HEADER, IDEMPOTENCY_HEADER, CACHE_HEADER})
_KEY: Final = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,253}[\x21-\x7e])?")
_SECONDS: Final = re.compile(r"[0-9]{1,5}(\.[0-9]{1,3})?")
#: The longest wait that the setting takes, too.
_LONGEST_WAIT_S: Final = 86_400


def read_wants(scope: Scope) -> Wants:
    """What the headers of a request ask for.

    Raises:
        InvalidRequest: one of them holds something that it does not take.
    """
    found: dict[bytes, str] = {}
    for name, value in scope["headers"]:
        if name in _HEADERS:
            text = value.decode("latin-1").strip()
            found[name] = _with_further(name, found[name], text) if name in found else text
    if not found:
        return NOTHING_WANTED
    return Wants(
        session=_session(found.get(SESSION_HEADER)),
        wait_s=_seconds(found.get(WAIT_HEADER)),
        forks=_forks(found.get(CONFLICT_HEADER)),
        idempotency_key=_idempotency_key(found.get(IDEMPOTENCY_HEADER)),
        cache=read_cache_control(found.get(CACHE_HEADER)),
    )


def _with_further(name: bytes, before: str, text: str) -> str:
    """The value of a header that has come before: lists are one, and of names only one is meant."""
    if name == CACHE_HEADER:
        return f"{before}, {text}"
    if text != before:
        raise _bad(name, "came twice, with different values: send it once")
    return text


def _session(text: str | None) -> str:
    return "" if text is None else session_id(text, param="header.x-session-id")


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    if _SECONDS.fullmatch(text) is None or float(text) > _LONGEST_WAIT_S:
        raise _bad(WAIT_HEADER, f"takes seconds from 0 to {_LONGEST_WAIT_S}, such as 5 or 0.125")
    return float(text)


def _forks(text: str | None) -> bool:
    if text is None or text.lower() == "error":
        return False
    if text.lower() == "fork":
        return True
    raise _bad(CONFLICT_HEADER, "takes 'error' (409 conversation_locked) or 'fork'")


def _idempotency_key(text: str | None) -> str:
    if text is None:
        return ""
    if _KEY.fullmatch(text) is None:
        raise _bad(IDEMPOTENCY_HEADER, "takes 1 to 255 printable ASCII characters")
    return text


def _bad(name: bytes, what: str) -> InvalidRequest:
    return InvalidRequest(f"The header {name.decode()} {what}.", param=f"header.{name.decode()}", code="invalid_value")
