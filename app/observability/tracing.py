"""What tracing costs the request path: a trace for each request, and its notes put aside once it is over.

Spans are made of the notes afterwards, by another thread (``telemetry.py``), so nothing here needs a library. What
waits for that is bounded: while it cannot keep up, or the collector is away, the newest traces are lost and counted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from msgspec import Struct

from app.observability.record import RequestRecord
from app.observability.trace_context import Bits, TraceContext, begin_trace

#: Requests whose spans are still to be made; beyond it they are lost. About a kilobyte each.
MOST_WAITING: Final = 8192
#: So many of them are not left waiting for the next round.
WAKES_AT: Final = 256
#: The settlement of a request that is over has this long to be made, before its spans are made without it.
SETTLES_WITHIN_S: Final = 1.0


class Ended(Struct, frozen=True):
    """A request that is over.

    Args:
        record: its notes.
        trace: the one it belongs to.
        route: as metrics label it.
        ended_at: when its reply was complete, in seconds of the clock of the notes.
    """

    record: RequestRecord
    trace: TraceContext
    route: str
    ended_at: float


class Tracer:
    """The traces of one worker.

    Args:
        sample: share of the requests without a ``traceparent`` that are traced; the header decides for itself.
        bits: a source of random bits, seeded in this process.

    Attributes:
        dropped: requests whose spans were not made, since the start.
        wake: called from the request path when many wait; must not block.
    """

    __slots__ = ("_bits", "_sample", "_waiting", "dropped", "wake")

    def __init__(self, *, sample: float, bits: Bits) -> None:
        self._sample = sample
        self._bits = bits
        self._waiting: deque[Ended] = deque()
        self.dropped = 0
        self.wake: Callable[[], None] = _nobody

    def begin(self, headers: Iterable[tuple[bytes, bytes]]) -> TraceContext:
        """The trace of a request that has come in; see ``begin_trace``."""
        return begin_trace(headers, sample=self._sample, bits=self._bits)

    def ended(self, record: RequestRecord, *, route: str, duration_s: float) -> None:
        """A request is over; its notes are put aside if they make spans.

        Args:
            record: its notes, which have their trace.
            route: as metrics label it.
            duration_s: until its reply was complete.
        """
        trace = record.trace
        if trace is None or not trace.sampled:
            return
        waiting = len(self._waiting)
        if waiting >= MOST_WAITING:
            self.dropped += 1
            return
        self._waiting.append(Ended(record, trace, route, record.began_at + duration_s))
        if waiting == WAKES_AT:
            self.wake()

    def take(self, most: int, *, now: float) -> list[Ended]:
        """The oldest that wait, which do so no more; called by another thread.

        Those behind one whose settlement may yet come stay, for a moment.

        Args:
            most: as many at most.
            now: of the clock of the notes; infinite for whoever cannot wait.
        """
        taken: list[Ended] = []
        while len(taken) < most and self._waiting:
            oldest = self._waiting[0]
            if oldest.trace.is_settling and now - oldest.ended_at < SETTLES_WITHIN_S:
                break
            taken.append(self._waiting.popleft())
        return taken


def _nobody() -> None:
    """Nobody waits to be woken."""
