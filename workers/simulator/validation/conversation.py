"""Roles and their order, which blocks each role may have, empty content, prefill, system messages in the middle."""

from __future__ import annotations

from typing import Final

from msgspec import UNSET

from app.domain.models import ModelFacts
from workers.simulator.errors import Invalid
from workers.simulator.validation.parameters import NO_SAMPLING_VERSION
from workers.simulator.wire import (
    Block,
    ContainerUploadBlock,
    CountTokensRequest,
    DocumentBlock,
    ImageBlock,
    Message,
    RedactedThinkingBlock,
    SearchResultBlock,
    ServerToolUseBlock,
    TextBlock,
    ThinkingBlock,
    ThinkingEnabled,
    ToolResultBlock,
    ToolUseBlock,
)

MAX_MESSAGES: Final = 100_000

_USER: Final = (TextBlock, ImageBlock, DocumentBlock, SearchResultBlock, ToolResultBlock, ContainerUploadBlock)
_NOT_ASSISTANT: Final = (ToolResultBlock, ImageBlock, SearchResultBlock, ContainerUploadBlock)


def check_conversation(request: CountTokensRequest, facts: ModelFacts, version: str) -> None:
    """Checks system prompt and messages, blocks' insides aside.

    Raises:
        Invalid: names the message or block.
    """
    messages = request.messages
    if request.system is not UNSET and not isinstance(request.system, str):
        for index, block in enumerate(request.system):
            if not block.text.strip():
                raise Invalid(
                    "text content blocks must be non-empty", f"system.{index}.text" if block.text else "system"
                )
    if not messages:
        raise Invalid("at least one message is required", "messages")
    if len(messages) > MAX_MESSAGES:
        raise Invalid(
            f"List should have at most {MAX_MESSAGES} items after validation, not {len(messages)}", "messages"
        )
    if messages[0].role == "assistant":
        raise Invalid('first message must use the "user" role', "messages")
    for index, message in enumerate(messages):
        if message.role == "system":
            _check_system_message(messages, index, facts)
        _check_content(messages, index, version)
    if messages[-1].role == "assistant":
        _check_prefill(request, facts)


def _check_system_message(messages: list[Message], index: int, facts: ModelFacts) -> None:
    if not facts.mid_conversation_system:
        raise Invalid(
            'Unexpected role "system". The Messages API accepts a top-level `system` parameter, not "system" as an'
            " input message role.",
            "messages",
        )
    before = messages[index - 1].role if index else "assistant"
    after = messages[index + 1].role if index + 1 < len(messages) else "assistant"
    if before == "assistant" or after == "user":
        raise Invalid(
            '"system" messages must come right after a "user" message and before an "assistant" message or the end.',
            f"messages.{index}",
        )


def _check_content(messages: list[Message], index: int, version: str) -> None:
    message = messages[index]
    content = message.content
    if not content:
        if not (message.role == "assistant" and index == len(messages) - 1):
            raise Invalid(
                "all messages must have non-empty content except for the optional final assistant message",
                f"messages.{index}",
            )
        return
    if isinstance(content, str):
        if not content.strip():
            raise Invalid("text content blocks must contain non-whitespace text", "messages")
        return
    for number, block in enumerate(content):
        if isinstance(block, TextBlock):
            _check_text(block, message.role, f"messages.{index}.content.{number}", version)
        else:
            _check_kind(block, message.role, f"messages.{index}.content.{number}", version)


def _check_text(block: TextBlock, role: str, path: str, version: str) -> None:
    if not block.text:
        raise Invalid("text content blocks must be non-empty", "messages")
    if not block.text.strip():
        raise Invalid("text content blocks must contain non-whitespace text", "messages")
    if block.citations and role != "assistant" and version >= NO_SAMPLING_VERSION:
        raise Invalid("Extra inputs are not permitted", f"{path}.text.citations")


def _check_kind(block: Block, role: str, path: str, version: str) -> None:
    """Whether a block may be in a message of this role."""
    kind = type(block).__struct_config__.tag
    if role == "system":
        raise Invalid(f"Input tag '{kind}' found using 'type' does not match any of the expected tags: 'text'", path)
    if role == "user" and not isinstance(block, _USER):
        if isinstance(block, (ToolUseBlock, ThinkingBlock, RedactedThinkingBlock)):
            raise Invalid(f"`{kind}` blocks can only be in `assistant` messages", path)
        raise Invalid(f"`{kind}` blocks are not permitted in `user` messages", path)
    if role == "assistant":
        if isinstance(block, _NOT_ASSISTANT):
            raise Invalid(f"`{kind}` blocks can only be in `user` messages", path)
        if isinstance(block, DocumentBlock) and version >= NO_SAMPLING_VERSION:
            raise Invalid("`document` blocks are not permitted in `assistant` messages", path)


def _check_prefill(request: CountTokensRequest, facts: ModelFacts) -> None:
    """A conversation that ends with the assistant: a paused turn is continued, anything else is prefill."""
    content = request.messages[-1].content
    if not isinstance(content, str) and any(isinstance(block, ServerToolUseBlock) for block in content):
        return
    if not facts.prefill:
        raise Invalid(
            "This model does not support assistant message prefill. The conversation must end with a user message."
        )
    if isinstance(request.thinking, ThinkingEnabled):
        raise Invalid(
            "Prefill is not supported when thinking is enabled. The conversation must end with a user message."
        )
    last = (
        content
        if isinstance(content, str)
        else (content[-1].text if content and isinstance(content[-1], TextBlock) else "")
    )
    if last != last.rstrip():
        raise Invalid("final assistant content cannot end with trailing whitespace", "messages")
