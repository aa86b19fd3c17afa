"""Content blocks of a stream put together again, exactly as a plain reply would have carried them.

Needed where a block goes back to Anthropic (thinking, the blocks of server tools) or where a stream stands in for a
plain reply: fields that this code does not know survive unchanged.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from msgspec import Raw

from app.errors import BadUpstreamReply
from app.schemas.anthropic_reply import (
    ContentBlockDelta,
    ContentBlockStart,
    Delta,
    InputJsonDelta,
    SignatureDelta,
    TextBlock,
    TextDelta,
    ThinkingDelta,
    decode_block,
)

#: Key of the only field of a tool's ``input`` that could not be read as a JSON object. ``tools.py`` makes the same of a
#: client's malformed arguments.
RAW_ARGUMENTS = "_raw_arguments"

_encode = msgspec.json.encode
_FIELDS = msgspec.json.Decoder(dict[str, Raw])
_TEXT = msgspec.json.Decoder(str)
_CITATIONS: msgspec.json.Decoder[list[Raw] | None] = msgspec.json.Decoder(list[Raw] | None)


class BlockAccumulator:
    """One content block: what it started with, and its deltas.

    Raises:
        ValueError: the block is not an object.
    """

    __slots__ = ("_citations", "_fields", "_input", "_pieces", "_signature")

    def __init__(self, content_block: Raw) -> None:
        self._fields = _FIELDS.decode(content_block)
        self._pieces: dict[str, list[str]] = {}
        self._input: list[str] = []
        self._signature: str | None = None
        self._citations: list[Raw] = []

    def add(self, delta: Delta) -> None:
        """Takes one delta."""
        match delta:
            case TextDelta():
                self._pieces.setdefault("text", []).append(delta.text)
            case ThinkingDelta():
                self._pieces.setdefault("thinking", []).append(delta.thinking)
            case InputJsonDelta():
                self._input.append(delta.partial_json)
            case SignatureDelta():
                self._signature = delta.signature
            case _:
                self._citations.append(delta.citation)

    def fields(self) -> dict[str, Raw]:
        """The block so far, field by field, in the order of the wire.

        Raises:
            ValueError: a delta does not fit the block.
        """
        fields = dict(self._fields)
        for name, pieces in self._pieces.items():
            start = _TEXT.decode(fields[name]) if name in fields else ""
            fields[name] = Raw(_encode(start + "".join(pieces)))
        if self._signature is not None:
            fields["signature"] = Raw(_encode(self._signature))
        if self._citations:
            start_citations = _CITATIONS.decode(fields.get("citations", b"null")) or []
            fields["citations"] = Raw(_encode(start_citations + self._citations))
        if input_text := "".join(self._input):
            fields["input"] = input_json(input_text)
        return fields

    def block(self) -> Raw:
        """The block so far, as JSON."""
        return Raw(_encode(self.fields()))


def input_json(text: str) -> Raw:
    """The ``input`` of a tool call from its JSON text; what is no object is wrapped, see ``RAW_ARGUMENTS``."""
    try:
        _FIELDS.decode(text)
    except (ValueError, RecursionError):
        return Raw(_encode({RAW_ARGUMENTS: text}))
    return Raw(text.encode())


class ContentAccumulator:
    """The content of a message from the events of its blocks."""

    __slots__ = ("_blocks",)

    def __init__(self) -> None:
        self._blocks: dict[int, BlockAccumulator] = {}

    def start(self, event: ContentBlockStart) -> BlockAccumulator:
        """A block begins; ``add`` finds it by its index."""
        block = self._blocks[event.index] = BlockAccumulator(event.content_block)
        return block

    def add(self, event: ContentBlockDelta) -> None:
        """A block goes on.

        Raises:
            BadUpstreamReply: it never began.
        """
        block = self._blocks.get(event.index)
        if block is None:
            raise BadUpstreamReply("The upstream continued a content block that it had not begun.")
        block.add(event.delta)

    def blocks(self) -> list[Raw]:
        """All blocks in order, as JSON."""
        return [block.block() for _, block in sorted(self._blocks.items())]

    def sendable_blocks(self) -> list[Raw]:
        """The blocks as the content of an assistant turn, see ``sendable``."""
        return sendable(self.blocks())


def sendable(blocks: Iterable[Raw]) -> list[Raw]:
    """The blocks of a reply that may stand in a request: all but blank text, which Anthropic refuses there."""
    return [block for block in blocks if not _is_blank_text(block)]


def _is_blank_text(block: Raw) -> bool:
    typed = decode_block(block)
    return isinstance(typed, TextBlock) and not typed.text.strip()
