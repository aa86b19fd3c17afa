"""The trace that a request belongs to: what its client says of it, what goes out with the call of Claude.

Pure functions and values; spans are made elsewhere, afterwards. What does not follow the recommendation is ignored, and
the request begins a trace of its own. Source: W3C Trace Context (level 2), sections 3.2 and 3.3.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

from msgspec import Struct

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"

_TRACEPARENT_BYTES: Final = TRACEPARENT.encode()
_TRACESTATE_BYTES: Final = TRACESTATE.encode()

#: version - trace-id - parent-id - flags; versions to come may add to it, after another dash.
_PARENT: Final = re.compile(rb"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_MEMBER: Final = re.compile(
    r"([a-z0-9][a-z0-9_\-*/@]{0,255})=([\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e])"
)
_SAMPLED: Final = 0x01
_MOST_MEMBERS: Final = 32
#: A longer ``tracestate`` need not be passed on.
_LONGEST_STATE: Final = 512

#: Random bits, as many as are asked for.
Bits = Callable[[int], int]


class Parent(NamedTuple):
    """The span of the client's that a request is part of; ids are never 0."""

    trace_id: int
    span_id: int
    sampled: bool


class TraceContext(Struct):
    """The trace of one request, and when its settlement was made.

    Args:
        trace_id: 128 bits, never 0.
        span_id: of the request's own span; 64 bits, never 0.
        call_span_id: of the span of its calls of Claude, which is what Anthropic is told.
        parent_span_id: of the client's span; 0 where the trace begins here.
        sampled: whether its spans are made.
        state: members of ``tracestate``, as they came.
        settling_at: its settlement left for the store; monotonic seconds, 0: not yet.
        settled_at: the store has answered; likewise.
        is_settled: and has made it.
    """

    trace_id: int
    span_id: int
    call_span_id: int
    parent_span_id: int = 0
    sampled: bool = True
    state: str = ""
    settling_at: float = 0.0
    settled_at: float = 0.0
    is_settled: bool = False

    def outgoing(self) -> dict[str, str]:
        """The headers that a call of Claude gets."""
        headers = {TRACEPARENT: f"00-{self.trace_id:032x}-{self.call_span_id:016x}-{self.sampled:02x}"}
        if self.state:
            headers[TRACESTATE] = self.state
        return headers

    def settling(self, at: float) -> None:
        """The settlement leaves for the store, maybe not for the first time."""
        self.settling_at = self.settling_at or at

    def settled(self, at: float, *, made: bool) -> None:
        """The store has answered, or will not."""
        self.settled_at, self.is_settled = at, made

    @property
    def is_settling(self) -> bool:
        """Whether the store has yet to answer."""
        return self.settling_at > self.settled_at


def begin_trace(headers: Iterable[tuple[bytes, bytes]], *, sample: float, bits: Bits) -> TraceContext:
    """The trace of a request: its client's, which also decides whether spans are made, or a new one.

    Args:
        headers: of the request; lower-case names.
        sample: share of the new traces whose spans are made.
        bits: a source of random bits.
    """
    parents: list[bytes] = []
    states: list[bytes] = []
    for name, value in headers:
        if name == _TRACEPARENT_BYTES:
            parents.append(value)
        elif name == _TRACESTATE_BYTES:
            states.append(value)
    parent = read_parent(parents[0]) if len(parents) == 1 else None
    if parent is None:
        return TraceContext(bits(128) or 1, bits(64) or 1, bits(64) or 1, 0, bits(32) < sample * 2**32)
    return TraceContext(
        parent.trace_id, bits(64) or 1, bits(64) or 1, parent.span_id, parent.sampled, read_state(states)
    )


def read_parent(header: bytes) -> Parent | None:
    """What a ``traceparent`` says; ``None`` where it is not valid."""
    match = _PARENT.fullmatch(header.strip())
    if match is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    parent = Parent(int(trace_id, 16), int(span_id, 16), bool(int(flags, 16) & _SAMPLED))
    if not (parent.trace_id and parent.span_id) or (more is not None and version == b"00"):
        return None
    return parent


def read_state(headers: Iterable[bytes]) -> str:
    """The members of all ``tracestate`` headers as one; empty where they are not valid, or too long."""
    text = b",".join(headers).decode("latin-1")
    members = [member for part in text.split(",") if (member := part.strip(" \t"))]
    if not members or len(members) > _MOST_MEMBERS:
        return ""
    keys: set[str] = set()
    for member in members:
        match = _MEMBER.fullmatch(member)
        if match is None or match[1] in keys:
            return ""
        keys.add(match[1])
    state = ",".join(members)
    return state if len(state) <= _LONGEST_STATE else ""


def members_of(state: str) -> Mapping[str, str]:
    """The members of a valid ``tracestate``, in their order."""
    return dict(member.split("=", 1) for member in state.split(",")) if state else {}
