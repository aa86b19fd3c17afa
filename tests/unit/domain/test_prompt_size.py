from __future__ import annotations

from typing import Any

import pytest

from app.domain.prompt_size import (
    EXPECTED_IMAGE_TOKENS,
    EXPECTED_PAGE_TOKENS,
    MOST_IMAGE_TOKENS,
    CacheLifetime,
    Media,
    PromptSize,
    prompt_size,
)


def size(body_bytes: int = 1130, *, lifetime: CacheLifetime = "", context: int = 1_000_000, **media: Any) -> PromptSize:
    return prompt_size(body_bytes, messages=1, media=Media(**media), context_tokens=context, cache_lifetime=lifetime)


def test_four_bytes_of_text_are_about_a_token_and_a_byte_is_one_at_most() -> None:
    assert size().expected_tokens == 250
    assert size().most_tokens >= 1130


def test_what_anthropic_adds_to_a_prompt_is_allowed_for() -> None:
    assert size(0).most_tokens >= 900
    assert size(0).expected_tokens == 1


def test_images_count_by_themselves_and_not_by_their_base64() -> None:
    seen = size(1130 + 500_000, images=3, image_chars=500_000)
    assert seen.expected_tokens == 250 + 3 * EXPECTED_IMAGE_TOKENS
    assert seen.most_tokens == size().most_tokens + 3 * MOST_IMAGE_TOKENS


def test_an_image_of_another_address_is_scaled_down_as_well() -> None:
    assert size(images=1).most_tokens == size().most_tokens + MOST_IMAGE_TOKENS


@pytest.mark.parametrize(("chars", "pages"), [(2000, 1), (10 * 65_536, 11)])
def test_a_pdf_is_guessed_by_its_size_and_bounded_by_the_context(chars: int, pages: int) -> None:
    seen = size(1130 + chars, pdfs=1, pdf_chars=chars)
    assert seen.expected_tokens == 250 + pages * EXPECTED_PAGE_TOKENS
    assert seen.most_tokens == 1_000_000


def test_an_uploaded_file_is_bounded_by_the_context() -> None:
    assert size(files=1, context=200_000).most_tokens == 200_000
    assert size(files=1).expected_tokens == 250 + EXPECTED_PAGE_TOKENS


def test_nothing_exceeds_the_context() -> None:
    seen = size(10_000_000, context=200_000)
    assert (seen.expected_tokens, seen.most_tokens) == (200_000, 200_000)


def test_the_lifetime_of_the_cache_is_passed_on() -> None:
    assert size(lifetime="1h").cache_lifetime == "1h"
