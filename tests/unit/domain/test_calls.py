from __future__ import annotations

from app.domain.calls import Usage


def test_the_sum_of_two_answers_has_all_of_both() -> None:
    one = Usage(
        input_tokens=1,
        cache_creation_input_tokens=2,
        cache_write_1h_tokens=1,
        cache_read_input_tokens=3,
        output_tokens=4,
        thinking_tokens=2,
        web_search_requests=1,
        inference_geo="us",
    )
    other = Usage(output_tokens=10, cache_write_1h_tokens=5, service_tier="standard", speed="fast", inference_geo="eu")
    assert one + other == Usage(
        input_tokens=1,
        cache_creation_input_tokens=2,
        cache_write_1h_tokens=6,
        cache_read_input_tokens=3,
        output_tokens=14,
        thinking_tokens=2,
        web_search_requests=1,
        service_tier="standard",
        speed="fast",
        inference_geo="us",
    )


def test_the_whole_prompt_includes_what_the_prompt_cache_did() -> None:
    usage = Usage(input_tokens=1, cache_creation_input_tokens=20, cache_write_1h_tokens=10, cache_read_input_tokens=300)
    assert usage.prompt_tokens == 321
