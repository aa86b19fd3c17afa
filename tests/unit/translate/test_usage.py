from __future__ import annotations

import msgspec
import pytest

from app.domain.calls import Usage
from app.schemas.anthropic_reply import CacheCreation, OutputTokensDetails, ServerToolUsage, UsageFields
from app.translate.usage import chat_usage, service_tier, usage_of


def test_every_field_is_read() -> None:
    fields = UsageFields(
        input_tokens=1,
        cache_creation_input_tokens=2,
        cache_creation=CacheCreation(1),
        cache_read_input_tokens=3,
        output_tokens=4,
        output_tokens_details=OutputTokensDetails(5),
        server_tool_use=ServerToolUsage(6),
        service_tier="priority",
        speed="fast",
        inference_geo="us",
    )
    assert usage_of(fields) == Usage(
        input_tokens=1,
        cache_creation_input_tokens=2,
        cache_write_1h_tokens=1,
        cache_read_input_tokens=3,
        output_tokens=4,
        thinking_tokens=5,
        web_search_requests=6,
        service_tier="priority",
        speed="fast",
        inference_geo="us",
    )


def test_later_counts_replace_earlier_ones_and_silence_keeps_them() -> None:
    before = Usage(input_tokens=12, cache_read_input_tokens=100, output_tokens=1, service_tier="standard")
    after = usage_of(UsageFields(input_tokens=0, output_tokens=77), before)
    assert after == Usage(input_tokens=0, cache_read_input_tokens=100, output_tokens=77, service_tier="standard")


def test_details_without_a_count_keep_the_count() -> None:
    fields = UsageFields(
        output_tokens_details=OutputTokensDetails(), cache_creation=CacheCreation(), server_tool_use=ServerToolUsage()
    )
    before = Usage(thinking_tokens=3, cache_write_1h_tokens=4, web_search_requests=5)
    assert usage_of(fields, before) == usage_of(UsageFields(), before) == before


def test_the_prompt_of_openai_includes_the_prompt_cache() -> None:
    usage = Usage(
        input_tokens=10,
        cache_creation_input_tokens=200,
        cache_read_input_tokens=3000,
        output_tokens=90,
        thinking_tokens=40,
    )
    assert msgspec.to_builtins(chat_usage(usage)) == {
        "prompt_tokens": 3210,
        "completion_tokens": 90,
        "total_tokens": 3300,
        "prompt_tokens_details": {"cached_tokens": 3000, "cache_write_tokens": 200, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 40,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


@pytest.mark.parametrize(
    ("usage", "tier"),
    [
        (Usage(service_tier="standard"), "default"),
        (Usage(service_tier="priority"), "priority"),
        (Usage(service_tier="batch"), "flex"),
        (Usage(service_tier="standard", speed="fast"), "fast"),
        (Usage(service_tier="standard", speed="standard"), "default"),
        (Usage(service_tier="new"), None),
        (Usage(), None),
    ],
)
def test_the_service_tier_has_openais_name(usage: Usage, tier: str | None) -> None:
    assert service_tier(usage) == tier
