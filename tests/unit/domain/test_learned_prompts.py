"""What a prompt most likely has used, of which Anthropic has told nothing."""

from __future__ import annotations

import pytest

from app.domain.calls import Usage
from app.domain.learned_prompts import LearnedPrompts
from app.domain.prompt_size import PromptSize

MODEL = "claude-sonnet-5-5"


def size(tokens: int, lifetime: str = "") -> PromptSize:
    return PromptSize(expected_tokens=tokens, cache_lifetime=lifetime)  # type: ignore[arg-type]


def test_before_anything_is_learned_a_prompt_is_as_long_as_expected_and_not_cached() -> None:
    assert LearnedPrompts().expected(MODEL, size(70)) == Usage(input_tokens=70)


def test_a_tokenizer_that_makes_more_tokens_is_known_after_some_calls() -> None:
    learned = LearnedPrompts()
    for _ in range(20):
        learned.learn(MODEL, size(1000), Usage(input_tokens=1300))
    assert learned.expected(MODEL, size(500)).input_tokens == pytest.approx(650, rel=0.01)


def test_one_short_prompt_changes_little() -> None:
    learned = LearnedPrompts()
    learned.learn(MODEL, size(2), Usage(input_tokens=40))
    assert learned.expected(MODEL, size(100)).input_tokens == pytest.approx(100, rel=0.25)


def test_what_is_usually_read_from_the_prompt_cache_and_written_to_it_is_expected_there() -> None:
    learned = LearnedPrompts()
    for _ in range(100):
        learned.learn(
            MODEL,
            size(1000, "1h"),
            Usage(
                input_tokens=50,
                cache_read_input_tokens=800,
                cache_creation_input_tokens=150,
                cache_write_1h_tokens=100,
            ),
        )
    expected = learned.expected(MODEL, size(2000, "1h"))
    assert expected.cache_read_input_tokens == pytest.approx(1600, rel=0.01)
    assert expected.cache_creation_input_tokens == pytest.approx(300, rel=0.01)
    assert expected.cache_write_1h_tokens == pytest.approx(200, rel=0.01)
    assert expected.input_tokens == pytest.approx(100, rel=0.05)


def test_prompts_that_use_the_cache_tell_nothing_about_those_that_do_not_nor_models_about_each_other() -> None:
    learned = LearnedPrompts()
    learned.learn(MODEL, size(1000, "5m"), Usage(cache_read_input_tokens=1000))
    assert learned.expected(MODEL, size(70)) == Usage(input_tokens=70)
    assert learned.expected("claude-haiku-4-5", size(70, "5m")) == Usage(input_tokens=70)


def test_newer_prompts_outweigh_older_ones() -> None:
    learned = LearnedPrompts()
    for tokens in (1000, 2000):
        for _ in range(5000):
            learned.learn(MODEL, size(1000), Usage(input_tokens=tokens))
    assert learned.expected(MODEL, size(100)).input_tokens == pytest.approx(200, rel=0.02)


def test_endless_model_names_do_not_fill_the_memory() -> None:
    learned = LearnedPrompts()
    for number in range(1000):
        learned.learn(f"model-{number}", size(1), Usage(input_tokens=1))
    assert len(learned._of) <= 128
