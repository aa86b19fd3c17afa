"""Thinking that clients hand back: LiteLLM's ``thinking_blocks`` or OpenRouter's ``reasoning_details``.

Within a tool-use turn Claude wants its thinking back complete and unmodified, before text and calls. Without a
signature it cannot be replayed (``spec/chat-completions.md`` section 6).
"""

from __future__ import annotations

from collections.abc import Iterator

from app.schemas import anthropic
from app.schemas import openai_chat as openai
from app.translate.notes import Notes

Thought = anthropic.ThinkingBlock | anthropic.RedactedThinkingBlock

_UNSIGNED = "thinking without a signature cannot be replayed"


def of_message(message: openai.AssistantMessage, index: int, notes: Notes) -> tuple[list[Thought], str]:
    """The blocks of one assistant message, and the path of the field they came from; ``index`` is the message's."""
    if message.thinking_blocks:
        here = f"messages[{index}].thinking_blocks"
        return list(_from_blocks(message.thinking_blocks, here, notes)), here
    if message.reasoning_details:
        here = f"messages[{index}].reasoning_details"
        return list(_from_details(message.reasoning_details, here, notes)), here
    if message.reasoning_content:
        notes.ignore(f"messages[{index}].reasoning_content", _UNSIGNED)
    if message.reasoning:
        notes.ignore(f"messages[{index}].reasoning", _UNSIGNED)
    return [], ""


def _from_blocks(
    blocks: list[openai.ThinkingBlock | openai.RedactedThinkingBlock], path: str, notes: Notes
) -> Iterator[Thought]:
    for index, block in enumerate(blocks):
        if isinstance(block, openai.RedactedThinkingBlock):
            yield anthropic.RedactedThinkingBlock(block.data)
        elif block.signature:
            yield anthropic.ThinkingBlock(block.thinking, block.signature)
        else:
            notes.ignore(f"{path}[{index}]", _UNSIGNED)


def _from_details(details: list[openai.ReasoningDetail], path: str, notes: Notes) -> Iterator[Thought]:
    for index, detail in enumerate(details):
        if detail.type == "reasoning.encrypted" and detail.data:
            yield anthropic.RedactedThinkingBlock(detail.data)
        elif detail.type == "reasoning.text" and detail.signature:
            yield anthropic.ThinkingBlock(detail.text or "", detail.signature)
        else:
            notes.ignore(f"{path}[{index}]", _UNSIGNED)
