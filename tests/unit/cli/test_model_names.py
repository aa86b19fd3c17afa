from __future__ import annotations

import pytest

from app.cli.model_names import doubts


@pytest.mark.parametrize(
    "pattern",
    ["haiku", "claude-haiku-*", "claude-opus-5", "claude-sonnet-latest", "anthropic/claude-opus-5", "*", "opus@high"],
)
def test_a_name_that_fits_a_model_is_not_doubted(pattern: str) -> None:
    assert list(doubts([pattern], {})) == []


def test_a_retired_model_is_known() -> None:
    assert list(doubts(["claude-3-opus-20240229", "claude-3-*"], {})) == []


@pytest.mark.parametrize(
    ("pattern", "doubt"),
    [
        ("haikuu", "no known model is called 'haikuu'. Did you mean 'haiku'?"),
        ("claude-haikuu-9", "no known model is called 'claude-haikuu-9'."),
        ("mistral-*", "no known model has a name like 'mistral-*'."),
        ("gpt-4o", "no known model is called 'gpt-4o'."),
    ],
)
def test_a_name_that_fits_none_is(pattern: str, doubt: str) -> None:
    (said,) = doubts(["haiku", pattern], {})
    assert said.startswith(doubt)


def test_names_of_the_operators_own_are_known() -> None:
    environ = {"CLAUDE_WRAPPER_MODEL_ALIASES": "fast=haiku,big-*=opus", "CLAUDE_WRAPPER_MODEL_PRESET": "openai"}
    assert list(doubts(["fast", "big-one", "big-*", "gpt-*", "fa*"], environ)) == []


def test_settings_that_are_wrong_are_no_reason_to_doubt() -> None:
    assert list(doubts(["haikuu"], {"CLAUDE_WRAPPER_MODEL_ALIASES": "fast=haikuu"})) == []
