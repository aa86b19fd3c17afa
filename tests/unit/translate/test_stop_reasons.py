from __future__ import annotations

import pytest

from app.schemas.anthropic_reply import Ending, StopDetails
from app.translate.stop_reasons import finish_reason, refusal_text


@pytest.mark.parametrize(
    ("stop_reason", "reason"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("compaction", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("pause_turn", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("invented_tomorrow", "stop"),
        (None, "stop"),
    ],
)
def test_every_stop_reason_has_a_finish_reason(stop_reason: str | None, reason: str) -> None:
    assert finish_reason(stop_reason) == reason


def test_the_legacy_form_calls_a_call_function_call() -> None:
    assert finish_reason("tool_use", function_call=True) == "function_call"
    assert finish_reason("end_turn", function_call=True) == "stop"


def test_an_answer_given_as_a_call_ends_as_a_call() -> None:
    assert finish_reason("end_turn", answered_as_call=True) == "tool_calls"
    assert finish_reason("end_turn", answered_as_call=True, function_call=True) == "function_call"


@pytest.mark.parametrize(("stop_reason", "reason"), [("max_tokens", "length"), ("refusal", "content_filter")])
def test_a_call_that_was_cut_short_does_not_claim_to_be_whole(stop_reason: str, reason: str) -> None:
    assert finish_reason(stop_reason, answered_as_call=True) == reason


@pytest.mark.parametrize("details", [None, StopDetails(), StopDetails("")])
def test_a_refusal_without_explanation_gets_a_text(details: StopDetails | None) -> None:
    assert refusal_text(Ending("refusal", details)) == "The model declined to continue."


def test_a_refusal_gives_its_explanation() -> None:
    assert refusal_text(Ending("refusal", StopDetails("Declined by policy."))) == "Declined by policy."


def test_an_ending_that_is_no_refusal_has_no_text() -> None:
    assert refusal_text(Ending("end_turn", StopDetails("ignored"))) is None
