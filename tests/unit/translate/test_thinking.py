from typing import Any

import pytest

from tests.support.chat_requests import HELLO, MODELS, WEATHER, adjusted, call, ignored, refusal, sent

ADAPTIVE = {"type": "adaptive", "display": "summarized"}
BUDGETS = "claude-haiku-4-5"
BUDGETS_AND_EFFORT = "claude-opus-4-5"
HEADER = "x-claude-max-thinking-tokens"
BETA = ("thinking-binding-controls-2026-08-01",)
SIGNED = {"type": "thinking", "thinking": "hm", "signature": "S"}


def asked(body: dict[str, Any]) -> tuple[Any, Any]:
    return body.get("thinking"), body.get("output_config", {}).get("effort")


def effort(level: str, model: str = "claude-opus-4-8", **more: Any) -> dict[str, Any]:
    return {"model": model, "reasoning_effort": level, "max_tokens": 40_000, **more}


def tool_use(**assistant: Any) -> list[dict[str, Any]]:
    calls = [{"id": "c", "type": "function", "function": {"name": "weather", "arguments": "{}"}}]
    return [
        *HELLO,
        {"role": "assistant", "tool_calls": calls, **assistant},
        {"role": "tool", "tool_call_id": "c", "content": "x"},
    ]


def test_without_a_word_nothing_is_sent() -> None:
    assert all(asked(sent({"model": facts.id})) == (None, None) for facts in MODELS.all())


@pytest.mark.parametrize(
    ("level", "sends"),
    [("minimal", "low"), ("low", "low"), ("medium", "medium"), ("high", "high"), ("xhigh", "xhigh"), ("max", "max")],
)
def test_effort_with_adaptive_thinking(level: str, sends: str) -> None:
    assert asked(sent(effort(level))) == (ADAPTIVE, sends)
    assert adjusted(effort(level)) == {}


@pytest.mark.parametrize(("level", "sends"), [("xhigh", "high"), ("max", "max")])
def test_an_effort_that_a_model_lacks_is_lowered(level: str, sends: str) -> None:
    request = effort(level, "claude-sonnet-4-6")
    assert asked(sent(request)) == (ADAPTIVE, sends)
    assert adjusted(request) == ({} if level == sends else {"reasoning_effort": sends})


@pytest.mark.parametrize(
    ("level", "budget"),
    [("minimal", 1024), ("low", 4096), ("medium", 8192), ("high", 16384), ("xhigh", 32000), ("max", 32000)],
)
def test_effort_as_a_budget(level: str, budget: int) -> None:
    assert asked(sent(effort(level, BUDGETS))) == ({"type": "enabled", "budget_tokens": budget}, None)
    assert adjusted(effort(level, BUDGETS)) == {}


def test_a_budget_with_an_effort() -> None:
    request = effort("max", BUDGETS_AND_EFFORT)
    assert asked(sent(request)) == ({"type": "enabled", "budget_tokens": 32000}, "high")
    assert adjusted(request) == {"reasoning_effort": "high"}
    assert asked(sent(effort("minimal", BUDGETS_AND_EFFORT)))[1] == "low"


@pytest.mark.parametrize(("max_tokens", "budget"), [(20_000, 18_976), (2048, 1024)])
def test_a_budget_leaves_room_for_the_answer(max_tokens: int, budget: int) -> None:
    body = sent(effort("xhigh", BUDGETS, max_tokens=max_tokens))
    assert body["thinking"]["budget_tokens"] == budget


def test_without_room_there_is_no_thinking() -> None:
    request = effort("low", BUDGETS, max_tokens=2047)
    assert asked(sent(request)) == (None, None)
    assert adjusted(request) == {"reasoning_effort": "none"}


@pytest.mark.parametrize(
    ("model", "sends", "became"),
    [
        ("claude-opus-4-8", (None, None), {}),
        ("claude-haiku-4-5", (None, None), {}),
        ("claude-opus-5", ({"type": "disabled"}, None), {}),
        ("claude-haiku-5-5", ({"type": "disabled"}, None), {}),
        ("claude-sonnet-5-5", ({"type": "between_tools"}, None), {}),
        ("claude-opus-5-5", (None, "low"), {"reasoning_effort": "low"}),
        ("claude-fable-5-2", (None, "low"), {"reasoning_effort": "low"}),
    ],
)
def test_no_reasoning(model: str, sends: Any, became: dict[str, str]) -> None:
    assert asked(sent(effort("none", model))) == sends
    assert adjusted(effort("none", model)) == became


def test_effort_in_the_name_counts() -> None:
    assert asked(sent({"model": "claude-opus-4-8@xhigh"})) == (ADAPTIVE, "xhigh")
    assert adjusted({"model": "claude-sonnet-4-6@xhigh"}) == {"model": "high"}


def test_effort_in_the_request_wins_over_the_name() -> None:
    request = effort("low", "claude-opus-4-8@max")
    assert asked(sent(request)) == (ADAPTIVE, "low")
    assert adjusted(request) == {"model": "claude-opus-4-8"}


# The header


@pytest.mark.parametrize(("tokens", "budget"), [(5000, 5000), (1024, 1024), (100, 1024), (100_000, 38_976)])
def test_the_header_sets_the_budget(tokens: int, budget: int) -> None:
    request = {"model": BUDGETS, "max_tokens": 40_000}
    assert sent(request, thinking_tokens=tokens)["thinking"] == {"type": "enabled", "budget_tokens": budget}
    assert adjusted(request, thinking_tokens=tokens) == ({} if tokens == budget else {HEADER: str(budget)})


def test_the_header_without_room_is_reported() -> None:
    assert adjusted({"model": BUDGETS, "max_tokens": 2000}, thinking_tokens=1500) == {HEADER: "none"}


@pytest.mark.parametrize(
    ("tokens", "level"),
    [(1, "low"), (5000, "low"), (10_000, "medium"), (20_000, "high"), (40_000, "xhigh"), (10**6, "max")],
)
def test_elsewhere_the_header_is_the_nearest_effort(tokens: int, level: str) -> None:
    assert asked(sent({}, thinking_tokens=tokens)) == (ADAPTIVE, level)
    assert adjusted({}, thinking_tokens=tokens) == {HEADER: level}


def test_the_header_zero_turns_thinking_off() -> None:
    assert asked(sent({"model": "claude-opus-5"}, thinking_tokens=0)) == ({"type": "disabled"}, None)
    assert not call({"model": "claude-opus-5"}, thinking_tokens=0).plan.include_reasoning


def test_the_header_wins_over_reasoning_effort() -> None:
    request = effort("max", BUDGETS)
    assert sent(request, thinking_tokens=2000)["thinking"]["budget_tokens"] == 2000
    assert ignored(request, thinking_tokens=2000) == ("reasoning_effort",)
    assert adjusted({"model": f"{BUDGETS}@low"}, thinking_tokens=2000) == {"model": BUDGETS}


def test_a_negative_header_is_refused() -> None:
    assert refusal({}, thinking_tokens=-1).param == HEADER


# Anthropic's own words


def test_thinking_is_taken_as_it_is() -> None:
    thinking = {"type": "enabled", "budget_tokens": 5000, "display": "omitted"}
    request = {"model": "claude-sonnet-4-6", "thinking": thinking}
    assert asked(sent(request)) == (thinking, None)
    assert call(request).report.adjusted == ()


def test_thinking_wins_over_everything_else() -> None:
    request = effort("max", thinking={"type": "disabled"})
    assert asked(sent(request, thinking_tokens=2000)) == ({"type": "disabled"}, None)
    assert ignored(request, thinking_tokens=2000) == (HEADER, "reasoning_effort")


@pytest.mark.parametrize("thinking", [{}, {"budget_tokens": 1}, {"type": 5}])
def test_thinking_needs_a_type(thinking: Any) -> None:
    assert refusal({"thinking": thinking}).param == "thinking.type"


# Where thinking with a budget is refused upstream


def test_a_budget_does_not_go_with_a_forced_tool() -> None:
    request = effort("low", BUDGETS, tools=[WEATHER], tool_choice="required")
    assert asked(sent(request)) == (None, None)
    assert adjusted(request) == {"reasoning_effort": "none"}
    given = {"model": BUDGETS, "thinking": {"type": "enabled", "budget_tokens": 2000}, "max_tokens": 9000}
    assert adjusted({**given, "tools": [WEATHER], "tool_choice": "required"}) == {"thinking": "none"}


def test_adaptive_thinking_goes_with_a_forced_tool() -> None:
    request = effort("low", "claude-opus-5", tools=[WEATHER], tool_choice="required")
    assert asked(sent(request)) == (ADAPTIVE, "low")


def test_a_budget_does_not_go_with_a_prefill() -> None:
    request = effort("low", BUDGETS, messages=[*HELLO, {"role": "assistant", "content": "a"}])
    assert adjusted(request) == {"reasoning_effort": "none"}


@pytest.mark.parametrize(
    ("assistant", "thinks"), [({}, False), ({"content": "a"}, False), ({"thinking_blocks": [SIGNED]}, True)]
)
def test_a_budget_in_a_tool_turn_needs_the_thinking_back(assistant: Any, thinks: bool) -> None:
    request = effort("low", BUDGETS, tools=[WEATHER], messages=tool_use(**assistant))
    assert ("thinking" in sent(request)) == thinks
    assert adjusted(request) == ({} if thinks else {"reasoning_effort": "none"})


def again(*turns: Any) -> dict[str, Any]:
    """A conversation from names: ``u`` user, ``a`` answer, ``c`` call and result, ``C`` the same with thinking."""
    messages: list[Any] = []
    for turn in turns:
        if turn in "cC":
            messages += tool_use(**({"thinking_blocks": [SIGNED]} if turn == "C" else {}))[1:]
        else:
            messages.append({"role": "user" if turn == "u" else "assistant", "content": turn})
    return effort("low", BUDGETS, tools=[WEATHER], messages=messages)


@pytest.mark.parametrize(
    ("turns", "thinks"),
    [
        ("uCc", True),
        ("ucC", False),
        ("uCcu", True),
        ("ucu", False),
        ("ucau", True),
        ("ucuC", False),
        ("ucauC", True),
        ("uac", False),
    ],
)
def test_a_tool_turn_needs_thinking_at_its_beginning_only(turns: str, thinks: bool) -> None:
    assert ("thinking" in sent(again(*turns))) == thinks


def test_a_budget_between_turns_needs_no_thinking_back() -> None:
    messages = [*HELLO, {"role": "assistant", "content": "a"}, *HELLO]
    assert "thinking" in sent(effort("low", BUDGETS, messages=messages))


# What the client sees


@pytest.mark.parametrize(
    ("request_", "shown"),
    [
        ({}, False),
        ({"reasoning_effort": "low"}, True),
        ({"reasoning_effort": "none"}, False),
        ({"model": "claude-opus-4-8@low"}, True),
        ({"thinking": {"type": "adaptive"}}, True),
        ({"thinking": {"type": "disabled"}}, False),
        ({"thinking": {"type": "between_tools"}}, False),
        ({"reasoning_effort": "low", "include_reasoning": False}, False),
        ({"include_reasoning": True}, True),
    ],
)
def test_reasoning_is_shown_to_who_asked_for_it(request_: dict[str, Any], shown: bool) -> None:
    assert call({"model": "claude-opus-4-8", **request_}).plan.include_reasoning == shown


def test_reasoning_is_shown_by_default_where_the_operator_says_so() -> None:
    assert call({}, include_reasoning=True).plan.include_reasoning
    assert not call({"include_reasoning": False}, include_reasoning=True).plan.include_reasoning


@pytest.mark.parametrize(("model", "thinking"), [("claude-opus-5-5", ADAPTIVE), ("claude-opus-4-8", None)])
def test_shown_reasoning_is_asked_for_where_the_model_thinks_anyway(model: str, thinking: Any) -> None:
    assert asked(sent({"model": model, "include_reasoning": True})) == (thinking, None)


@pytest.mark.parametrize(
    ("request_", "details"),
    [
        ({"include_reasoning": True}, False),
        ({"include_reasoning": "details"}, True),
        ({"reasoning_effort": "low"}, False),
    ],
)
def test_openrouters_form_is_shown_on_request(request_: dict[str, Any], details: bool) -> None:
    assert call(request_).plan.reasoning_details == details


def test_openrouters_form_is_shown_to_who_speaks_it() -> None:
    details = [{"type": "reasoning.text", "text": "hm", "signature": "S", "index": 0}]
    request = {"messages": [*HELLO, {"role": "assistant", "content": "a", "reasoning_details": details}, *HELLO]}
    assert call({**request, "reasoning_effort": "low"}).plan.reasoning_details
    assert not call(request).plan.reasoning_details


# Thinking that comes back


def back(model: str, blocks: Any = (SIGNED,), **more: Any) -> dict[str, Any]:
    messages = [*HELLO, {"role": "assistant", "content": "a", "thinking_blocks": list(blocks)}, *HELLO]
    return {"model": model, "messages": messages, **more}


def test_replayed_thinking_stands_first_and_asks_to_drop_what_no_longer_fits() -> None:
    body = sent(back("claude-opus-5-5"))
    assert body["messages"][1]["content"] == [SIGNED, {"type": "text", "text": "a"}]
    assert body["thinking"] == {"type": "adaptive", "block_binding": {"prefix_mismatch_behavior": "drop_block"}}
    assert call(back("claude-opus-5-5")).betas == BETA


def test_models_that_do_not_bind_thinking_need_no_beta() -> None:
    assert "thinking" not in sent(back("claude-opus-5"))
    assert call(back("claude-opus-5")).betas == ()


def test_the_clients_own_binding_is_kept() -> None:
    thinking = {"type": "adaptive", "block_binding": {"prefix_mismatch_behavior": "error"}}
    assert sent(back("claude-opus-5-5", thinking=thinking))["thinking"] == thinking
    assert call({"thinking": thinking}).betas == BETA


def test_thinking_is_taken_out_where_it_is_bound_but_switched_off() -> None:
    request = back("claude-sonnet-5-5", reasoning_effort="none")
    assert sent(request)["messages"][1]["content"] == [{"type": "text", "text": "a"}]
    assert ignored(request) == ("messages[1].thinking_blocks",)


def test_thinking_without_a_signature_is_reported() -> None:
    request = back(
        "claude-opus-5", [{"type": "thinking", "thinking": "hm"}, {"type": "redacted_thinking", "data": "R"}]
    )
    assert sent(request)["messages"][1]["content"][0] == {"type": "redacted_thinking", "data": "R"}
    assert ignored(request) == ("messages[1].thinking_blocks[0]",)


def test_thinking_without_an_answer_is_dropped() -> None:
    messages = [*HELLO, {"role": "assistant", "content": "", "thinking_blocks": [SIGNED]}, *HELLO]
    request = {"messages": messages}
    assert len(sent(request)["messages"]) == 2
    assert ignored(request) == ("messages[1].thinking_blocks",)


def test_reasoning_details_are_thinking_blocks() -> None:
    details = [
        {"type": "reasoning.text", "text": "hm", "signature": "S", "format": "anthropic-claude-v1", "index": 0},
        {"type": "reasoning.text", "signature": "T"},
        {"type": "reasoning.encrypted", "data": "R"},
        {"type": "reasoning.summary", "summary": "hm"},
    ]
    request = {"messages": [*HELLO, {"role": "assistant", "content": "a", "reasoning_details": details}, *HELLO]}
    assert sent(request)["messages"][1]["content"][:3] == [
        SIGNED,
        {"type": "thinking", "thinking": "", "signature": "T"},
        {"type": "redacted_thinking", "data": "R"},
    ]
    assert ignored(request) == ("messages[1].reasoning_details[3]",)


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_text_alone_cannot_be_replayed(field: str) -> None:
    assert ignored({"messages": [*HELLO, {"role": "assistant", "content": "a", field: "hm"}, *HELLO]}) == (
        f"messages[1].{field}",
    )


@pytest.mark.parametrize(
    ("request_", "least"),
    [
        ({"model": BUDGETS}, 1),
        ({"model": BUDGETS, "reasoning_effort": "low", "max_tokens": 8000}, 4097),
        ({"model": BUDGETS, "thinking": {"type": "enabled", "budget_tokens": 2000}}, 2001),
        ({"model": BUDGETS, "thinking": {"type": "enabled", "budget_tokens": 2000}, "max_tokens": 1500}, 1500),
        ({"model": BUDGETS, "thinking": {"type": "enabled"}, "max_tokens": 1500}, 1500),
        ({"reasoning_effort": "high"}, 1),
        ({"prewarm": True}, 0),
    ],
)
def test_the_smallest_bound_leaves_room_for_the_budget(request_: dict[str, Any], least: int) -> None:
    assert call(request_).least_tokens == least
