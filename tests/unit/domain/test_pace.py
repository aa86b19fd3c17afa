"""What a plain call that was given up has most likely generated until then."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.pace import LearnedPace

MODEL = "claude-opus-5-5"


def learned(*answers: tuple[int, float], model: str = MODEL) -> LearnedPace:
    pace = LearnedPace()
    for tokens, seconds in answers:
        pace.learn(model, tokens, seconds)
    return pace


def test_before_anything_is_learned_a_usual_pace_holds() -> None:
    assert LearnedPace().tokens_after(MODEL, 3.0, at_most=1_000) == 100


def test_while_claude_has_not_begun_nothing_is_generated() -> None:
    assert LearnedPace().tokens_after(MODEL, 0.5, at_most=1_000) == 0


def test_no_more_is_generated_than_was_allowed() -> None:
    assert LearnedPace().tokens_after(MODEL, 3_600.0, at_most=64) == 64


def test_answers_of_two_lengths_tell_the_wait_and_the_pace() -> None:
    pace = learned((100, 4.0), (200, 6.0))  # two seconds of waiting, 50 tokens a second
    assert pace.tokens_after(MODEL, 2.0, at_most=1_000) == 0
    assert pace.tokens_after(MODEL, 5.0, at_most=1_000) == 150


def test_answers_of_one_length_tell_their_mean_pace() -> None:
    pace = learned((100, 2.0), (100, 4.0))
    assert pace.tokens_after(MODEL, 1.5, at_most=1_000) == 50


def test_long_answers_that_came_faster_tell_their_mean_pace() -> None:
    # A line that falls says nothing of tokens to come.
    pace = learned((100, 10.0), (300, 2.0))
    assert pace.tokens_after(MODEL, 3.0, at_most=1_000) == 100


def test_answers_without_a_token_tell_nothing_wrong() -> None:
    assert learned((0, 0.0), (0, 0.0)).tokens_after(MODEL, 5.0, at_most=1_000) == 0


def test_each_model_has_its_own_pace() -> None:
    pace = learned((100, 4.0), (200, 6.0))
    assert pace.tokens_after("claude-haiku-5", 3.0, at_most=1_000) == 100


def test_newer_answers_outweigh_older_ones() -> None:
    pace = learned(*[(tokens, tokens / 10) for tokens in (100, 200)] * 50)
    for _ in range(500):
        pace.learn(MODEL, 100, 1.0)
        pace.learn(MODEL, 200, 2.0)
    assert pace.tokens_after(MODEL, 1.0, at_most=1_000) == pytest.approx(100, rel=0.15)


def test_endless_model_names_do_not_fill_the_memory() -> None:
    pace = learned((100, 4.0), (200, 6.0))
    for number in range(1_000):
        pace.learn(f"model-{number}", 1, 1.0)
    assert len(pace._of) <= 64


@given(
    st.lists(st.tuples(st.integers(0, 64_000), st.floats(0, 600)), max_size=20),
    st.floats(0, 3_600),
    st.integers(1, 64_000),
)
def test_whatever_was_learned_the_estimate_is_within_the_bound(
    answers: list[tuple[int, float]], seconds: float, at_most: int
) -> None:
    assert 0 <= learned(*answers).tokens_after(MODEL, seconds, at_most=at_most) <= at_most


@given(st.floats(0, 5), st.floats(0.001, 0.2), st.lists(st.integers(1, 5_000), min_size=2, max_size=20, unique=True))
def test_an_even_pace_is_found_again(wait_s: float, s_per_token: float, lengths: list[int]) -> None:
    pace = learned(*((tokens, wait_s + tokens * s_per_token) for tokens in lengths))
    assert pace.tokens_after(MODEL, wait_s + 1_000 * s_per_token, at_most=64_000) == pytest.approx(1_000, rel=0.05)
