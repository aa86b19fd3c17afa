"""Smoke tests of LangChain; skipped where ``langchain-openai`` (the extra ``smoke``) is not installed."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from tests.support.mock_gateway import MockGateway
from tests.support.questions import MODEL

ChatOpenAI = pytest.importorskip("langchain_openai").ChatOpenAI


class GetWeather(BaseModel):
    """The weather of a city."""

    city: str


class City(BaseModel):
    """A city."""

    name: str
    people: int


@pytest.fixture
def model(gateway: MockGateway) -> Any:
    return ChatOpenAI(model=MODEL, base_url=gateway.url, api_key="none", max_retries=0, stream_usage=True)


def test_is_answered(model: Any) -> None:
    answer = model.invoke("Hello from LangChain")

    assert "Hello from LangChain" in answer.content
    assert answer.usage_metadata["total_tokens"] > 0
    assert answer.response_metadata["finish_reason"] == "stop"


def test_streams(model: Any) -> None:
    whole = None
    for chunk in model.stream("Hello from LangChain"):
        whole = chunk if whole is None else whole + chunk

    assert whole is not None
    assert "Hello from LangChain" in whole.content
    assert whole.usage_metadata["total_tokens"] > 0


def test_calls_tools_and_brings_back_their_results(model: Any) -> None:
    from langchain_core.messages import HumanMessage, ToolMessage

    messages: list[Any] = [HumanMessage("Please call GetWeather for Rome and GetWeather for Oslo")]
    with_tools = model.bind_tools([GetWeather])
    called = with_tools.invoke(messages)
    results = [ToolMessage(f"sunny in {call['args']['city']}", tool_call_id=call["id"]) for call in called.tool_calls]
    answer = with_tools.invoke([*messages, called, *results])

    assert len(results) == 2
    assert "; ".join(result.content for result in results) in answer.content


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_gives_an_object(model: Any, method: str) -> None:
    city = model.with_structured_output(City, method=method).invoke("Give me a city; use City")

    assert isinstance(city, City)
