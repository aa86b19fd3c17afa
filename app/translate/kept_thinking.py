"""Answers with tool calls that were kept, and when one of them stands for what a client sends back of it.

The chat format cannot say in which order thinking, text and calls came, and most clients drop the thinking. So the
exact content of an answer is kept by the id of its first call, and put back where the client's message still says the
same (``spec/chat-completions.md`` section 6).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw

from app.schemas import anthropic
from app.schemas import anthropic_reply as reply
from app.schemas import openai_chat as openai
from app.translate.chat_decoding import DecodedChat
from app.translate.received import received_blocks
from app.translate.tool_calls import arguments_text, custom_input

_RAWS: Final = msgspec.json.Decoder(list[Raw])
_ANYTHING: Final = msgspec.json.Decoder()
_encode = msgspec.json.encode


def kept_ids(chat: DecodedChat) -> tuple[str, ...]:
    """Of each assistant message with tool calls the id of its first one: what its answer may be kept by."""
    return tuple(
        message.tool_calls[0].id
        for message in chat.request.messages
        if isinstance(message, openai.AssistantMessage) and message.tool_calls
    )


def kept_record(content: Sequence[Raw]) -> tuple[str, bytes] | None:
    """What to keep of an answer.

    Args:
        content: its blocks, as ``ChatStream.content`` or ``answer_content`` gives them.

    Returns:
        The id of its first tool call, and its content as a JSON array; None without a tool call.

    Raises:
        ValueError: a block is not one.
    """
    for raw in content:
        block = reply.decode_block(raw)
        if isinstance(block, reply.ToolUseBlock):
            return block.id, _encode(content)
    return None


def matching_content(kept: bytes, said: Sequence[anthropic.Block]) -> list[anthropic.ReceivedBlock] | None:
    """The kept content of an answer, where the client's message says the same.

    Args:
        kept: a JSON array of content blocks as Anthropic sent them.
        said: the client's message translated: text, then calls.

    Returns:
        The blocks, in their order; None when they cannot be read, or the message was edited.
    """
    try:
        blocks = [reply.decode_block(raw) for raw in _RAWS.decode(kept)]
        calls = [block for block in blocks if isinstance(block, reply.ToolUseBlock)]
        text = "".join(block.text for block in blocks if isinstance(block, reply.TextBlock))
        said_text = "".join(block.text for block in said if isinstance(block, anthropic.TextBlock))
        said_calls = [block for block in said if isinstance(block, anthropic.ToolUseBlock)]
        is_same = (
            len(calls) == len(said_calls)
            and text.strip() == said_text.strip()
            and all(map(_is_same_call, said_calls, calls))
        )
        return received_blocks(kept) if is_same else None
    except (ValueError, RecursionError):
        return None


def _is_same_call(said: anthropic.ToolUseBlock, made: reply.ToolUseBlock) -> bool:
    if (said.id, said.name) != (made.id, made.name):
        return False
    if _is_same(_ANYTHING.decode(_encode(said.input)), _ANYTHING.decode(made.input)):
        return True
    if isinstance(said.input, dict) and isinstance(text := said.input.get("input"), str):
        return custom_input(arguments_text(made.input)) == text  # of a custom tool that was called in another shape
    return False


def _is_same(one: Any, other: Any) -> bool:
    """Whether two values of JSON mean the same; 1 is 1.0, as for JavaScript, but not true, as for Python."""
    match one, other:
        case dict(), dict():
            return one.keys() == other.keys() and all(_is_same(value, other[key]) for key, value in one.items())
        case list(), list():
            return len(one) == len(other) and all(map(_is_same, one, other))
        case _:
            return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)
