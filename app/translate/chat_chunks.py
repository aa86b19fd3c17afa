"""Frames of ``chat.completion.chunk`` objects for one choice, made by splicing.

All chunks of a choice differ only in their delta, so everything around it is made into bytes once. A frame is one line:
our own encoder never writes a line break, and one between the tokens of raw JSON is taken out.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from app.schemas import sse
from app.schemas.openai_chat_reply import ChatUsage, ChunkDelta

_encode = msgspec.json.encode


#: Makes frames that differ only in one string, such as those of ``delta.content``: the hot path of a stream.
TextFrame = Callable[[str], bytes]


class ChunkWriter:
    """Writes the frames of one choice.

    Args:
        id: of the completion.
        created: Unix seconds, the same in all chunks.
        model: as Anthropic named it.
        index: of the choice.
        with_usage: every chunk says ``"usage": null`` (the client asked for a usage chunk at the end).
    """

    __slots__ = ("_choice", "_envelope", "_tail", "_usage")

    def __init__(self, *, id: str, created: int, model: str, index: int, with_usage: bool) -> None:  # noqa: A002
        envelope = {"id": id, "object": "chat.completion.chunk", "created": created, "model": model}
        self._envelope = _encode(envelope)[:-1]
        self._choice = b',"choices":[{"index":%d,"delta":' % index
        self._usage = b',"usage":null' if with_usage else b""
        self._tail = b',"logprobs":null,"finish_reason":null}]' + self._usage + b"}\n\n"

    def first(self, *, service_tier: str | None) -> bytes:
        """The chunk that opens the message; the only one that names the service tier, as far as it is known."""
        tier = b',"service_tier":' + _encode(service_tier) if service_tier else b""
        return (
            b"data: "
            + self._envelope
            + tier
            + self._choice
            + _encode(ChunkDelta(role="assistant", content=""))
            + self._tail
        )

    def delta(self, delta: ChunkDelta) -> bytes:
        """A chunk with any delta."""
        json = _encode(delta)
        if b"\n" in json:
            json = json.replace(b"\n", b" ")  # between tokens: inside a string JSON has only the escaped form
        return b"data: " + self._envelope + self._choice + json + self._tail

    def text_frame(self, before: bytes, after: bytes) -> TextFrame:
        """Frames whose delta is ``before``, a string, ``after``."""
        head = b"data: " + self._envelope + self._choice + before
        tail = after + self._tail

        def frame(text: str) -> bytes:
            return head + _encode(text) + tail

        return frame

    def finish(self, reason: str) -> bytes:
        """The last chunk of the choice."""
        return (
            b"data: "
            + self._envelope
            + self._choice
            + b'{},"logprobs":null,"finish_reason":'
            + _encode(reason)
            + b"}]"
            + self._usage
            + b"}\n\n"
        )

    def usage(self, usage: ChatUsage) -> bytes:
        """The chunk without choices that ends a stream with ``include_usage``."""
        return sse.frame(self._envelope + b',"choices":[],"usage":' + _encode(usage) + b"}")
