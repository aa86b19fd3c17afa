"""Text of a chosen length, split without breaking characters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.simulator.answers.text import compose_text, cut_to_tokens, opening, split_tokens
from workers.simulator.prompt import text_tokens


@pytest.mark.parametrize("tokens", [1, 7, 60, 500, 100_000])
def test_a_text_has_the_tokens_asked_for(tokens):
    assert text_tokens(compose_text("You said: “Hi”.", bytes(16), tokens)) == tokens


def test_without_a_number_the_hash_decides():
    sizes = {text_tokens(compose_text("", bytes([number, 0]), 0)) for number in range(105)}
    assert min(sizes) >= 16
    assert max(sizes) <= 150
    assert len(sizes) >= 5


@given(text=st.text(max_size=300), tokens=st.integers(1, 10))
def test_the_parts_of_a_text_make_the_text(text, tokens):
    parts = split_tokens(text, tokens)
    assert "".join(parts) == text
    assert all(parts)


@given(text=st.text(max_size=200), tokens=st.integers(0, 30))
def test_a_cut_text_is_a_beginning_of_it(text, tokens):
    cut = cut_to_tokens(text, tokens)
    assert text.startswith(cut)
    assert text_tokens(cut) <= tokens


def test_a_long_prompt_is_shortened_in_the_answer():
    assert len(opening("word " * 100, 1)) < 150
