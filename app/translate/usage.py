"""Tokens: from Anthropic's fields to our ``Usage``, and from there to OpenAI's object.

OpenAI counts the whole prompt as ``prompt_tokens``; Anthropic leaves out what was read from or written to the prompt
cache. Rules: spec/chat-completions.md section 5.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import UNSET

from app.domain.calls import Usage
from app.schemas.anthropic_reply import UsageFields
from app.schemas.openai_chat_reply import ChatUsage, CompletionTokensDetails, PromptTokensDetails

_SERVICE_TIERS: Mapping[str, str] = {"standard": "default", "priority": "priority", "batch": "flex"}

_NOTHING = Usage()


def usage_of(fields: UsageFields, before: Usage = _NOTHING) -> Usage:
    """The tokens that ``fields`` tell; what they do not tell stays as it was ``before``.

    Counts in a stream are cumulative, and its last ones may correct those of its start: they replace, never add.
    """
    details = fields.output_tokens_details
    writes = fields.cache_creation
    searches = fields.server_tool_use
    return Usage(
        input_tokens=_told(fields.input_tokens, before.input_tokens),
        cache_creation_input_tokens=_told(fields.cache_creation_input_tokens, before.cache_creation_input_tokens),
        cache_write_1h_tokens=_told(writes.ephemeral_1h_input_tokens if writes else None, before.cache_write_1h_tokens),
        cache_read_input_tokens=_told(fields.cache_read_input_tokens, before.cache_read_input_tokens),
        output_tokens=_told(fields.output_tokens, before.output_tokens),
        thinking_tokens=_told(details.thinking_tokens if details else None, before.thinking_tokens),
        web_search_requests=_told(searches.web_search_requests if searches else None, before.web_search_requests),
        service_tier=fields.service_tier or before.service_tier,
        speed=fields.speed or before.speed,
        inference_geo=fields.inference_geo or before.inference_geo,
    )


def _told(count: int | None, before: int) -> int:
    return before if count is None else count


def chat_usage(usage: Usage, *, mark: str = "") -> ChatUsage:
    """OpenAI's ``usage`` object; ``mark`` is its ``response_cache``."""
    prompt_tokens = usage.prompt_tokens
    return ChatUsage(
        prompt_tokens=prompt_tokens,
        completion_tokens=usage.output_tokens,
        total_tokens=prompt_tokens + usage.output_tokens,
        prompt_tokens_details=PromptTokensDetails(
            cached_tokens=usage.cache_read_input_tokens, cache_write_tokens=usage.cache_creation_input_tokens
        ),
        completion_tokens_details=CompletionTokensDetails(reasoning_tokens=usage.thinking_tokens),
        response_cache=mark or UNSET,
    )


def service_tier(usage: Usage) -> str | None:
    """OpenAI's name of the service tier that was used; None when Anthropic did not say."""
    return "fast" if usage.speed == "fast" else _SERVICE_TIERS.get(usage.service_tier)
