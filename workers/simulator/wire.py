"""Messages requests as typed values: every field of the public API, and nothing else is accepted.

The shapes follow the parameter types of the ``anthropic`` SDK 2.12. Fields of beta features are here too, as opaque
values; ``validation/shape.py`` refuses them unless the beta header for them is sent.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType


class Wire(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of everything that comes in: unknown fields are an error."""


class CacheControl(Wire, frozen=True, tag_field="type", tag="ephemeral"):
    """A cache breakpoint."""

    ttl: Literal["5m", "1h"] = "5m"


class TextBlock(Wire, frozen=True, tag_field="type", tag="text"):
    """Text."""

    text: str
    cache_control: CacheControl | None = None
    citations: list[dict[str, Any]] | None = None


class Base64Image(Wire, frozen=True, tag_field="type", tag="base64"):
    """An image in the request."""

    media_type: Literal["image/jpeg", "image/png", "image/gif", "image/webp"]
    data: str


class UrlSource(Wire, frozen=True, tag_field="type", tag="url"):
    """Something Anthropic fetches."""

    url: str


class FileSource(Wire, frozen=True, tag_field="type", tag="file"):
    """Something uploaded before."""

    file_id: str


class ImageTransformations(Wire, frozen=True):
    """What to do with a large image."""

    oversized_image: Literal["downsize", "error"] = "downsize"


class ImageBlock(Wire, frozen=True, tag_field="type", tag="image"):
    """An image."""

    source: Base64Image | UrlSource | FileSource
    cache_control: CacheControl | None = None
    transformations: ImageTransformations | None = None


class Base64Pdf(Wire, frozen=True, tag_field="type", tag="base64"):
    """A PDF in the request."""

    media_type: Literal["application/pdf"]
    data: str


class PlainText(Wire, frozen=True, tag_field="type", tag="text"):
    """A text document."""

    media_type: Literal["text/plain"]
    data: str


class ContentSource(Wire, frozen=True, tag_field="type", tag="content"):
    """A document made of blocks."""

    content: str | list[TextBlock | ImageBlock]


class CitationsConfig(Wire, frozen=True):
    """Whether citations are wanted."""

    enabled: bool = False


class DocumentBlock(Wire, frozen=True, tag_field="type", tag="document"):
    """A document."""

    source: Base64Pdf | PlainText | ContentSource | UrlSource | FileSource
    cache_control: CacheControl | None = None
    citations: CitationsConfig | None = None
    context: str | None = None
    title: str | None = None


class SearchResultBlock(Wire, frozen=True, tag_field="type", tag="search_result"):
    """A search result the client brings."""

    content: list[TextBlock]
    source: str
    title: str
    cache_control: CacheControl | None = None
    citations: CitationsConfig | None = None


class ThinkingBlock(Wire, frozen=True, tag_field="type", tag="thinking"):
    """Thinking that is handed back."""

    thinking: str
    signature: str


class RedactedThinkingBlock(Wire, frozen=True, tag_field="type", tag="redacted_thinking"):
    """Encrypted thinking that is handed back."""

    data: str


class ToolUseBlock(Wire, frozen=True, tag_field="type", tag="tool_use"):
    """A call of a client tool."""

    id: str
    name: str
    input: dict[str, Any]
    cache_control: CacheControl | None = None
    caller: dict[str, Any] | None = None
    toolset_name: str | None = None


class ToolReferenceBlock(Wire, frozen=True, tag_field="type", tag="tool_reference"):
    """A tool found by a tool search."""

    tool_name: str
    cache_control: CacheControl | None = None


class BrowserStateBlock(Wire, frozen=True, tag_field="type", tag="browser_state"):
    """State of a browser after a call of the browser toolset."""

    tabs: list[dict[str, Any]]
    cache_control: CacheControl | None = None
    state_changes: list[dict[str, Any]] | None = None


class ToolResultBlock(Wire, frozen=True, tag_field="type", tag="tool_result"):
    """The result of a client tool."""

    tool_use_id: str
    content: (
        str
        | list[TextBlock | ImageBlock | SearchResultBlock | DocumentBlock | ToolReferenceBlock | BrowserStateBlock]
        | UnsetType
    ) = UNSET
    is_error: bool | None = None
    cache_control: CacheControl | None = None
    toolset_name: str | None = None


class ServerToolUseBlock(Wire, frozen=True, tag_field="type", tag="server_tool_use"):
    """A call of a tool that Anthropic runs."""

    id: str
    name: str
    input: dict[str, Any]
    cache_control: CacheControl | None = None
    caller: dict[str, Any] | None = None


class WebSearchResult(Wire, frozen=True, tag_field="type", tag="web_search_result"):
    """One hit of a web search."""

    url: str
    title: str
    encrypted_content: str
    page_age: str | None = None


class WebSearchError(Wire, frozen=True, tag_field="type", tag="web_search_tool_result_error"):
    """A web search that failed."""

    error_code: str


class WebSearchToolResultBlock(Wire, frozen=True, tag_field="type", tag="web_search_tool_result"):
    """The result of a web search."""

    tool_use_id: str
    content: list[WebSearchResult] | WebSearchError
    cache_control: CacheControl | None = None
    caller: dict[str, Any] | None = None


class _OpaqueResult(Wire, frozen=True):
    """The result of a server tool that the simulator does not have; kept as it is."""

    tool_use_id: str
    content: Any
    cache_control: CacheControl | None = None
    caller: dict[str, Any] | None = None


class WebFetchToolResultBlock(_OpaqueResult, frozen=True, tag_field="type", tag="web_fetch_tool_result"):
    """The result of fetching a page."""


class CodeExecutionToolResultBlock(_OpaqueResult, frozen=True, tag_field="type", tag="code_execution_tool_result"):
    """The result of running code."""


class BashCodeExecutionToolResultBlock(
    _OpaqueResult, frozen=True, tag_field="type", tag="bash_code_execution_tool_result"
):
    """The result of running a shell command."""


class TextEditorCodeExecutionToolResultBlock(
    _OpaqueResult, frozen=True, tag_field="type", tag="text_editor_code_execution_tool_result"
):
    """The result of editing a file."""


class ToolSearchToolResultBlock(_OpaqueResult, frozen=True, tag_field="type", tag="tool_search_tool_result"):
    """The result of a tool search."""


class ContainerUploadBlock(Wire, frozen=True, tag_field="type", tag="container_upload"):
    """A file for the code execution container."""

    file_id: str
    cache_control: CacheControl | None = None


Block = (
    TextBlock
    | ImageBlock
    | DocumentBlock
    | SearchResultBlock
    | ThinkingBlock
    | RedactedThinkingBlock
    | ToolUseBlock
    | ToolResultBlock
    | ServerToolUseBlock
    | WebSearchToolResultBlock
    | WebFetchToolResultBlock
    | CodeExecutionToolResultBlock
    | BashCodeExecutionToolResultBlock
    | TextEditorCodeExecutionToolResultBlock
    | ToolSearchToolResultBlock
    | ContainerUploadBlock
)


class Message(Wire, frozen=True):
    """One entry of ``messages``."""

    role: Literal["user", "assistant", "system"]
    content: str | list[Block]


class Tool(Wire, frozen=True):
    """A tool of any type: the fields of all types together (``validation/tools.py`` knows which belongs to which)."""

    type: str | None = None
    name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    input_schema: dict[str, Any] | UnsetType = UNSET
    strict: bool | UnsetType = UNSET
    cache_control: CacheControl | None = None
    allowed_callers: list[str] | UnsetType = UNSET
    defer_loading: bool | UnsetType = UNSET
    eager_input_streaming: bool | UnsetType | None = UNSET
    input_examples: list[dict[str, Any]] | UnsetType = UNSET
    allowed_domains: list[str] | UnsetType | None = UNSET
    blocked_domains: list[str] | UnsetType | None = UNSET
    max_uses: int | UnsetType | None = UNSET
    user_location: dict[str, Any] | UnsetType | None = UNSET
    response_inclusion: Literal["full", "excluded"] | UnsetType = UNSET
    citations: CitationsConfig | UnsetType | None = UNSET
    max_content_tokens: int | UnsetType | None = UNSET
    url_sources: dict[str, Any] | UnsetType | None = UNSET
    max_characters: int | UnsetType | None = UNSET
    configs: dict[str, Any] | UnsetType | None = UNSET

    @property
    def is_custom(self) -> bool:
        """Whether the client runs it by a schema of its own."""
        return self.type is None or self.type == "custom"


class ToolChoiceAuto(Wire, frozen=True, tag_field="type", tag="auto"):
    """The model decides."""

    disable_parallel_tool_use: bool = False


class ToolChoiceAny(Wire, frozen=True, tag_field="type", tag="any"):
    """Some tool must be called."""

    disable_parallel_tool_use: bool = False


class ToolChoiceTool(Wire, frozen=True, tag_field="type", tag="tool"):
    """This tool must be called."""

    name: str
    disable_parallel_tool_use: bool = False


class ToolChoiceNone(Wire, frozen=True, tag_field="type", tag="none"):
    """No tool may be called."""


class BlockBinding(Wire, frozen=True):
    """What happens to thinking that does not belong here (beta)."""

    prefix_mismatch_behavior: Literal["error", "drop_block"] | None = None


class ThinkingAdaptive(Wire, frozen=True, tag_field="type", tag="adaptive"):
    """The model decides how much to think."""

    display: Literal["summarized", "omitted"] | None = None
    block_binding: BlockBinding | None = None


class ThinkingEnabled(Wire, frozen=True, tag_field="type", tag="enabled"):
    """Thinking with a budget."""

    budget_tokens: int
    display: Literal["summarized", "omitted"] | None = None
    block_binding: BlockBinding | None = None


class ThinkingDisabled(Wire, frozen=True, tag_field="type", tag="disabled"):
    """No thinking."""


class ThinkingBetweenTools(Wire, frozen=True, tag_field="type", tag="between_tools"):
    """Thinking only after tool results."""


class JsonFormat(Wire, frozen=True, tag_field="type", tag="json_schema"):
    """The answer is JSON of this schema."""

    schema: dict[str, Any]


class OutputConfig(Wire, frozen=True):
    """Effort and form of the answer."""

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: JsonFormat | None = None


class Metadata(Wire, frozen=True):
    """About the request."""

    user_id: str | None = None


class CountTokensRequest(Wire, frozen=True):
    """Body of ``POST /v1/messages/count_tokens``, and the part of a Messages request that both have."""

    model: str
    messages: list[Message]
    cache_control: CacheControl | None = None
    output_config: OutputConfig = OutputConfig()
    speed: Literal["standard", "fast"] | None = None
    system: str | list[TextBlock] | UnsetType = UNSET
    thinking: ThinkingAdaptive | ThinkingEnabled | ThinkingDisabled | ThinkingBetweenTools | UnsetType = UNSET
    tool_choice: ToolChoiceAuto | ToolChoiceAny | ToolChoiceTool | ToolChoiceNone | UnsetType = UNSET
    tools: list[Tool] | UnsetType = UNSET

    # Beta features: accepted with their header, otherwise "Extra inputs are not permitted".
    context_management: Any = UNSET
    mcp_servers: Any = UNSET


class MessagesRequest(CountTokensRequest, frozen=True, kw_only=True):
    """Body of ``POST /v1/messages``."""

    max_tokens: int
    stream: bool = False
    stop_sequences: list[str] | UnsetType = UNSET
    temperature: float | UnsetType = UNSET
    top_p: float | UnsetType = UNSET
    top_k: int | UnsetType = UNSET
    metadata: Metadata | UnsetType = UNSET
    service_tier: Literal["auto", "standard_only"] | UnsetType = UNSET
    container: Any = UNSET
    diagnostics: Any = UNSET
    inference_geo: str | UnsetType | None = UNSET
    thread: Any = UNSET
    fallbacks: Any = UNSET
    compaction: Any = UNSET


#: Top-level field -> start of the name of the beta that it needs.
BETA_FIELDS = {
    "context_management": "context-management-",
    "mcp_servers": "mcp-client-",
    "thread": "thread",
    "fallbacks": "",
    "compaction": "compact-",
}

#: The beta behind ``thinking.block_binding`` and ``input_transformations``.
BINDING_BETA = "thinking-binding-controls-2026-08-01"

#: The beta behind ``speed: fast``.
FAST_BETA = "fast-mode-2026-02-01"


def text_of(content: str | list[Block]) -> str:
    """The text blocks of a message, joined by newlines."""
    if isinstance(content, str):
        return content
    return "\n".join(block.text for block in content if isinstance(block, TextBlock))


def blocks_of(content: str | list[Block]) -> list[Block]:
    """The blocks of a message; a bare string is one text block."""
    return [TextBlock(text=content)] if isinstance(content, str) else content


MESSAGES_DECODER = msgspec.json.Decoder(MessagesRequest)
COUNT_DECODER = msgspec.json.Decoder(CountTokensRequest)
