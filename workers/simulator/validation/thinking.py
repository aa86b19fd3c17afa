"""The ``thinking`` parameter: which kinds a model takes, and what each needs of the rest of the request."""

from __future__ import annotations

from typing import Final

from msgspec import UNSET

from app.domain.models import EFFORT_ORDER, ModelFacts
from workers.simulator.errors import Invalid
from workers.simulator.wire import (
    CountTokensRequest,
    MessagesRequest,
    ThinkingEnabled,
    ToolChoiceAny,
    ToolChoiceTool,
)

MIN_BUDGET_TOKENS: Final = 1024


def check_thinking(request: CountTokensRequest, facts: ModelFacts) -> None:
    """Checks ``thinking`` against the model, the effort, ``max_tokens`` and ``tool_choice``.

    Raises:
        Invalid: what does not go together.
    """
    mode = request.thinking
    if mode is UNSET:
        return
    kind = str(type(mode).__struct_config__.tag)
    if kind not in facts.thinking:
        raise Invalid(_refusal(kind, facts))
    if kind in ("disabled", "between_tools") and facts.thinking_off_max_effort is not None:
        effort = request.output_config.effort or facts.default_effort
        highest = facts.thinking_off_max_effort
        if effort is not None and EFFORT_ORDER.index(effort) > EFFORT_ORDER.index(highest):
            raise Invalid(f'"thinking.type.{kind}" is not supported with effort "{effort}"; it goes up to "{highest}".')
    if not isinstance(mode, ThinkingEnabled):
        return
    if mode.budget_tokens < MIN_BUDGET_TOKENS:
        message = f"Input should be greater than or equal to {MIN_BUDGET_TOKENS}"
        raise Invalid(message, "thinking.enabled.budget_tokens")
    if isinstance(request, MessagesRequest) and mode.budget_tokens >= request.max_tokens:
        raise Invalid("`max_tokens` must be greater than `thinking.budget_tokens`.")
    if isinstance(request.tool_choice, (ToolChoiceAny, ToolChoiceTool)):
        raise Invalid("Thinking may not be enabled when tool_choice forces tool use.")


def _refusal(kind: str, facts: ModelFacts) -> str:
    if kind == "adaptive":
        return "adaptive thinking is not supported on this model"
    if kind == "enabled":
        return (
            '"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive" and'
            ' "output_config.effort" to control thinking behavior.'
        )
    return f'"thinking.type.{kind}" is not supported for this model. Supported: {", ".join(facts.thinking)}.'
