"""Why an answer ended: Anthropic's ``stop_reason`` as OpenAI's ``finish_reason``, and the text of a refusal.

Table: spec/chat-completions.md section 5. A reason that is not in it, or none, is ``stop``.
"""

from __future__ import annotations

from collections.abc import Mapping

from app.schemas.anthropic_reply import Ending

PAUSE_TURN = "pause_turn"

#: What a refusal says when Anthropic gives no explanation.
DEFAULT_REFUSAL = "The model declined to continue."

_FINISH_REASONS: Mapping[str | None, str] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "compaction": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    PAUSE_TURN: "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


def finish_reason(stop_reason: str | None, *, function_call: bool = False, answered_as_call: bool = False) -> str:
    """OpenAI's finish reason.

    Args:
        stop_reason: Anthropic's; ``pause_turn`` only once the gateway does not continue any more.
        function_call: the client uses the legacy ``functions``.
        answered_as_call: the text of the answer was given to the client as the arguments of a tool call.
    """
    reason = _FINISH_REASONS.get(stop_reason, "stop")
    if answered_as_call and reason == "stop":
        reason = "tool_calls"
    return "function_call" if function_call and reason == "tool_calls" else reason


def refusal_text(ending: Ending) -> str | None:
    """What ``message.refusal`` says; None when the model did not refuse."""
    if ending.stop_reason != "refusal":
        return None
    return (ending.stop_details and ending.stop_details.explanation) or DEFAULT_REFUSAL
