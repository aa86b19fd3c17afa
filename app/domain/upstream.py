"""What the corridor needs of Anthropic's side: one small interface, bytes in and bytes out.

A lane (``app/upstream/direct.py``, ``sdk.py``) implements ``Upstream``; the corridor and every test of it run
on any lane. Lanes raise only errors of ``app/errors.py``. Source: DESIGN.md section 6.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Final, Protocol

from msgspec import Struct


class CallWatch(Protocol):
    """Is told how far a call has come, so that it is known what one that is given up has cost."""

    def sending(self) -> None:
        """It leaves for Anthropic now, after any wait for a free connection; told again for each attempt."""
        ...

    def refused(self) -> None:
        """The attempt failed, and costs nothing."""
        ...


class Unwatched:
    """Nobody wants to know."""

    def sending(self) -> None:
        """Takes no notice."""

    def refused(self) -> None:
        """Takes no notice."""


UNWATCHED: Final = Unwatched()


class UpstreamRequest(Struct, frozen=True, kw_only=True):
    """One call of the Messages API.

    Args:
        path: such as ``/v1/messages``.
        body: JSON, sent as it is; empty for a ``GET``.
        method: HTTP method.
        stream: whether the reply is expected as server-sent events.
        headers: lower-case names; at least ``anthropic-version``, and ``anthropic-beta`` where needed. Authentication,
            ``content-type`` and ``accept-encoding`` are the lane's.
        fresh: over a new connection, because one that had been kept was dead.
        credential: the client's own key instead of the gateway's, which is then not sent; printable ASCII without
            spaces; empty for the gateway's. Never logged.
        trace: headers of this one call that say which trace it belongs to (W3C Trace Context).
        affinity: calls with the same text go with the same key of the gateway, on every replica, while its keys stay
            the same; empty for any. Thinking blocks and prompt caches belong to a key's account.
        watch: is told how far it has come, by the lane and by whoever repeats it.
    """

    path: str
    body: bytes
    method: str = "POST"
    stream: bool = False
    headers: Mapping[str, str] = {}
    fresh: bool = False
    credential: str = ""
    trace: Mapping[str, str] = {}
    affinity: str = ""
    watch: CallWatch = UNWATCHED

    def __repr__(self) -> str:
        """Without what may not be shown: the credential, and the body, which holds a prompt."""
        return f"{type(self).__name__}({self.method} {self.path}, {len(self.body)} bytes)"


class UpstreamReply(Protocol):
    """A reply whose status and headers are known; its body is read at most once, whole or in chunks."""

    status: int
    headers: Mapping[str, str]
    """Reply headers, names in lower case."""
    attempts: int
    """Calls it took to get this reply: 1, or more after retries."""

    async def read(self) -> bytes:
        """The whole body.

        Raises:
            UpstreamError: the connection broke or fell silent before the end.
        """
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives, everything that has arrived at a time; borders mean nothing.

        Raises:
            UpstreamError: the connection broke or fell silent before the end.
        """
        ...

    async def close(self) -> None:
        """Ends the call. A body that was not read to its end closes the connection at once. May be called twice."""
        ...


class Upstream(Protocol):
    """A way to Anthropic."""

    async def send(self, request: UpstreamRequest) -> UpstreamReply:
        """Sends a request and waits for the status and headers of its reply, whatever the status is.

        Cancelling the task closes the connection at once, in every phase.

        Raises:
            UpstreamUnreachable: no connection, or it broke before the reply's headers.
            UpstreamTimeout: no connection or no reply headers in time.
            Overloaded: no free connection in time.
        """
        ...

    async def close(self) -> None:
        """Closes every connection."""
        ...
