"""What ``POST /v1/chat/completions`` answers: the plain completion and the deltas of a stream, as they go on the wire.

Reference: openai 3.54, ``types/chat/chat_completion.py`` and ``chat_completion_chunk.py``; ``reasoning_content`` and
``thinking_blocks`` are LiteLLM's convention, ``reasoning`` and ``reasoning_details`` OpenRouter's
(spec/chat-completions.md section 6). Absent fields are ``UNSET``, null ones None.
"""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, Raw, Struct, UnsetType


class PromptTokensDetails(Struct, frozen=True, kw_only=True):
    """What the prompt tokens were."""

    cached_tokens: int
    cache_write_tokens: int
    audio_tokens: int = 0


class CompletionTokensDetails(Struct, frozen=True, kw_only=True):
    """What the completion tokens were spent on."""

    reasoning_tokens: int
    audio_tokens: int = 0
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0


class ChatUsage(Struct, frozen=True, kw_only=True):
    """Tokens in OpenAI's classes: ``prompt_tokens`` includes what came from the prompt cache or went into it.

    ``response_cache`` (extension): the answer was made for an earlier request (``hit``), or for one at the same time
    (``joined``), which these are the tokens of.
    """

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails
    response_cache: str | UnsetType = UNSET


class UrlCitation(Struct, frozen=True, kw_only=True):
    """A page that a span of the content relies on; ``[start_index, end_index)`` in characters of the content."""

    url: str
    title: str
    start_index: int
    end_index: int


class Annotation(Struct, frozen=True, kw_only=True):
    """An annotation of the content; ``index`` only in a stream, see ``translate/chat_blocks.py``."""

    index: int | UnsetType = UNSET
    type: Literal["url_citation"] = "url_citation"
    url_citation: UrlCitation


class ReasoningDetail(Struct, frozen=True, kw_only=True):
    """A thinking block in OpenRouter's form."""

    type: Literal["reasoning.text", "reasoning.encrypted"]
    text: str | UnsetType = UNSET
    signature: str | UnsetType = UNSET
    data: str | UnsetType = UNSET
    format: str = "anthropic-claude-v1"
    index: int


class Function(Struct, frozen=True):
    """The function of a call; ``arguments`` is JSON text."""

    name: str
    arguments: str


class Custom(Struct, frozen=True):
    """The custom tool of a call; ``input`` is free text."""

    name: str
    input: str


class ToolCall(Struct, frozen=True, kw_only=True):
    """A call of a tool, whole; ``index`` only in a stream."""

    index: int | UnsetType = UNSET
    id: str
    type: Literal["function", "custom"]
    function: Function | UnsetType = UNSET
    custom: Custom | UnsetType = UNSET


class AssistantMessage(Struct, frozen=True, kw_only=True):
    """The message of a choice. ``citations`` are Anthropic's own, of kinds that OpenAI has no annotation for."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: str | None = None
    annotations: list[Annotation] = []
    citations: list[Raw] | UnsetType = UNSET
    reasoning_content: str | UnsetType = UNSET
    thinking_blocks: list[Raw] | UnsetType = UNSET
    reasoning: str | UnsetType = UNSET
    reasoning_details: list[ReasoningDetail] | UnsetType = UNSET
    tool_calls: list[ToolCall] | UnsetType = UNSET
    function_call: Function | UnsetType = UNSET


class Choice(Struct, frozen=True, kw_only=True):
    """One answer."""

    index: int
    message: AssistantMessage
    logprobs: None = None
    finish_reason: str


class ChatCompletion(Struct, frozen=True, kw_only=True):
    """The plain reply; ``created`` in Unix seconds."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: ChatUsage
    service_tier: str | UnsetType = UNSET
    system_fingerprint: None = None


class ChunkDelta(Struct, frozen=True, kw_only=True):
    """What one chunk of a stream adds to the message of its choice; the rare ones (the others are spliced)."""

    role: str | UnsetType = UNSET
    content: str | UnsetType = UNSET
    refusal: str | UnsetType = UNSET
    annotations: list[Annotation] | UnsetType = UNSET
    citations: list[Raw] | UnsetType = UNSET
    reasoning_content: str | UnsetType = UNSET
    thinking_blocks: list[Raw] | UnsetType = UNSET
    reasoning: str | UnsetType = UNSET
    reasoning_details: list[ReasoningDetail] | UnsetType = UNSET
    tool_calls: list[ToolCall] | UnsetType = UNSET
    function_call: Function | UnsetType = UNSET
