"""Anthropic's event stream as typed events: framing, decoding, and the order that the protocol promises.

What every consumer of a stream shares, whatever it makes of the events. A small machine without I/O.
"""

from __future__ import annotations

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
        error: why there will be no more events: an ``error`` event (``UpstreamStatus``), or something that is not the
            protocol (``BadUpstreamReply``).
    """

    __slots__ = ("_begun", "_cutter", "_heard", "error", "stopped")

    def __init__(self) -> None:
        self._cutter = EventCutter()
        self._begun = False
        self._heard = False
        self.stopped = False
        self.error: UpstreamError | None = None

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that ``chunk`` completes, up to the one that set ``error``; what is not known is skipped."""
        events: list[Event] = []
        if self.stopped or self.error is not None:
            return events
        try:
            for lines in self._cutter.feed(chunk):
                data = event_data(lines)
                event = decode_event(data) if data else None
                if event is None:
                    continue
                if type(event) is ContentBlockDelta and self._begun:
                    events.append(event)
                    continue
                self._check_order(event, data)
                events.append(event)
                if type(event) is MessageStop:
                    break
        except UpstreamError as error:
            self.error = error
        except (ValueError, RecursionError) as exc:
            self.error = BadUpstreamReply("The upstream sent an event that is not part of its protocol.")
            self.error.__cause__ = exc
        return events

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

    def end(self) -> None:
        """The upstream's body is over; sets ``error`` unless the message is whole.

        A body that held no event at all was never a stream; after any event, or without a single byte, the connection
        broke.
        """
        if self.stopped or self.error is not None:
            return
        if self._heard or self._cutter.is_empty:
            self.error = UpstreamUnreachable("The upstream closed the stream before the end of the message.")
        else:
            self.error = BadUpstreamReply("The upstream answered something that is not a stream of events.")
