"""The request of ``POST /v1/messages`` as Anthropic defines it (anthropic 2.12): what translation builds and encodes.

The structs are mutable on purpose: they are the work in progress of one translation (a cache marker goes onto the last
block of a message once that is known) and are encoded right after. ``UNSET`` fields are left out. They cannot form
cycles, so the garbage collector need not look at them. Types only.
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import UNSET, Raw, Struct, UnsetType


class CacheControl(Struct, kw_only=True, gc=False):
    """Marks the end of a prefix to cache; without ``ttl`` for 5 minutes."""

    type: Literal["ephemeral"] = "ephemeral"
    ttl: Literal["5m", "1h"] | UnsetType = UNSET


class TextBlock(Struct, tag_field="type", tag="text", gc=False):
    """Text."""

    text: str
    cache_control: CacheControl | UnsetType = UNSET


class Base64Source(Struct, tag_field="type", tag="base64", gc=False):
    """Media by content; ``data`` is the JSON string of checked base64, which needs no escaping."""

    media_type: str
    data: Raw


class URLSource(Struct, tag_field="type", tag="url", gc=False):
    """Media by address, fetched by Anthropic."""

    url: str


class TextSource(Struct, tag_field="type", tag="text", gc=False):
    """A document of plain text."""

    data: str
    media_type: str = "text/plain"


class FileSource(Struct, tag_field="type", tag="file", gc=False):
    """A file uploaded to Anthropic before."""

    file_id: str


class ImageBlock(Struct, tag_field="type", tag="image", gc=False):
    """An image."""

    source: Base64Source | URLSource
    cache_control: CacheControl | UnsetType = UNSET


class DocumentBlock(Struct, tag_field="type", tag="document", gc=False):
    """A PDF or a text file."""

    source: Base64Source | TextSource | FileSource
    title: str | UnsetType = UNSET
    cache_control: CacheControl | UnsetType = UNSET


class ThinkingBlock(Struct, tag_field="type", tag="thinking", gc=False):
    """Thinking that goes back unmodified."""

    thinking: str
    signature: str


class RedactedThinkingBlock(Struct, tag_field="type", tag="redacted_thinking", gc=False):
    """Encrypted thinking that goes back unmodified."""

    data: str


class ToolUseBlock(Struct, tag_field="type", tag="tool_use", gc=False):
    """A call the assistant made; ``input`` is a JSON object."""

    id: str
    name: str
    input: Raw | dict[str, Any]
    cache_control: CacheControl | UnsetType = UNSET


class ToolResultBlock(Struct, tag_field="type", tag="tool_result", gc=False):
    """What a call returned."""

    tool_use_id: str
    content: str | list[TextBlock | ImageBlock] | UnsetType = UNSET
    is_error: bool | UnsetType = UNSET
    cache_control: CacheControl | UnsetType = UNSET


#: A block of an answer as Anthropic sent it, field by field: it goes back unchanged, but for a cache marker.
ReceivedBlock = dict[str, Any]
MarkableBlock = TextBlock | ImageBlock | DocumentBlock | ToolUseBlock | ToolResultBlock
Block = MarkableBlock | ThinkingBlock | RedactedThinkingBlock | ReceivedBlock


class Message(Struct, gc=False):
    """One turn."""

    role: Literal["user", "assistant", "system"]
    content: list[Block]


class Tool(Struct, kw_only=True, gc=False):
    """A tool that the client runs."""

    name: str
    description: str | UnsetType = UNSET
    input_schema: Raw
    strict: bool | UnsetType = UNSET
    cache_control: CacheControl | UnsetType = UNSET


class WebSearchLocation(Struct, tag_field="type", tag="approximate", gc=False):
    """Where the user is, roughly."""

    city: str | UnsetType = UNSET
    country: str | UnsetType = UNSET
    region: str | UnsetType = UNSET
    timezone: str | UnsetType = UNSET


class WebSearchTool(Struct, tag_field="type", tag="web_search_20250305", gc=False):
    """Web search, run by Anthropic; the basic variant, which every model has."""

    name: str = "web_search"
    max_uses: int | UnsetType = UNSET
    user_location: WebSearchLocation | UnsetType = UNSET


class ToolChoice(Struct, gc=False):
    """Which tool is called: ``auto``, ``any``, ``tool`` (with ``name``) or ``none``."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | UnsetType = UNSET
    disable_parallel_tool_use: bool | UnsetType = UNSET


class Metadata(Struct, gc=False):
    """Who the end user is, as a pseudonym."""

    user_id: str


class MessagesRequest(Struct, kw_only=True, gc=False):
    """The whole request."""

    model: str
    max_tokens: int
    stream: bool | UnsetType = UNSET
    cache_control: CacheControl | UnsetType = UNSET
    system: list[TextBlock] | UnsetType = UNSET
    messages: list[Message]
    tools: list[Tool | WebSearchTool] | UnsetType = UNSET
    tool_choice: ToolChoice | UnsetType = UNSET
    thinking: dict[str, Any] | UnsetType = UNSET
    output_config: dict[str, Any] | UnsetType = UNSET
    temperature: float | UnsetType = UNSET
    top_p: float | UnsetType = UNSET
    top_k: int | UnsetType = UNSET
    stop_sequences: list[str] | UnsetType = UNSET
    metadata: Metadata | UnsetType = UNSET
    service_tier: Literal["auto", "standard_only"] | UnsetType = UNSET
    speed: Literal["fast"] | UnsetType = UNSET
    inference_geo: str | UnsetType = UNSET
