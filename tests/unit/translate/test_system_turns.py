from typing import Any

import pytest

from tests.support.chat_requests import WEATHER, refusal, sent

WITH_SYSTEM = "claude-opus-5-5"
WITHOUT_SYSTEM = "claude-sonnet-5"

U: dict[str, Any] = {"role": "user", "content": "u"}
A: dict[str, Any] = {"role": "assistant", "content": "a"}
S: dict[str, Any] = {"role": "system", "content": "s"}
CALL: dict[str, Any] = {
    "role": "assistant",
    "tool_calls": [{"id": "c", "type": "function", "function": {"name": "weather", "arguments": ""}}],
}
RESULT: dict[str, Any] = {"role": "tool", "tool_call_id": "c", "content": "r"}


def shape(*messages: Any, model: str, **settings: Any) -> list[str]:
    """The turns in short: role, then what each block says."""
    turns = sent({"model": model, "messages": list(messages), "tools": [WEATHER]}, **settings)["messages"]
    return [
        turn["role"] + ":" + "+".join(block.get("text", block["type"]).replace("\n", "|") for block in turn["content"])
        for turn in turns
    ]


REMINDER = "<system-reminder>|s|</system-reminder>"


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([U, S], ["user:u", "system:s"]),
        ([U, S, U], ["user:u", "user:u", "system:s"]),
        ([U, S, S], ["user:u", "system:s+s"]),
        ([U, S, U, S, A, U], ["user:u", "user:u", "system:s+s", "assistant:a", "user:u"]),
        ([U, A, S, U], ["user:u", "assistant:a", "user:u", "system:s"]),
        ([U, S, A, U], ["user:u", "system:s", "assistant:a", "user:u"]),
        ([U, CALL, S, RESULT], ["user:u", "assistant:tool_use", "user:tool_result", "system:s"]),
        ([U, CALL, RESULT, S, U], ["user:u", "assistant:tool_use", "user:tool_result", "user:u", "system:s"]),
        ([U, A, S, A, U], ["user:u", "assistant:a", f"user:{REMINDER}", "assistant:a", "user:u"]),
        ([U, A, S], ["user:u", "assistant:a", "user:Continue.", "system:s"]),
        ([{"role": "user", "content": ""}, S], ["user:(start)", "system:s"]),
    ],
)
def test_a_later_instruction_stands_after_a_user_turn(messages: list[Any], expected: list[str]) -> None:
    assert shape(*messages, model=WITH_SYSTEM) == expected


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([U, S], ["user:u", f"user:{REMINDER}"]),
        ([U, S, U], ["user:u", f"user:{REMINDER}+u"]),
        ([U, S, S, U], ["user:u", f"user:{REMINDER}+{REMINDER}+u"]),
        ([U, A, S, U], ["user:u", "assistant:a", f"user:{REMINDER}+u"]),
        ([U, S, A, U], ["user:u", f"user:{REMINDER}", "assistant:a", "user:u"]),
        ([U, CALL, S, RESULT], ["user:u", "assistant:tool_use", f"user:tool_result+{REMINDER}"]),
        ([U, CALL, RESULT, S, U], ["user:u", "assistant:tool_use", f"user:tool_result+{REMINDER}", "user:u"]),
        ([U, A, S], ["user:u", "assistant:a", f"user:{REMINDER}"]),
    ],
)
def test_elsewhere_it_is_a_reminder_in_a_user_turn(messages: list[Any], expected: list[str]) -> None:
    assert shape(*messages, model=WITHOUT_SYSTEM) == expected


def test_it_can_be_hoisted() -> None:
    body = sent({"messages": [S, U, A, {"role": "developer", "content": "t"}, U]}, later_system="hoist")
    assert [block["text"] for block in body["system"]] == ["s", "t"]
    assert [turn["role"] for turn in body["messages"]] == ["user", "assistant", "user"]


def test_what_was_sent_before_stays_a_prefix_when_the_conversation_goes_on() -> None:
    for model in (WITH_SYSTEM, WITHOUT_SYSTEM):
        first = shape(U, S, model=model)
        assert shape(U, S, A, U, model=model)[: len(first)] == first


def test_an_assistant_turn_before_an_instruction_at_the_end_can_be_refused() -> None:
    assert refusal({"messages": [U, A, S]}, last_assistant="error").param == "messages[2]"


def test_a_reminder_keeps_its_cache_marker() -> None:
    part = {"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}
    request = {"model": WITHOUT_SYSTEM, "messages": [U, {"role": "system", "content": [part]}, U]}
    assert sent(request)["messages"][1]["content"][0]["cache_control"] == {"type": "ephemeral"}
