"""One established connection: bytes out in one write per turn of the event loop, replies back in order.

A wire matches replies to the calls that wait for them, nothing more: deadlines, reconnecting and scripts are the
lane's (``lane.py``). The order of ``pending`` is the order on the wire. An abandoned call (its future is done:
cancelled or past its deadline) keeps its place there, so that its reply is still consumed, and dropped. A script that
echoes the id of its call lets the wire see whether it is in step: a reply with another id reaches nobody. The protocol
is RESP2: RESP3 brought nothing (PERFORMANCE.md section 2). Reply parser and command packer are hiredis's.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, Final, Protocol, TypeAlias, cast

import hiredis

from app.domain.histograms import Histogram
from app.errors import StateError
from app.state.error_replies import error_from_reply, unavailable
from app.state.scripts import ScriptWords

#: More than this unsent means that the server does not keep up: calls fail at once instead of filling our memory.
WRITE_BUFFER_LIMIT_BYTES = 64 * 1024 * 1024

_INCOMPLETE: Final = object()

#: hiredis's stub says a tuple of one word.
_pack = cast("Callable[[tuple[bytes | str | int | float, ...]], bytes]", hiredis.pack_command)


class Batch:
    """The replies of one pipeline, collected until the last one is there."""

    __slots__ = ("future", "missing", "replies")

    def __init__(self, future: asyncio.Future[list[Any]], size: int) -> None:
        self.future = future
        self.replies: list[Any] = [None] * size
        self.missing = size

    def fill(self, index: int, reply: Any) -> None:
        """Takes the reply of command ``index``, an error reply as a value."""
        self.replies[index] = reply
        self.missing -= 1
        if not self.missing and not self.future.done():
            self.future.set_result(self.replies)


#: A command on the wire: the future that waits, its deadline in monotonic seconds, the script that it calls, the place
#: in a batch, and whether the script was sent whole. A plain tuple, as one is made for every command.
Pending: TypeAlias = tuple[asyncio.Future[Any], float, ScriptWords | None, Batch | None, int, bool]


class WireOwner(Protocol):
    """Who is told what happens on a wire."""

    def answered(self, wire: Wire) -> None:
        """At least one call got its reply in time."""
        ...

    def refused(self, wire: Wire, call: Pending, error: StateError) -> None:
        """A call that is still waited for got an error reply; the owner completes it."""
        ...

    def wire_lost(self, wire: Wire, reason: str) -> None:
        """The wire is of no use any more; its calls have failed already."""
        ...


class Wire(asyncio.Protocol):
    """The connection itself.

    Args:
        owner: told about error replies and about the end.
        loop: the event loop.
        timeout_s: what lies between the sending of a call and its deadline.
        times: gets the time of every call that is answered, also when nobody waits for it any more; of a pipeline
            that of its first command.
    """

    def __init__(
        self, owner: WireOwner, loop: asyncio.AbstractEventLoop, *, timeout_s: float, times: Histogram
    ) -> None:
        self._owner = owner
        self._loop = loop
        self._timeout_s = timeout_s
        self._observe = times.observe
        self._reader = hiredis.Reader(replyError=error_from_reply, notEnoughData=_INCOMPLETE)
        self._transport: asyncio.WriteTransport | None = None
        self._out: list[bytes] = []
        #: Commands sent and not yet answered, oldest first.
        self.pending: deque[Pending] = deque()
        #: When bytes last came in, monotonic seconds.
        self.heard_at = monotonic()
        #: More is unsent than ``WRITE_BUFFER_LIMIT_BYTES``.
        self.congested = False
        #: Closed by either side; nothing more is sent or delivered.
        self.closed = False

    def write(self, packed: bytes) -> None:
        """Sends a packed command with whatever else is written during this turn of the loop.

        The caller has put its ``Pending`` into ``pending`` before.
        """
        out = self._out
        out.append(packed)
        if len(out) == 1:
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        out = self._out
        if self._transport is not None and not self.closed:
            self._transport.write(out[0] if len(out) == 1 else b"".join(out))
        out.clear()

    def close(self, reason: str) -> None:
        """Ends the connection now: calls in flight fail with ``StateUnavailable``, the owner is told why."""
        if self.closed:
            return
        self.closed = True
        if self._transport is not None:
            self._transport.abort()
        pending, self.pending = self.pending, deque()
        for future, *_ in pending:
            if not future.done():
                future.set_exception(unavailable(reason))
        self._owner.wire_lost(self, reason)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport."""
        self._transport = cast("asyncio.WriteTransport", transport)
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER_LIMIT_BYTES)
        if self.closed:  # given up while it was being established
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Hands every complete reply to its call."""
        self.heard_at = heard_at = monotonic()
        reader, pending = self._reader, self.pending
        reader.feed(data)
        answered = False
        try:
            while (reply := reader.gets()) is not _INCOMPLETE:
                if not pending:
                    self._out_of_step("a reply that nobody asked for")
                    break
                call = pending.popleft()
                future, deadline, script, batch, index, _ = call
                if script is not None and script[0].echoes and not _is_echo(script, reply):
                    pending.appendleft(call)
                    self._out_of_step("the reply to another call")
                    break
                if not index and (took_s := heard_at - deadline + self._timeout_s) >= 0:  # a handshake has no deadline
                    self._observe(took_s)
                if future.done():
                    continue
                if isinstance(reply, StateError):
                    self._owner.refused(self, call, reply)
                    if self.closed:
                        break
                    continue
                answered = True
                if batch is None:
                    future.set_result(reply)
                else:
                    batch.fill(index, reply)
        except hiredis.ProtocolError:
            self._out_of_step("a reply that is not the Redis protocol")
        if answered:
            self._owner.answered(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side or the network has ended it."""
        reason = "the connection was lost" if exc is None else f"the connection was lost ({type(exc).__name__})"
        self.close(reason)

    def pause_writing(self) -> None:
        """Too much is unsent."""
        self.congested = True

    def resume_writing(self) -> None:
        """The server has caught up."""
        self.congested = False

    def _out_of_step(self, what: str) -> None:
        self.close(f"the server sent {what}")


def _is_echo(script: ScriptWords, reply: Any) -> bool:
    """Whether a reply is that of this call; a refusal of the server has no id."""
    if type(reply) is list:
        return bool(reply) and reply[0] == script[2][0]
    return isinstance(reply, StateError)


def pack(words: Sequence[bytes | str | int | float]) -> bytes:
    """A command as it goes over the wire; ``TypeError`` for a word that is neither text, bytes nor a number."""
    return _pack(tuple(words))


def pack_script(call: ScriptWords) -> bytes:
    """``EVALSHA`` of a script."""
    script, keys, args = call
    return _pack((b"EVALSHA", script.sha1, len(keys), *keys, *args))


def pack_script_text(call: ScriptWords) -> bytes:
    """``EVAL`` of the same script: runs it whether the server knows it or not, which then does."""
    script, keys, args = call
    return _pack((b"EVAL", script.text, len(keys), *keys, *args))
