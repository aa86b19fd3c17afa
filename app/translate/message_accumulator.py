"""A stream of Anthropic's as the plain message it stands for.

For plain clients whose call has to run as a stream (above 21,333 ``max_tokens`` Anthropic wants one). Fields that this
code does not know survive.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw

from app.domain.output_meter import OutputMeter
from app.errors import BadUpstreamReply
from app.schemas.anthropic_reply import (
    ContentBlockDelta,
    ContentBlockStart,
    Event,
    MessageDelta,
    MessageStart,
    UsageFields,
    decode_block,
)
from app.translate.content_accumulator import ContentAccumulator
from app.translate.upstream_events import UpstreamEvents
from app.translate.usage import usage_of

_encode = msgspec.json.encode
_FIELDS = msgspec.json.Decoder(dict[str, Raw])
_USAGE: msgspec.json.Decoder[dict[str, Raw] | None] = msgspec.json.Decoder(dict[str, Raw] | None)
_NULL = Raw(b"null")
_COUNTS: msgspec.json.Decoder[UsageFields | None] = msgspec.json.Decoder(UsageFields | None)
_NO_COUNTS = UsageFields()


class MessageAccumulator:
    """Takes the bytes of a stream, gives the message.

    Attributes:
        meter: what was measured of it; tells its tokens where the stream broke off.
    """

    __slots__ = ("_content", "_events", "_fields", "_usage", "meter")

    def __init__(self) -> None:
        self._events = UpstreamEvents()
        self._content = ContentAccumulator()
        self._fields: dict[str, Raw] = {}
        self._usage: dict[str, Raw] = {}
        self.meter = OutputMeter()

    @property
    def stopped(self) -> bool:
        """Whether the message is complete; whatever follows is ignored."""
        return self._events.stopped

    def feed(self, data: bytes) -> None:
        """More of the stream, cut anywhere.

        Raises:
            UpstreamStatus: an error event.
            BadUpstreamReply: not the protocol.
        """
        try:
            for event in self._events.feed(data):
                self._follow(event)
        except (msgspec.DecodeError, RecursionError) as exc:
            raise BadUpstreamReply("The upstream sent an event that is not part of its protocol.") from exc
        if self._events.error is not None:
            raise self._events.error

    def message(self) -> bytes:
        """The whole message as JSON.

        Raises:
            UpstreamUnreachable: the stream broke off.
            BadUpstreamReply: it never was a stream, or its parts do not fit together.
        """
        self._events.end()
        if self._events.error is not None:
            raise self._events.error
        try:
            content = self._content.blocks()
        except (msgspec.DecodeError, RecursionError) as exc:
            raise BadUpstreamReply("The upstream sent an event that is not part of its protocol.") from exc
        return _encode({**self._fields, "content": content, "usage": self._usage})

    def _follow(self, event: Event) -> None:
        match event:
            case ContentBlockDelta():
                self._content.add(event)
                self.meter.add(event.delta)
            case ContentBlockStart():
                self._content.start(event)
                self.meter.open_block(decode_block(event.content_block))
            case MessageStart():
                self._fields = _FIELDS.decode(event.message)
                usage = self._fields.get("usage", _NULL)
                self._usage = _USAGE.decode(usage) or {}
                self.meter.begin(usage_of(_COUNTS.decode(usage) or _NO_COUNTS))
            case MessageDelta():
                self._fields.update(_FIELDS.decode(event.delta))
                # Counts are cumulative; null is "not said" and takes nothing back.
                told = _USAGE.decode(event.usage) or {}
                self._usage.update((name, value) for name, value in told.items() if bytes(value) != b"null")
                counts = _COUNTS.decode(event.usage) or _NO_COUNTS
                self.meter.finish(usage_of(counts, self.meter.usage), complete=counts.output_tokens is not None)
            case _:
                pass
