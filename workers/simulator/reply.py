"""A Message as the simulator answers it: the blocks, why it stopped, and what it used."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import Struct


class Out(Struct, frozen=True, kw_only=True):
    """Base of everything that goes out."""


class TextOut(Out, frozen=True, kw_only=True, tag_field="type", tag="text", omit_defaults=True):
    """Text, with citations where a web search was used."""

    text: str
    citations: list[dict[str, Any]] | None = None


class ThinkingOut(Out, frozen=True, kw_only=True, tag_field="type", tag="thinking"):
    """Thinking; ``thinking`` is empty where the display is ``omitted``."""

    thinking: str
    signature: str


class RedactedThinkingOut(Out, frozen=True, kw_only=True, tag_field="type", tag="redacted_thinking"):
    """Thinking that nobody may read."""

    data: str


class ToolUseOut(Out, frozen=True, kw_only=True, tag_field="type", tag="tool_use"):
    """A call of a client tool."""

    id: str
    name: str
    input: dict[str, Any]


class ServerToolUseOut(Out, frozen=True, kw_only=True, tag_field="type", tag="server_tool_use"):
    """A call of a server tool."""

    id: str
    name: str
    input: dict[str, Any]


class WebSearchResultOut(Out, frozen=True, kw_only=True, tag_field="type", tag="web_search_tool_result"):
    """What a web search found."""

    tool_use_id: str
    content: list[dict[str, Any]]


OutBlock = (
    TextOut | ThinkingOut | RedactedThinkingOut | ToolUseOut | ServerToolUseOut | WebSearchResultOut | dict[str, Any]
)


class CacheCreation(Out, frozen=True, kw_only=True):
    """Cache writes by time to live."""

    ephemeral_5m_input_tokens: int = 0
    ephemeral_1h_input_tokens: int = 0


class OutputTokensDetails(Out, frozen=True, kw_only=True):
    """Part of the output tokens."""

    thinking_tokens: int = 0


class ServerToolUsage(Out, frozen=True, kw_only=True):
    """Calls of server tools."""

    web_search_requests: int = 0
    web_fetch_requests: int = 0


class Usage(Out, frozen=True, kw_only=True):
    """``usage`` of a Message; ``input_tokens`` are those neither read from nor written to the cache."""

    input_tokens: int
    cache_creation_input_tokens: int
    cache_read_input_tokens: int
    cache_creation: CacheCreation
    output_tokens: int
    output_tokens_details: OutputTokensDetails | None = None
    server_tool_use: ServerToolUsage | None = None
    service_tier: str = "standard"
    speed: Literal["standard", "fast"] = "standard"


class Answer(Struct, frozen=True, kw_only=True):
    """What Claude would say.

    Args:
        blocks: the content; a dict is a scripted block, sent as it is.
        stop_reason, stop_sequence, stop_details: as in a Message.
        output_tokens: all of it; ``thinking_tokens`` are a part.
        web_searches: server tool calls made.
    """

    blocks: tuple[OutBlock, ...]
    stop_reason: str
    stop_sequence: str | None = None
    stop_details: dict[str, Any] | None = None
    output_tokens: int = 0
    thinking_tokens: int = 0
    web_searches: int = 0


class MessageOut(Out, frozen=True, kw_only=True, tag_field="type", tag="message", omit_defaults=True):
    """The Message itself."""

    id: str
    role: str
    model: str
    content: tuple[OutBlock, ...]
    stop_reason: str | None
    stop_sequence: str | None
    stop_details: dict[str, Any] | None
    usage: Usage
    input_transformations: list[dict[str, Any]] | None = None


encode = msgspec.json.Encoder().encode
