"""Reasoning with the official client: asked for, shown, streamed, and handed back."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.support.mock_gateway import MockGateway
from tests.support.questions import MODEL, ask

WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def extra(message: Any, name: str) -> Any:
    """A field that OpenAI's types do not know."""
    return (message.model_extra or {}).get(name)


@pytest.mark.parametrize("model", [MODEL, "claude-opus-5-5", "claude-haiku-5-5", "claude-haiku-4-5", "claude-opus-4-6"])
def test_reasoning_that_was_asked_for_is_shown(client: OpenAI, model: str, topic: str) -> None:
    completion = client.chat.completions.create(model=model, messages=ask(topic), reasoning_effort="medium")

    message = completion.choices[0].message
    (block,) = extra(message, "thinking_blocks")
    assert extra(message, "reasoning_content")
    assert block["thinking"] == extra(message, "reasoning_content")
    assert block["signature"]
    assert completion.usage is not None
    assert completion.usage.completion_tokens_details is not None
    assert (completion.usage.completion_tokens_details.reasoning_tokens or 0) > 0


def test_reasoning_that_was_not_asked_for_is_not_shown(client: OpenAI, topic: str) -> None:
    message = client.chat.completions.create(model=MODEL, messages=ask(topic)).choices[0].message

    assert extra(message, "reasoning_content") is None
    assert extra(message, "thinking_blocks") is None


@pytest.mark.parametrize("effort", ["minimal", "low", "medium", "high", "xhigh"])
def test_every_effort_is_served(client: OpenAI, effort: Any) -> None:
    completion = client.chat.completions.create(model=MODEL, messages=ask("Think."), reasoning_effort=effort)

    assert extra(completion.choices[0].message, "reasoning_content")


@pytest.mark.parametrize("model", ["claude-haiku-5-5", "claude-sonnet-4-5", "claude-opus-4-8"])
def test_effort_none_turns_thinking_off(client: OpenAI, model: str) -> None:
    completion = client.chat.completions.create(model=model, messages=ask("Do not think."), reasoning_effort="none")

    assert extra(completion.choices[0].message, "reasoning_content") is None
    assert completion.usage is not None
    assert completion.usage.completion_tokens_details is not None
    assert completion.usage.completion_tokens_details.reasoning_tokens == 0


def test_streamed_reasoning_equals_the_plain_one(client: OpenAI, topic: str) -> None:
    request: Any = {"model": MODEL, "messages": ask(topic), "reasoning_effort": "high", "max_tokens": 4000}
    plain = client.chat.completions.create(**request).choices[0].message
    with client.chat.completions.create(**request, stream=True) as stream:
        deltas = [chunk.choices[0].delta for chunk in stream]

    assert "".join(extra(delta, "reasoning_content") or "" for delta in deltas) == extra(plain, "reasoning_content")
    assert [block for delta in deltas for block in extra(delta, "thinking_blocks") or []] == extra(
        plain, "thinking_blocks"
    )
    assert "".join(delta.content or "" for delta in deltas) == plain.content


#: No signature of anybody's.
TAMPERED = "bm90IGEgc2lnbmF0dXJl"


def called_with_reasoning(client: OpenAI, topic: str) -> list[Any]:
    """A conversation up to the result of a tool, with the thinking that led to the call."""
    messages = ask(f"{topic}: what is the weather in Rome?")
    completion = client.chat.completions.create(
        model=MODEL, messages=messages, tools=[WEATHER], reasoning_effort="medium"
    )
    message = completion.choices[0].message
    (call,) = message.tool_calls or []
    return [
        *messages,
        message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": "twenty degrees"},
    ]


def test_thinking_goes_back_unchanged_before_the_call_it_led_to(
    client: OpenAI, gateway: MockGateway, topic: str
) -> None:
    messages = called_with_reasoning(client, topic)
    completion = client.chat.completions.create(
        model=MODEL, messages=messages, tools=[WEATHER], reasoning_effort="medium"
    )

    assert "twenty degrees" in (completion.choices[0].message.content or "")
    _, call = gateway.upstream_calls(topic)
    thinking, use = call["body"]["messages"][1]["content"]
    assert thinking == messages[1]["thinking_blocks"][0]
    assert use["type"] == "tool_use"


def test_a_client_that_loses_the_thinking_is_served_all_the_same(client: OpenAI, topic: str) -> None:
    messages = called_with_reasoning(client, topic)
    del messages[1]["thinking_blocks"]
    del messages[1]["reasoning_content"]
    completion = client.chat.completions.create(
        model=MODEL, messages=messages, tools=[WEATHER], reasoning_effort="medium"
    )

    assert "twenty degrees" in (completion.choices[0].message.content or "")


def test_thinking_that_was_tampered_with_does_not_take_the_place_of_what_was_kept(
    client: OpenAI, gateway: MockGateway, topic: str
) -> None:
    messages = called_with_reasoning(client, topic)
    signature = messages[1]["thinking_blocks"][0]["signature"]
    messages[1]["thinking_blocks"][0]["signature"] = TAMPERED
    client.chat.completions.create(model=MODEL, messages=messages, tools=[WEATHER], reasoning_effort="medium")
    _, call = gateway.upstream_calls(topic)
    thinking, _ = call["body"]["messages"][1]["content"]
    assert thinking["signature"] == signature


def test_thinking_of_calls_that_nobody_kept_is_refused_when_it_was_tampered_with(client: OpenAI, topic: str) -> None:
    messages = called_with_reasoning(client, topic)
    messages[1]["tool_calls"][0]["id"] = messages[2]["tool_call_id"] = "call_of_another_gateway"
    messages[1]["thinking_blocks"][0]["signature"] = TAMPERED
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model=MODEL, messages=messages, tools=[WEATHER], reasoning_effort="medium")


def test_redacted_thinking_goes_back_too(client: OpenAI, gateway: MockGateway, topic: str) -> None:
    messages = ask(f"{topic}: what is the weather in Rome? [[sim: redacted]]")
    first = client.chat.completions.create(model=MODEL, messages=messages, tools=[WEATHER], reasoning_effort="low")
    message = first.choices[0].message
    (call,) = message.tool_calls or []
    messages = [
        *messages,
        message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": "twenty degrees"},
    ]
    client.chat.completions.create(model=MODEL, messages=messages, tools=[WEATHER], reasoning_effort="low")

    _, upstream = gateway.upstream_calls(topic)
    assert upstream["body"]["messages"][1]["content"][0] == extra(message, "thinking_blocks")[0]
    assert upstream["body"]["messages"][1]["content"][0]["type"] == "redacted_thinking"


def test_a_budget_of_thinking_tokens_comes_by_header(client: OpenAI, gateway: MockGateway, topic: str) -> None:
    client.chat.completions.create(
        model="claude-haiku-4-5", messages=ask(topic), extra_headers={"X-Claude-Max-Thinking-Tokens": "2048"}
    )

    (call,) = gateway.upstream_calls(topic)
    assert call["body"]["thinking"] == {"type": "enabled", "budget_tokens": 2048} | {
        name: value for name, value in call["body"]["thinking"].items() if name == "display"
    }
