"""How much Claude thinks, and whether the client sees it (``spec/chat-completions.md`` section 6).

The client says it with ``thinking`` (Anthropic's own, taken as it is), the header ``X-Claude-Max-Thinking-Tokens``,
``reasoning_effort`` or ``@effort`` in the model's name; the first of these that is given counts. Models differ in what
they take: ``effort`` with adaptive thinking, or a budget of tokens (4.5 and before).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, cast

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from app.domain.models import EFFORT_ORDER, Effort, ModelFacts, Resolution
from app.errors import InvalidRequest
from app.schemas import anthropic
from app.schemas import openai_chat as openai
from app.translate.notes import Notes
from app.translate.received import is_thought
from app.translate.turns import Conversation

#: The header that sets the thinking budget in tokens.
HEADER: Final = "x-claude-max-thinking-tokens"

#: The beta that controls what happens to thinking that no longer fits its prefix.
BINDING_BETA: Final = "thinking-binding-controls-2026-08-01"

#: Anthropic's smallest budget; as much must be left for the answer.
MIN_BUDGET_TOKENS: Final = 1024

_BUDGET_TOKENS: Final = {
    "minimal": 1024,
    "low": 4096,
    "medium": 8192,
    "high": 16384,
    "xhigh": 32000,
    "max": 32000,
}
#: Which effort a budget comes closest to, where a model takes no budgets.
_EFFORT_BUDGET_TOKENS: Final[dict[Effort, int]] = {
    "low": 4096,
    "medium": 8192,
    "high": 16384,
    "xhigh": 32000,
    "max": 64000,
}
_ADAPTIVE: Final = {"type": "adaptive", "display": "summarized"}
_THINKS: Final = frozenset({"adaptive", "enabled"})
_LACKS_START: Final = "the assistant's calls of tools came back without the thinking before them"


class ThinkingPlan(Struct, kw_only=True):
    """What is sent about thinking, and whether the answer shows it.

    Args:
        thinking: Anthropic's ``thinking``.
        effort: ``output_config.effort``.
        is_shown: reasoning is part of the reply.
        betas: what ``thinking`` needs in ``anthropic-beta``.
        withheld: the ``thinking`` that cannot be sent only because the client did not send back its own earlier one.
    """

    thinking: dict[str, Any] | UnsetType = UNSET
    withheld: dict[str, Any] | UnsetType = UNSET
    effort: Effort | UnsetType = UNSET
    is_shown: bool = False
    betas: tuple[str, ...] = ()

    @property
    def thinks(self) -> bool:
        """Whether thinking was turned on or an effort was set, which rules out sampling parameters."""
        return self.effort is not UNSET or (self.thinking is not UNSET and self.thinking["type"] in _THINKS)


def plan_thinking(
    request: openai.ChatRequest,
    resolution: Resolution,
    conversation: Conversation,
    notes: Notes,
    *,
    max_tokens: int,
    thinking_tokens: int | None,
    forces_tool: bool,
    show_by_default: bool,
) -> ThinkingPlan:
    """Decides about thinking.

    Args:
        request: the client's.
        resolution: the model, and the effort its name asked for.
        conversation: the translated history; thinking that must not be replayed is taken out of it.
        notes: where changes are reported.
        max_tokens: of the upstream request; thinking counts inside it.
        thinking_tokens: of the header; 0 turns thinking off.
        forces_tool: the upstream request has tool choice ``any`` or ``tool``.
        show_by_default: the setting ``include_reasoning``.

    Raises:
        InvalidRequest: ``thinking`` is not an object with a type, or the header is negative.
    """
    facts = resolution.facts
    asked: str | None = None
    if request.thinking is not None:
        plan = ThinkingPlan(thinking=_verbatim(request.thinking))
        asked = str(plan.thinking["type"]) if plan.thinking is not UNSET else None
        path = "thinking"
        _overruled(request, resolution, notes, by="thinking", header=thinking_tokens is not None)
    elif thinking_tokens is not None:
        path = HEADER
        plan = _from_tokens(thinking_tokens, facts, max_tokens, notes)
        asked = "none" if thinking_tokens == 0 else "adaptive"
        _overruled(request, resolution, notes, by=HEADER, header=False)
    else:
        asked = request.reasoning_effort or resolution.effort
        path = "reasoning_effort" if request.reasoning_effort else "model"
        if request.reasoning_effort and resolution.effort:
            notes.adjust("model", resolution.id, "reasoning_effort wins over the effort in the model's name")
        plan = _from_effort(asked, facts, max_tokens, path, notes) if asked else ThinkingPlan()

    blocked = _why_not_enabled(plan, conversation, forces_tool=forces_tool)
    if blocked is not None:
        if blocked is _LACKS_START:
            plan.withheld = plan.thinking
        notes.adjust(path, "none", blocked)
        plan.thinking = UNSET
    plan.is_shown = _is_shown(request, asked, show_by_default=show_by_default)
    if plan.is_shown and plan.thinking is UNSET and facts.thinking_default != "off" and "adaptive" in facts.thinking:
        plan.thinking = dict(_ADAPTIVE)  # it thinks anyway; without this the text is left out
    _bind(plan, facts, conversation, notes)
    return plan


def may_think(plan: ThinkingPlan, facts: ModelFacts) -> bool:
    """Whether answers may hold thinking, or would: it was not turned off, nor is it off by default."""
    if plan.thinking is UNSET:
        return plan.withheld is not UNSET or facts.thinking_default != "off"
    return bool(plan.thinking["type"] != "disabled")


def least_tokens(plan: ThinkingPlan, max_tokens: int) -> int:
    """The smallest ``max_tokens`` that goes with what is sent about thinking: a budget has to be below it.

    Args:
        plan: of the request.
        max_tokens: of the request; it is taken to go with the plan.
    """
    thinking = plan.withheld if plan.thinking is UNSET else plan.thinking
    if thinking is UNSET or thinking["type"] != "enabled":
        return min(max_tokens, 1)
    budget = thinking.get("budget_tokens")
    given = msgspec.json.decode(budget) if isinstance(budget, Raw) else budget
    return min(max_tokens, given + 1) if isinstance(given, int) else max_tokens


def _verbatim(thinking: dict[str, Raw]) -> dict[str, Any]:
    """The client's own object; only its type is looked into."""
    type_ = bytes(thinking.get("type", b"null"))
    if not type_.startswith(b'"'):
        raise InvalidRequest(
            "'thinking' needs a type: 'adaptive', 'enabled', 'disabled' or 'between_tools'.",
            param="thinking.type",
            code="missing_required_parameter",
        )
    return {**thinking, "type": msgspec.json.decode(type_)}


def _overruled(request: openai.ChatRequest, resolution: Resolution, notes: Notes, *, by: str, header: bool) -> None:
    if header:
        notes.ignore(HEADER, f"{by} wins over it")
    if request.reasoning_effort is not None:
        notes.ignore("reasoning_effort", f"{by} wins over it")
    elif resolution.effort is not None:
        notes.adjust("model", resolution.id, f"{by} wins over the effort in the model's name")


def _from_tokens(tokens: int, facts: ModelFacts, max_tokens: int, notes: Notes) -> ThinkingPlan:
    if tokens < 0:
        raise InvalidRequest(f"{HEADER} must not be negative.", param=HEADER, code="invalid_value")
    if tokens == 0:
        return _off(facts, HEADER, notes)
    if "enabled" not in facts.thinking:
        nearest = min(facts.efforts, key=lambda effort: abs(_EFFORT_BUDGET_TOKENS[effort] - tokens))
        notes.adjust(HEADER, nearest, f"{facts.id} takes an effort instead of a budget")
        return ThinkingPlan(thinking=dict(_ADAPTIVE), effort=nearest)
    budget = _fit(tokens, max_tokens)
    if budget != tokens:
        reason = f"a budget is at least {MIN_BUDGET_TOKENS} and leaves as much of max_tokens for the answer"
        notes.adjust(HEADER, str(budget or "none"), reason)
    return ThinkingPlan(thinking=_enabled(budget))


def _from_effort(asked: str, facts: ModelFacts, max_tokens: int, path: str, notes: Notes) -> ThinkingPlan:
    if asked == "none":
        return _off(facts, path, notes)
    effort: Effort | UnsetType = UNSET
    if facts.efforts:
        wanted = EFFORT_ORDER[0] if asked == "minimal" else cast("Effort", asked)
        effort = _highest_up_to(wanted, facts.efforts)
        if effort != wanted:
            notes.adjust(path, effort, f"the highest effort of {facts.id} below that")
    if "adaptive" in facts.thinking:
        return ThinkingPlan(thinking=dict(_ADAPTIVE), effort=effort)
    budget = _fit(_BUDGET_TOKENS[asked], max_tokens)
    if budget is None:
        notes.adjust(
            path, "none", f"max_tokens leaves no room for {MIN_BUDGET_TOKENS} tokens of thinking and the answer"
        )
    return ThinkingPlan(thinking=_enabled(budget), effort=effort)


def _off(facts: ModelFacts, path: str, notes: Notes) -> ThinkingPlan:
    """No thinking, as far as the model lets itself be told."""
    if facts.thinking_default == "off":
        return ThinkingPlan()
    for type_ in ("disabled", "between_tools"):
        if type_ in facts.thinking:
            return ThinkingPlan(thinking={"type": type_})
    lowest = facts.efforts[0]
    notes.adjust(path, lowest, f"{facts.id} always thinks")
    return ThinkingPlan(effort=lowest)


def _fit(budget: int, max_tokens: int) -> int | None:
    """A budget within Anthropic's bounds; None when ``max_tokens`` leaves no room."""
    most = max_tokens - MIN_BUDGET_TOKENS
    return max(min(budget, most), MIN_BUDGET_TOKENS) if most >= MIN_BUDGET_TOKENS else None


def _enabled(budget: int | None) -> dict[str, Any] | UnsetType:
    return UNSET if budget is None else {"type": "enabled", "budget_tokens": budget}


def _highest_up_to(asked: Effort, efforts: Sequence[Effort]) -> Effort:
    """The highest of ``efforts`` (in rising order) that is not above ``asked``."""
    rank = {effort: index for index, effort in enumerate(EFFORT_ORDER)}
    return next((effort for effort in reversed(efforts) if rank[effort] <= rank[asked]), efforts[0])


def _why_not_enabled(plan: ThinkingPlan, conversation: Conversation, *, forces_tool: bool) -> str | None:
    """Why thinking with a budget would be refused; adaptive thinking has no such rules."""
    if plan.thinking is UNSET or plan.thinking["type"] != "enabled":
        return None
    if forces_tool:
        return "thinking with a budget does not go with a forced tool choice"
    if conversation.messages[-1].role == "assistant":
        return "thinking with a budget does not go with a prefilled answer"
    start = _start_of_tool_turn(conversation.messages)
    if start is not None and not is_thought(start.content[0]):
        return _LACKS_START
    return None


def _start_of_tool_turn(messages: Sequence[anthropic.Message]) -> anthropic.Message | None:
    """Where the assistant began the turn whose calls have just been answered; None when no such turn is going on.

    Claude thinks at the beginning of such a turn, which may go on over several calls and results.
    """
    start: anthropic.Message | None = None
    answers_calls = False  # of the user turns between the one assistant turn and the next
    later_role = ""
    for turn in reversed(messages):
        if turn.role == "assistant":
            if not answers_calls:
                break
            start = turn
        elif later_role == "assistant":
            answers_calls = False
        answers_calls = answers_calls or isinstance(turn.content[0], anthropic.ToolResultBlock)
        later_role = turn.role
    return start


def _is_shown(request: openai.ChatRequest, asked: str | None, *, show_by_default: bool) -> bool:
    if request.include_reasoning is not None:
        return bool(request.include_reasoning)
    return show_by_default or asked not in (None, "none", "disabled", "between_tools")


def _bind(plan: ThinkingPlan, facts: ModelFacts, conversation: Conversation, notes: Notes) -> None:
    """Replayed thinking that no longer fits its prefix is to be dropped by Anthropic, not refused.

    Where some is missing, what stands before it is left out too: what is replayed has to be an unbroken run.
    """
    if conversation.thinking and facts.bound_thinking:
        if conversation.broken_at:
            earlier = conversation.thinking[: conversation.broken_at]
            conversation.thinking = conversation.thinking[conversation.broken_at :]
            _forget(earlier, notes, "later thinking is missing, and this model wants an unbroken run")
        thinking = {"type": "adaptive"} if plan.thinking is UNSET else plan.thinking
        if thinking["type"] in _THINKS:
            plan.thinking = {"block_binding": {"prefix_mismatch_behavior": "drop_block"}, **thinking}
        else:
            reason = "thinking is off, and this model binds thinking to its conversation"
            _forget(conversation.thinking, notes, reason)
    if plan.thinking is not UNSET and "block_binding" in plan.thinking:
        plan.betas = (BINDING_BETA,)


def _forget(thinking: Iterable[tuple[anthropic.Message, str]], notes: Notes, reason: str) -> None:
    """Takes replayed thinking out again, up to where a run of it may begin, or all of it."""
    for turn, path in thinking:
        turn.content = [block for block in turn.content if not is_thought(block)]
        if path:
            notes.ignore(path, reason)
