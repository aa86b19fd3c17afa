"""A request as a row of pieces, in the order that Claude reads them: tools, system, messages.

Everything that depends on the prompt as such is computed from these pieces: its tokens, its cached prefix, and the
prefix that a thinking block is bound to. ``cache_control`` is no part of a piece's bytes.

Token rule: a text has one token for every four bytes of UTF-8, rounded up; an image has 1600, a PDF or a document
that Anthropic would fetch 2000; any other block or tool counts as its compact JSON; every message adds 4.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, Final

import msgspec
from msgspec import UNSET, Struct

from workers.simulator.wire import (
    Block,
    CacheControl,
    ContentSource,
    CountTokensRequest,
    DocumentBlock,
    ImageBlock,
    PlainText,
    RedactedThinkingBlock,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
)

IMAGE_TOKENS: Final = 1600
DOCUMENT_TOKENS: Final = 2000
MESSAGE_TOKENS: Final = 4

_encode = msgspec.json.Encoder().encode


class Piece(Struct, frozen=True):
    """A tool, a system block or a content block.

    Args:
        data: its bytes, with who says it in front.
        tokens: by the token rule.
        ttl: ``5m`` or ``1h`` where it carries a cache breakpoint.
        block: the content block itself, None for tools and system.
        path: ``(message, block)``, ``(-1, n)`` for tools and system.
    """

    data: bytes
    tokens: int
    ttl: str | None
    block: Block | None
    path: tuple[int, int]

    @property
    def is_thinking(self) -> bool:
        """Whether it is thinking that is handed back."""
        return isinstance(self.block, (ThinkingBlock, RedactedThinkingBlock))


def text_tokens(text: str) -> int:
    """Tokens of a text: its UTF-8 bytes divided by four, rounded up."""
    size = len(text) if text.isascii() else len(text.encode())
    return (size + 3) >> 2


def pieces_of(request: CountTokensRequest) -> list[Piece]:
    """The pieces of a request, in reading order."""
    pieces: list[Piece] = []
    for index, tool in enumerate(request.tools or ()):
        data = _encode(_unmarked(tool))
        pieces.append(Piece(b"T" + data, _quarter(len(data)), _ttl(tool.cache_control), None, (-1, index)))
    if isinstance(request.system, str):
        pieces.append(_text_piece(b"S", request.system, None, None, (-1, 0)))
    elif request.system is not UNSET:
        for index, block in enumerate(request.system):
            pieces.append(_text_piece(b"S", block.text, block.cache_control, None, (-1, index)))
    for number, message in enumerate(request.messages):
        who = message.role[0].encode()
        extra = MESSAGE_TOKENS
        content = message.content
        for index, item in enumerate((TextBlock(text=content),) if isinstance(content, str) else content):
            if isinstance(item, TextBlock):
                pieces.append(_text_piece(who, item.text, item.cache_control, item, (number, index), extra))
            else:
                pieces.append(_block_piece(who, item, (number, index), extra))
            extra = 0
    return pieces


def total_tokens(pieces: Iterable[Piece]) -> int:
    """Tokens of a whole prompt."""
    return sum(piece.tokens for piece in pieces)


def _text_piece(
    who: bytes, text: str, mark: CacheControl | None, block: Block | None, path: tuple[int, int], extra: int = 0
) -> Piece:
    data = text.encode()
    return Piece(who + data, _quarter(len(data)) + extra, _ttl(mark), block, path)


def _block_piece(who: bytes, block: Block, path: tuple[int, int], extra: int) -> Piece:
    mark = getattr(block, "cache_control", None)
    return Piece(who + b"\0" + _encode(_unmarked(block)), block_tokens(block) + extra, _ttl(mark), block, path)


def block_tokens(block: Any) -> int:
    """Tokens of a content block by the token rule."""
    if isinstance(block, TextBlock):
        return text_tokens(block.text)
    if isinstance(block, ImageBlock):
        return IMAGE_TOKENS
    if isinstance(block, DocumentBlock):
        source = block.source
        if isinstance(source, PlainText):
            return text_tokens(source.data)
        if isinstance(source, ContentSource):
            return _content_tokens(source.content)
        return DOCUMENT_TOKENS
    if isinstance(block, ToolResultBlock):
        return MESSAGE_TOKENS + (0 if block.content is UNSET else _content_tokens(block.content))
    return _quarter(len(_encode(_unmarked(block))))


def _content_tokens(content: str | list[Any]) -> int:
    return text_tokens(content) if isinstance(content, str) else sum(block_tokens(block) for block in content)


def _quarter(size: int) -> int:
    return (size + 3) >> 2


def _ttl(mark: CacheControl | None) -> str | None:
    return mark.ttl if mark is not None else None


def _unmarked(item: Any) -> Any:
    """The item without its cache breakpoint, which is no part of the prompt."""
    return msgspec.structs.replace(item, cache_control=None) if getattr(item, "cache_control", None) else item


class PrefixHash:
    """Hash of the conversation up to a point, without the thinking in it: what a thinking block is bound to."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=16)

    def add(self, piece: Piece) -> None:
        """Goes past a piece; thinking leaves no trace, so that dropping some of it changes nothing."""
        if not piece.is_thinking:
            self._hash.update(len(piece.data).to_bytes(8, "big") + piece.data)

    def digest(self) -> bytes:
        """Sixteen bytes for everything so far."""
        return self._hash.digest()


def prefix_digest(pieces: Iterable[Piece]) -> bytes:
    """``PrefixHash`` of a whole prompt."""
    prefix = PrefixHash()
    for piece in pieces:
        prefix.add(piece)
    return prefix.digest()
