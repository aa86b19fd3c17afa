"""What each kind of content block adds to a stream of ``chat.completion.chunk`` frames.

``ChatStream`` opens a ``Block`` for every content block of Anthropic's and hands it the block's deltas. Table:
spec/chat-completions.md section 5, "Stream".

NOTE: openai's ``.stream()`` helper puts entries of a list together by their ``index`` and fails on a second delta of a
list whose entries have none. So of ``thinking_blocks``, ``annotations`` and ``citations`` the entries of the first
delta are bare, and later ones carry ``index``, their place in the list.
"""

from __future__ import annotations

from typing import Protocol

import msgspec
from msgspec import UNSET, Raw, Struct

from app.schemas.anthropic_reply import (
    CitationsDelta,
    Delta,
    RedactedThinkingBlock,
    TextBlock,
    TextDelta,
    ThinkingBlock,
    ThinkingDelta,
)
from app.schemas.openai_chat_reply import Annotation, ChunkDelta
from app.translate.annotations import split_citations
from app.translate.chat_chunks import ChunkWriter, TextFrame
from app.translate.content_accumulator import BlockAccumulator
from app.translate.reasoning import reasoning_detail

_FIELDS = msgspec.json.Decoder(dict[str, Raw])
_REASONING: msgspec.json.Decoder[ThinkingBlock | RedactedThinkingBlock] = msgspec.json.Decoder(
    ThinkingBlock | RedactedThinkingBlock
)


class Block(Protocol):
    """A content block on its way to the client; every method returns the frames that are due, often none."""

    def open(self) -> bytes:
        """The block begins."""
        ...

    def add(self, delta: Delta) -> bytes:
        """The block goes on; a delta that does not belong to its kind is skipped."""
        ...

    def close(self) -> bytes:
        """The block is complete."""
        ...


class Progress(Struct):
    """What of an answer has been sent; shared by its blocks."""

    text_chars: int = 0
    tool_calls: int = 0
    annotations: int = 0
    citations: int = 0
    thinking_blocks: int = 0


class HiddenBlock:
    """A block that the client does not see: a server tool, thinking that was not asked for, a kind we do not know."""

    __slots__ = ()

    def open(self) -> bytes:
        """Nothing."""
        return b""

    def add(self, delta: Delta) -> bytes:
        """Nothing."""
        return b""

    def close(self) -> bytes:
        """Nothing."""
        return b""


class KeptBlock:
    """A block that may have to be sent back to Anthropic: it is also put together as it was received."""

    __slots__ = ("_block", "_kept")

    def __init__(self, block: Block, kept: BlockAccumulator) -> None:
        self._block = block
        self._kept = kept

    def open(self) -> bytes:
        """As the block."""
        return self._block.open()

    def add(self, delta: Delta) -> bytes:
        """As the block."""
        self._kept.add(delta)
        return self._block.add(delta)

    def close(self) -> bytes:
        """As the block."""
        return self._block.close()


class ContentText:
    """A text block as ``delta.content``; its citations follow when it is complete."""

    __slots__ = ("_chars", "_citations", "_frame", "_progress", "_start", "_writer")

    def __init__(self, block: TextBlock, writer: ChunkWriter, frame: TextFrame, progress: Progress) -> None:
        self._writer = writer
        self._frame = frame
        self._progress = progress
        self._start = block.text
        self._chars = len(block.text)
        self._citations = list(block.citations or ())

    def open(self) -> bytes:
        """The text that the block begins with, usually none."""
        return self._frame(self._start) if self._start else b""

    def add(self, delta: Delta) -> bytes:
        """More text."""
        if type(delta) is TextDelta:
            self._chars += len(delta.text)
            return self._frame(delta.text) if delta.text else b""
        if type(delta) is CitationsDelta:
            self._citations.append(delta.citation)
        return b""

    def close(self) -> bytes:
        """The block's citations."""
        progress = self._progress
        start = progress.text_chars
        progress.text_chars += self._chars
        if not self._citations:
            return b""
        annotations, others = split_citations(self._citations, start=start, end=progress.text_chars)
        delta = ChunkDelta(
            annotations=_placed_annotations(annotations, progress.annotations) or UNSET,
            citations=_placed(others, progress.citations) or UNSET,
        )
        progress.annotations += len(annotations)
        progress.citations += len(others)
        return self._writer.delta(delta)


class Reasoning:
    """A thinking block: its text as it comes, and the whole block, which the client sends back, when it is complete."""

    __slots__ = ("_block", "_details", "_frame", "_progress", "_start", "_writer")

    def __init__(
        self, content_block: Raw, start: str, writer: ChunkWriter, progress: Progress, *, with_details: bool
    ) -> None:
        self._block = BlockAccumulator(content_block)
        self._start = start
        self._writer = writer
        self._details = with_details
        self._progress = progress
        self._frame = writer.text_frame(b'{"reasoning_content":', b"}")

    def open(self) -> bytes:
        """The text that the block begins with, usually none."""
        return self._text(self._start)

    def add(self, delta: Delta) -> bytes:
        """More thinking, or the signature."""
        self._block.add(delta)
        return self._text(delta.thinking) if type(delta) is ThinkingDelta else b""

    def close(self) -> bytes:
        """The whole block."""
        place = self._progress.thinking_blocks
        self._progress.thinking_blocks += 1
        block = self._block.block()
        return self._writer.delta(
            ChunkDelta(
                thinking_blocks=_placed([block], place),
                reasoning_details=[reasoning_detail(_REASONING.decode(block), place)] if self._details else UNSET,
            )
        )

    def _text(self, text: str) -> bytes:
        if not text:
            return b""
        if self._details:
            return self._writer.delta(ChunkDelta(reasoning_content=text, reasoning=text))
        return self._frame(text)


def _placed(entries: list[Raw], before: int) -> list[Raw]:
    """Entries of a list of which ``before`` have been sent (see the note above)."""
    if not before:
        return entries
    return [
        Raw(msgspec.json.encode({**_FIELDS.decode(entry), "index": before + place}))
        for place, entry in enumerate(entries)
    ]


def _placed_annotations(annotations: list[Annotation], before: int) -> list[Annotation]:
    if not before:
        return annotations
    return [msgspec.structs.replace(annotation, index=before + place) for place, annotation in enumerate(annotations)]
