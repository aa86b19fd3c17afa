"""The request of ``POST /v1/chat/completions`` as OpenAI defines it (openai 3.54), plus the gateway's extensions.

Types only. Tagged unions take messages, parts and tools apart; ``null`` counts as absent, as OpenAI clients send it.
Anything only forwarded stays ``msgspec.Raw``. Unknown fields are forbidden here, so that the decoder notices them and
can report each by its path (``app/translate/chat_decoding.py``). What each field becomes: ``spec/chat-completions.md``.
Messages are also kept as JSON in sessions: encoded they leave out what is at its default, and decode to the same again.
"""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, Raw, Struct, UnsetType

ReasoningEffort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class CacheControl(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """Anthropic's cache marker, accepted on parts, messages, tools and the request (extension)."""

    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] | None = None


class PromptCacheBreakpoint(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, gc=False
):
    """OpenAI's cache marker on a part."""

    mode: Literal["explicit"] = "explicit"
    ttl: Literal["30m", "12h"] | None = None


class _Part(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="type", gc=False
):
    prompt_cache_breakpoint: PromptCacheBreakpoint | None = None
    cache_control: CacheControl | None = None


class TextPart(_Part, frozen=True, tag="text", gc=False):
    """A part of text."""

    text: str


class RefusalPart(_Part, frozen=True, tag="refusal", gc=False):
    """An earlier refusal of the assistant."""

    refusal: str


class ImageURL(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """Where an image is: a ``data:`` URL or an address."""

    url: str
    detail: Literal["auto", "low", "high", "original"] | None = None


class ImagePart(_Part, frozen=True, tag="image_url", gc=False):
    """An image; the bare string instead of the object is accepted too."""

    image_url: ImageURL | str


class InputAudio(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """Recorded sound."""

    data: str
    format: str


class AudioPart(_Part, frozen=True, tag="input_audio", gc=False):
    """A part of sound."""

    input_audio: InputAudio


class FileData(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """A file by content (a ``data:`` URL or bare base64) or by id."""

    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class FilePart(_Part, frozen=True, tag="file", gc=False):
    """A file."""

    file: FileData


UserPart = TextPart | ImagePart | AudioPart | FilePart
AssistantPart = TextPart | RefusalPart
ToolPart = TextPart | ImagePart


class _Message(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="role", gc=False
):
    name: str | None = None
    cache_control: CacheControl | None = None


class SystemMessage(_Message, frozen=True, tag="system", gc=False):
    """Instructions."""

    content: str | list[TextPart]


class DeveloperMessage(_Message, frozen=True, tag="developer", gc=False):
    """Instructions, by their newer name."""

    content: str | list[TextPart]


class UserMessage(_Message, frozen=True, tag="user", gc=False):
    """What the user says."""

    content: str | list[UserPart]


class FunctionCall(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """A function and its arguments as JSON text, which need not be valid; openai's SDK adds them in parsed form."""

    name: str
    arguments: str
    parsed_arguments: Raw | UnsetType = UNSET


class CustomCall(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """A custom tool and its input."""

    name: str
    input: str


class _ToolCall(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="type", gc=False
):
    id: str
    index: int | None = None


class FunctionToolCall(_ToolCall, frozen=True, tag="function", gc=False):
    """An earlier call of a function."""

    function: FunctionCall


class CustomToolCall(_ToolCall, frozen=True, tag="custom", gc=False):
    """An earlier call of a custom tool."""

    custom: CustomCall


class ThinkingBlock(
    Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    tag_field="type",
    tag="thinking",
    gc=False,
):
    """Claude's thinking, handed back; without its signature it cannot be replayed. ``index`` is of our streams."""

    thinking: str = ""
    signature: str | None = None
    index: int | None = None


class RedactedThinkingBlock(
    Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    tag_field="type",
    tag="redacted_thinking",
    gc=False,
):
    """Encrypted thinking, handed back."""

    data: str
    index: int | None = None


class ReasoningDetail(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """OpenRouter's form of thinking blocks."""

    type: str
    text: str | None = None
    summary: str | None = None
    data: str | None = None
    signature: str | None = None
    format: str | None = None
    id: str | None = None
    index: int | None = None


class AssistantMessage(_Message, frozen=True, tag="assistant", gc=False):
    """What the assistant said; the fields after ``function_call`` are what replies carry and clients echo.

    ``annotations``, ``citations`` and ``parsed`` say nothing that the text does not, and are taken without a word.
    """

    content: str | list[AssistantPart] | None = None
    refusal: str | None = None
    tool_calls: list[FunctionToolCall | CustomToolCall] | None = None
    function_call: FunctionCall | None = None
    thinking_blocks: list[ThinkingBlock | RedactedThinkingBlock] | None = None
    reasoning_details: list[ReasoningDetail] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    audio: Raw | UnsetType = UNSET
    annotations: Raw | UnsetType = UNSET
    citations: Raw | UnsetType = UNSET
    parsed: Raw | UnsetType = UNSET


class ToolMessage(_Message, frozen=True, tag="tool", gc=False):
    """The result of a tool call; images and ``is_error`` are extensions."""

    tool_call_id: str
    content: str | list[ToolPart] | None = None
    is_error: bool | None = None


class FunctionMessage(_Message, frozen=True, tag="function", gc=False):
    """The result of a legacy function call."""

    content: str | None = None


Message = SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage | FunctionMessage


class FunctionDefinition(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """A function; ``parameters`` is a JSON schema, forwarded as it is."""

    name: str
    description: str | None = None
    parameters: Raw | UnsetType = UNSET
    strict: bool | None = None
    cache_control: CacheControl | None = None


class FunctionTool(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="function", gc=False
):
    """A function the model may call."""

    function: FunctionDefinition
    cache_control: CacheControl | None = None


class Grammar(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """A grammar for the input of a custom tool."""

    syntax: Literal["lark", "regex"]
    definition: str


class TextFormat(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="text", gc=False):
    """Free text."""


class GrammarFormat(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="grammar", gc=False
):
    """Text that follows a grammar."""

    grammar: Grammar


class CustomDefinition(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """A custom tool: its input is text."""

    name: str
    description: str | None = None
    format: TextFormat | GrammarFormat | None = None


class CustomTool(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="custom", gc=False
):
    """A custom tool the model may call."""

    custom: CustomDefinition
    cache_control: CacheControl | None = None


class ToolName(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """A tool by name."""

    name: str


class NamedFunction(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="function", gc=False
):
    """Call this function."""

    function: ToolName


class NamedCustom(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="custom", gc=False
):
    """Call this custom tool."""

    custom: ToolName


class AllowedToolsSet(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """The tools that may be called, and whether one must be."""

    mode: Literal["auto", "required"]
    tools: list[NamedFunction | NamedCustom]


class AllowedTools(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="allowed_tools", gc=False
):
    """Call only tools of this set."""

    allowed_tools: AllowedToolsSet


ToolChoice = Literal["none", "auto", "required"] | NamedFunction | NamedCustom | AllowedTools


class JSONSchema(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """A named JSON schema."""

    name: str | None = None
    description: str | None = None
    schema: Raw | UnsetType = UNSET
    strict: bool | None = None


class TextResponse(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="text", gc=False
):
    """Answer in text."""


class JSONObjectResponse(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="json_object", gc=False
):
    """Answer with some JSON object."""


class JSONSchemaResponse(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="json_schema", gc=False
):
    """Answer with JSON that satisfies a schema."""

    json_schema: JSONSchema


class StreamOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """How to stream."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class ApproximateLocation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """Where the user is, roughly."""

    city: str | None = None
    country: str | None = None
    region: str | None = None
    timezone: str | None = None


class UserLocation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """Where the user is."""

    type: Literal["approximate"] = "approximate"
    approximate: ApproximateLocation


class WebSearchOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """Let the model search the web."""

    search_context_size: Literal["low", "medium", "high"] | None = None
    user_location: UserLocation | None = None


class ModerationMode(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """What moderation does with what it finds."""

    mode: Literal["score", "block"]


class ModerationPolicy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """Moderation of the request and of the answer."""

    input: ModerationMode | None = None
    output: ModerationMode | None = None


class Moderation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """OpenAI's moderation."""

    model: str | None = None
    policy: ModerationPolicy | None = None


class PromptCacheOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """How the prompt is cached."""

    mode: Literal["implicit", "explicit"] | None = None
    ttl: Literal["30m", "12h", "24h"] | None = None


class ChatRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """The whole request: OpenAI's fields, then the extensions of ``spec/chat-completions.md`` section 8."""

    model: str
    messages: list[Message]
    audio: Raw | UnsetType = UNSET
    frequency_penalty: float | None = None
    function_call: Literal["none", "auto"] | ToolName | None = None
    functions: list[FunctionDefinition] | None = None
    logit_bias: dict[str, float] | None = None
    logprobs: bool | None = None
    max_completion_tokens: int | None = None
    max_tokens: int | None = None
    metadata: dict[str, str] | None = None
    modalities: list[Literal["text", "audio"]] | None = None
    moderation: Moderation | None = None
    n: int | None = None
    parallel_tool_calls: bool | None = None
    prediction: Raw | UnsetType = UNSET
    presence_penalty: float | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: PromptCacheOptions | None = None
    prompt_cache_retention: Literal["in_memory", "in-memory", "24h"] | None = None
    reasoning_effort: ReasoningEffort | None = None
    response_format: TextResponse | JSONObjectResponse | JSONSchemaResponse | None = None
    safety_identifier: str | None = None
    seed: int | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast"] | None = None
    stop: str | list[str] | None = None
    store: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: float | None = None
    tool_choice: ToolChoice | None = None
    tools: list[FunctionTool | CustomTool] | None = None
    top_logprobs: int | None = None
    top_p: float | None = None
    user: str | None = None
    verbosity: Literal["low", "medium", "high"] | None = None
    web_search_options: WebSearchOptions | None = None

    anthropic: dict[str, Raw] | None = None
    betas: list[str] | None = None
    cache_control: CacheControl | None = None
    include_reasoning: bool | Literal["details"] | None = None
    inference_geo: str | None = None
    output_config: dict[str, Raw] | None = None
    prewarm: bool | None = None
    session_id: str | None = None
    thinking: dict[str, Raw] | None = None
    top_k: int | None = None
