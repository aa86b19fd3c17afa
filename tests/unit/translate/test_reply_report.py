from __future__ import annotations

from app.domain.calls import ReplyPlan, Report
from app.translate.reply_report import reply_report


def test_an_answer_as_it_was_asked_for_adds_nothing() -> None:
    assert reply_report(ReplyPlan(), calls=[0, 2]) == Report()
    assert reply_report(ReplyPlan(expects_tool_call=True, function_call=True), calls=[1]) == Report()


def test_a_choice_without_the_call_that_was_forced_is_reported() -> None:
    report = reply_report(ReplyPlan(expects_tool_call=True), calls=[1, 0])
    assert report == Report(adjusted=(("tool_choice", "no_call"),))


def test_calls_that_the_legacy_form_has_no_room_for_are_reported() -> None:
    report = reply_report(ReplyPlan(function_call=True), calls=[1, 3])
    assert report == Report(adjusted=(("function_call", "first_of_3"),))
