from __future__ import annotations

import msgspec

from app.schemas.anthropic_reply import RedactedThinkingBlock, ThinkingBlock
from app.translate.reasoning import reasoning_detail


def test_thinking_is_a_text_with_its_signature() -> None:
    assert msgspec.to_builtins(reasoning_detail(ThinkingBlock("hm", "SIG=="), 2)) == {
        "type": "reasoning.text",
        "text": "hm",
        "signature": "SIG==",
        "format": "anthropic-claude-v1",
        "index": 2,
    }


def test_redacted_thinking_is_encrypted_data() -> None:
    assert msgspec.to_builtins(reasoning_detail(RedactedThinkingBlock("blob"), 0)) == {
        "type": "reasoning.encrypted",
        "data": "blob",
        "format": "anthropic-claude-v1",
        "index": 0,
    }
