"""Blocks of Claude's answers as they were received, for sending them back: objects whose fields are not looked into.

Each is a ``dict[str, Raw]``, so that fields and kinds of blocks that nobody here knows go back as they came.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Raw

from app.schemas import anthropic

_BLOCKS: Final = msgspec.json.Decoder(list[dict[str, Raw]])
_THOUGHT: Final = (anthropic.ThinkingBlock, anthropic.RedactedThinkingBlock)
_THOUGHT_KINDS: Final = frozenset({b'"thinking"', b'"redacted_thinking"'})


def received_blocks(content: bytes | Raw) -> list[anthropic.ReceivedBlock]:
    """The blocks of a JSON array.

    Raises:
        ValueError: it is not one of objects.
    """
    return list(_BLOCKS.decode(content))


def is_thought(block: anthropic.Block) -> bool:
    """Whether a block of a request is thinking, received or translated."""
    if isinstance(block, dict):
        return bytes(block.get("type", b"")) in _THOUGHT_KINDS
    return isinstance(block, _THOUGHT)
