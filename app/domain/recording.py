"""A recorded answer: what Anthropic has sent for one request, so that it can be given again exactly.

The upstream bytes are kept, not the client's: one recording serves plain and streamed clients and replays the same
deltas. Pure.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct


class RecordedReply(Struct, frozen=True, array_like=True):
    """One upstream reply.

    Args:
        is_stream: ``body`` is a stream of server-sent events, otherwise a message as JSON.
        body: as it came.
    """

    is_stream: bool
    body: bytes


class RecordedAnswer(Struct, frozen=True, array_like=True):
    """A whole answer.

    Args:
        created: Unix seconds that the client was told.
        choices: for each choice the reply, or the chain of replies that ``pause_turn`` made of it.
        headers: of the first upstream reply, those that clients are told (``request-id``).
        forced_tool_refused: the model turned out to refuse the forced tool choice of the request, and was asked
            differently; the answer has to be read so.
        told: headers that told the client of its session and its thinking; only for those who repeat the request.
    """

    created: int
    choices: tuple[tuple[RecordedReply, ...], ...]
    headers: dict[str, str] = {}
    forced_tool_refused: bool = False
    told: dict[str, str] = {}


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(RecordedAnswer)


def encode_recording(answer: RecordedAnswer) -> bytes:
    """The bytes to keep."""
    return _ENCODER.encode(answer)


def decode_recording(data: bytes) -> RecordedAnswer | None:
    """What was kept; ``None`` where it cannot be read, which counts as absent."""
    try:
        return _DECODER.decode(data)
    except (msgspec.DecodeError, ValueError):
        return None
