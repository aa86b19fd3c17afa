"""Anthropic's event stream as a sequence of typed events: framing, decoding, and the order that the protocol promises.

What every consumer of a stream shares, whatever it makes of the events. A small machine without I/O.
"""

from __future__ import annotations

from collections.abc import Iterator

from app.errors import BadUpstreamReply, UpstreamError, UpstreamUnreachable
from app.schemas.anthropic_error import event_error
from app.schemas.anthropic_reply import (
    ContentBlockDelta,
    ErrorEvent,
    Event,
    MessageStart,
    MessageStop,
    Ping,
    decode_event,
)
from app.schemas.sse import EventCutter, event_data


class UpstreamEvents:
    """The events of one upstream reply.

    Attributes:
        stopped: the message is complete; whatever follows is ignored.
    """

    __slots__ = ("_begun", "_cutter", "_heard", "stopped")

    def __init__(self) -> None:
        self._cutter = EventCutter()
        self._begun = False
        self._heard = False
        self.stopped = False

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """The events that ``chunk`` completes; what is not known is skipped.

        Raises:
            UpstreamStatus: an ``error`` event, after the events before it.
            BadUpstreamReply: not the protocol, after the events before it.
        """
        for lines in self._cutter.feed(chunk):
            data = event_data(lines)
            if not data:
                continue
            try:
                event = decode_event(data)
            except (ValueError, RecursionError) as exc:
                raise BadUpstreamReply("The upstream sent an event that is not part of its protocol.") from exc
            if event is None:
                continue
            if not self._begun or type(event) is not ContentBlockDelta:
                self._check_order(event, data)
            yield event
            if self.stopped:
                return

    def _check_order(self, event: Event, data: bytes) -> None:
        match event:
            case Ping():
                pass
            case ErrorEvent():
                raise event_error(data)
            case MessageStart() if not self._begun:
                self._begun = True
            case MessageStart():
                raise BadUpstreamReply("The upstream began a second message in the same stream.")
            case _ if not self._begun:
                raise BadUpstreamReply("The upstream sent content before the beginning of its message.")
            case MessageStop():
                self.stopped = True
            case _:
                pass
        self._heard = True

    def end(self) -> UpstreamError | None:
        """What it means that the upstream's body is over: None after a whole message.

        A body that held no event at all was never a stream; after any event, or without a single byte, the connection
        broke.
        """
        if self.stopped:
            return None
        if self._heard or self._cutter.is_empty:
            return UpstreamUnreachable("The upstream closed the stream before the end of the message.")
        return BadUpstreamReply("The upstream answered something that is not a stream of events.")
