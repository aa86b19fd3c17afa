"""What of the client's request turned out to have no full effect only when the answer was there."""

from __future__ import annotations

from collections.abc import Sequence

from app.domain.calls import ReplyPlan, Report


def reply_report(plan: ReplyPlan, *, calls: Sequence[int]) -> Report:
    """The additions to the report of a request.

    Args:
        plan: how the client wanted the answer.
        calls: how many tools Claude called, for each choice.
    """
    adjusted = []
    if plan.expects_tool_call and not min(calls):
        adjusted.append(("tool_choice", "no_call"))
    if plan.function_call and max(calls) > 1:
        adjusted.append(("function_call", f"first_of_{max(calls)}"))
    return Report(adjusted=tuple(adjusted))
