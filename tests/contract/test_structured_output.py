"""Structured output with the official client: ``.parse()``, the ``.stream()`` helper and JSON mode."""

from __future__ import annotations

import json
from enum import Enum

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel, Field

from tests.support.mock_gateway import MockGateway
from tests.support.questions import MODEL, ask


class Colour(Enum):
    RED = "red"
    GREEN = "green"


class Step(BaseModel):
    explanation: str
    result: float


class Solution(BaseModel):
    """Every kind of thing that a schema may hold."""

    steps: list[Step] = Field(min_length=1)
    answer: str
    colour: Colour
    certain: bool
    note: str | None


@pytest.mark.parametrize("model", [MODEL, "claude-haiku-4-5", "claude-opus-5-5"])
def test_parse_gives_an_object_of_the_schema(client: OpenAI, model: str, topic: str) -> None:
    (choice,) = client.chat.completions.parse(model=model, messages=ask(topic), response_format=Solution).choices

    assert isinstance(choice.message.parsed, Solution)
    assert choice.finish_reason == "stop"


def test_a_schema_is_enforced_upstream(client: OpenAI, gateway: MockGateway, topic: str) -> None:
    client.chat.completions.parse(model=MODEL, messages=ask(topic), response_format=Solution)

    (call,) = gateway.upstream_calls(topic)
    assert call["body"]["output_config"]["format"]["type"] == "json_schema"
    assert call["body"]["output_config"]["format"]["schema"]["additionalProperties"] is False


async def test_the_stream_helper_parses_as_it_goes(async_client: AsyncOpenAI, topic: str) -> None:
    async with async_client.chat.completions.stream(
        model=MODEL, messages=ask(topic), response_format=Solution
    ) as stream:
        deltas = [event async for event in stream if event.type == "content.delta"]
        completion = await stream.get_final_completion()

    assert len(deltas) > 1
    assert isinstance(completion.choices[0].message.parsed, Solution)


def test_an_answer_cut_by_the_limit_is_no_object(client: OpenAI) -> None:
    with pytest.raises(openai.LengthFinishReasonError):
        client.chat.completions.parse(
            model="claude-opus-4-8", messages=ask("Solve it."), response_format=Solution, max_tokens=5
        )


def test_json_mode_answers_json_and_says_that_it_only_asked_for_it(client: OpenAI, topic: str) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=ask(f"{topic}, as JSON"), response_format={"type": "json_object"}
    )

    assert isinstance(json.loads(raw.parse().choices[0].message.content or ""), dict)
    assert "response_format" in raw.headers["x-claude-wrapper-adjusted-params"]
