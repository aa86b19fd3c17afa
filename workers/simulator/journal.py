"""A bounded record of the requests that came in and of how each ended, for tests. Secrets are not kept."""

from __future__ import annotations

import time
from collections import deque
from typing import Any, Final

import msgspec
from msgspec import Struct

from workers.simulator.exchange import Request
from workers.simulator.reply import Usage
from workers.simulator.signatures import org_of

_SECRET_HEADERS: Final = frozenset({"x-api-key", "authorization", "proxy-authorization", "cookie"})


class Entry(Struct, kw_only=True):
    """One request. Times are Unix seconds.

    Args:
        auth: which credential came: ``x-api-key``, ``bearer``, ``both`` or ``none``.
        organization: whose it is, as in signatures, in hex; empty where there was none.
        headers: lower-case names; values of credentials are replaced by ``redacted``.
        body: decoded JSON, or text where it is not JSON.
        status: of the reply; 0 while nothing was answered.
        sent_bytes: bytes of the reply given to the connection.
        finished_at: when the reply was complete.
        client_closed_at: when the client went away before the reply was complete.
        outcome: of a call for a message that is over, as on the invoice: ``completed``, ``cancelled``, ``broken`` or
            ``refused``.
        billed: the usage that is billed for it.
        dropped: thinking blocks that the model did not see, with the reason, as in ``input_transformations``.
    """

    number: int
    at: float
    method: str
    path: str
    query: str
    auth: str
    organization: str = ""
    headers: dict[str, str]
    body: Any = None
    status: int = 0
    sent_bytes: int = 0
    finished_at: float | None = None
    client_closed_at: float | None = None
    outcome: str = ""
    billed: Usage | None = None
    dropped: list[dict[str, Any]] = []


class Journal:
    """The last ``size`` requests; with size 0 nothing is recorded."""

    def __init__(self, size: int, body_bytes: int) -> None:
        self.enabled = size > 0
        self._entries: deque[Entry] = deque(maxlen=size)
        self._body_bytes = body_bytes
        self._count = 0

    def record(self, request: Request) -> Entry:
        """Adds a request; the caller fills in how it ended."""
        self._count += 1
        headers, credential = request.headers, request.credential()
        has_key, has_bearer = "x-api-key" in headers, "authorization" in headers
        auth = "both" if has_key and has_bearer else "x-api-key" if has_key else "bearer" if has_bearer else "none"
        entry = Entry(
            number=self._count,
            at=time.time(),
            method=request.method,
            path=request.path,
            query=request.query,
            auth=auth,
            organization=org_of(credential).hex() if credential else "",
            headers={name: "redacted" if name in _SECRET_HEADERS else value for name, value in headers.items()},
            body=self._kept(request.body),
        )
        self._entries.append(entry)
        return entry

    def _kept(self, body: bytes) -> Any:
        if not body:
            return None
        if len(body) <= self._body_bytes:
            try:
                return msgspec.json.decode(body)
            except (msgspec.DecodeError, UnicodeDecodeError):
                pass
        return body[: self._body_bytes].decode("utf-8", "replace")

    def entries(self) -> list[Entry]:
        """The kept requests, oldest first."""
        return list(self._entries)

    def clear(self) -> None:
        """Forgets everything; numbers start at 1 again."""
        self._entries.clear()
        self._count = 0
