"""Request headers that the gateway reads, and reply headers that it makes; one place for their rules."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from litestar.types import Scope

from app.domain.calls import Report
from app.errors import InvalidRequest

Headers = list[tuple[bytes, bytes]]

#: A list of ignored or adjusted parameters longer than this is cut: proxies refuse long headers.
MAX_REPORT_CHARS = 4096

#: What may stand in a reported path or value as it is; the names come from the client's body.
_SAFE = "!#$&'()*+,/:;=?@[]~ _.-\"<>{}|^`"

#: The same within a list whose items have commas between them.
_SAFE_IN_LIST = _SAFE.replace(",", "")

_YES = frozenset({"1", "true", "yes", "on"})
_NO = frozenset({"0", "false", "no", "off"})


def header(scope: Scope, name: bytes) -> str | None:
    """A request header by its lower-case name; the first one counts."""
    for key, value in scope["headers"]:
        if key == name:
            return value.decode("latin-1")
    return None


def flag(scope: Scope, name: bytes) -> bool | None:
    """A header that says yes or no; None where it is absent.

    Raises:
        InvalidRequest: it says something else.
    """
    value = header(scope, name)
    if value is None:
        return None
    if value.strip().lower() in _YES:
        return True
    if value.strip().lower() in _NO:
        return False
    raise InvalidRequest(
        f"The header {name.decode()} takes 1 or 0.", param=f"header.{name.decode()}", code="invalid_value"
    )


def whole_number(scope: Scope, name: bytes) -> int | None:
    """A header that holds a whole number of at least 0; None where it is absent.

    Raises:
        InvalidRequest: it holds something else.
    """
    value = header(scope, name)
    if value is None:
        return None
    text = value.strip()
    if not (text.isascii() and text.isdecimal() and len(text) <= 9):
        raise InvalidRequest(
            f"The header {name.decode()} takes a whole number.", param=f"header.{name.decode()}", code="invalid_value"
        )
    return int(text)


def report_headers(report: Report, also_ignored: tuple[str, ...] = ()) -> Headers:
    """``x-claude-wrapper-ignored-params`` and ``-adjusted-params``, each only where it has something to say."""
    headers: Headers = []
    if report.ignored or also_ignored:
        headers.append((b"x-claude-wrapper-ignored-params", _listed((*report.ignored, *also_ignored))))
    if report.adjusted:
        listed = _listed(tuple(f"{path}={value}" for path, value in report.adjusted))
        headers.append((b"x-claude-wrapper-adjusted-params", listed))
    return headers


def encoded(headers: Mapping[str, str]) -> Headers:
    """Headers as ASGI wants them; values that could break a header line are percent-encoded."""
    return [(name.encode("latin-1"), _one_line(value)) for name, value in headers.items()]


def _listed(items: tuple[str, ...]) -> bytes:
    text = ", ".join(quote(item, safe=_SAFE_IN_LIST, errors="replace") for item in items)
    if len(text) > MAX_REPORT_CHARS:
        text = text[: text.rindex(", ", 0, MAX_REPORT_CHARS) if ", " in text[:MAX_REPORT_CHARS] else MAX_REPORT_CHARS]
        text += ", ..."
    return text.encode()


def _one_line(text: str) -> bytes:
    if text.isascii() and text.isprintable():
        return text.encode()
    return quote(text, safe=_SAFE, errors="replace").encode()
