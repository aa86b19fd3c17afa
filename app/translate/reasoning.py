"""Thinking blocks as OpenRouter's ``reasoning_details``, for clients that asked for them.

Form: spec/chat-completions.md section 6. LiteLLM's ``thinking_blocks`` need no translation: they are
Anthropic's blocks.
"""

from __future__ import annotations

from app.schemas.anthropic_reply import RedactedThinkingBlock, ThinkingBlock
from app.schemas.openai_chat_reply import ReasoningDetail


def reasoning_detail(block: ThinkingBlock | RedactedThinkingBlock, index: int) -> ReasoningDetail:
    """One thinking block; ``index`` counts those of the answer."""
    if isinstance(block, ThinkingBlock):
        return ReasoningDetail(type="reasoning.text", text=block.thinking, signature=block.signature, index=index)
    return ReasoningDetail(type="reasoning.encrypted", data=block.data, index=index)
