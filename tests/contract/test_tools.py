"""Tools with the official client: calls, parallel calls, streamed calls, and their results on the way back."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI, pydantic_function_tool
from openai.lib.streaming.chat import ChatCompletionStreamState
from pydantic import BaseModel

from tests.support.mock_gateway import MockGateway
from tests.support.questions import MODEL, ask


def function_tool(name: str, **properties: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "description": f"It does {name}.", "parameters": parameters}}


WEATHER = function_tool("get_weather", city={"type": "string"}, unit={"type": "string", "enum": ["C", "F"]})
CLOCK = function_tool("get_time", zone={"type": "string"})
QUESTION = "please call get_weather for Rome, get_weather for Oslo, and get_time for Tokyo"


def accumulated(stream: Any) -> Any:
    state = ChatCompletionStreamState()
    with stream:
        for chunk in stream:
            state.handle_chunk(chunk)
    return state.get_final_completion()


def calls_of(completion: Any) -> list[tuple[str, str, Any]]:
    return [
        (call.id, call.function.name, json.loads(call.function.arguments))
        for call in completion.choices[0].message.tool_calls or []
    ]


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])
def test_parallel_calls_come_in_order_with_arguments_that_fit(client: OpenAI, topic: str, streamed: bool) -> None:
    request: Any = {"model": MODEL, "messages": ask(f"{topic}: {QUESTION}"), "tools": [WEATHER, CLOCK]}
    completion = (
        accumulated(client.chat.completions.create(**request, stream=True))
        if streamed
        else client.chat.completions.create(**request)
    )

    calls = calls_of(completion)
    assert [name for _, name, _ in calls] == ["get_weather", "get_weather", "get_time"]
    assert [set(arguments) for _, _, arguments in calls] == [{"city", "unit"}, {"city", "unit"}, {"zone"}]
    assert len({call_id for call_id, _, _ in calls}) == 3
    assert completion.choices[0].finish_reason == "tool_calls"


def test_streamed_calls_equal_the_plain_ones(client: OpenAI, topic: str) -> None:
    request: Any = {
        "model": MODEL,
        "messages": ask(f"{topic}: {QUESTION} [[sim: delta_tokens=1 chunk_bytes=11]]"),
        "tools": [WEATHER, CLOCK],
        "max_tokens": 4000,
    }

    plain = client.chat.completions.create(**request)
    streamed = accumulated(client.chat.completions.create(**request, stream=True))

    assert calls_of(streamed) == calls_of(plain)


def test_text_before_a_call_is_kept(client: OpenAI, topic: str) -> None:
    (choice,) = client.chat.completions.create(
        model=MODEL,
        messages=ask(f"{topic} [[sim: calls=get_weather preface='Let me look.']]"),
        tools=[WEATHER],
    ).choices

    assert choice.message.content == "Let me look."
    assert len(choice.message.tool_calls or []) == 1


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])
def test_results_go_back_in_one_turn_and_are_answered(
    client: OpenAI, gateway: MockGateway, topic: str, streamed: bool
) -> None:
    messages = ask(f"{topic}: {QUESTION}")
    tools: Any = [WEATHER, CLOCK]
    first = client.chat.completions.create(model=MODEL, messages=messages, tools=tools)
    messages.append(first.choices[0].message.model_dump(exclude_none=True))
    for call_id, name, arguments in calls_of(first):
        result = f"{name} of {arguments.get('city') or arguments['zone']}"
        messages.append({"role": "tool", "tool_call_id": call_id, "content": result})
    request: Any = {"model": MODEL, "messages": messages, "tools": tools}
    second = (
        accumulated(client.chat.completions.create(**request, stream=True))
        if streamed
        else client.chat.completions.create(**request)
    )

    said = second.choices[0].message.content or ""
    assert second.choices[0].finish_reason == "stop"
    assert "get_weather of Rome" in said
    assert "get_weather of Oslo" in said
    assert "get_time of Tokyo" in said
    _, call = gateway.upstream_calls(topic)
    results = call["body"]["messages"][2]
    assert results["role"] == "user"
    assert [block["type"] for block in results["content"]] == ["tool_result"] * 3


async def test_the_stream_helper_tells_of_each_finished_call(async_client: AsyncOpenAI, topic: str) -> None:
    async with async_client.chat.completions.stream(
        model=MODEL,
        messages=ask(f"{topic}: {QUESTION}"),
        tools=[WEATHER, CLOCK],
    ) as stream:
        done = [event async for event in stream if event.type == "tool_calls.function.arguments.done"]
        completion = await stream.get_final_completion()

    told = [(event.name, json.loads(event.arguments)) for event in done]
    assert [name for name, _ in told] == ["get_weather", "get_weather", "get_time"]
    assert [(name, arguments) for _, name, arguments in calls_of(completion)] == told


class GetWeather(BaseModel):
    """The weather of a city."""

    city: str
    days: int


def test_parse_reads_the_arguments_of_a_strict_tool(client: OpenAI, gateway: MockGateway, topic: str) -> None:
    completion = client.chat.completions.parse(
        model=MODEL, messages=ask(f"{topic}: call GetWeather for Rome"), tools=[pydantic_function_tool(GetWeather)]
    )

    (call,) = completion.choices[0].message.tool_calls or []
    assert isinstance(call.function.parsed_arguments, GetWeather)
    (upstream,) = gateway.upstream_calls(topic)
    assert upstream["body"]["tools"][0]["strict"] is True


def test_at_most_one_call_where_parallel_calls_are_off(client: OpenAI, topic: str) -> None:
    completion = client.chat.completions.create(
        model=MODEL,
        messages=ask(f"{topic}: {QUESTION}"),
        tools=[WEATHER, CLOCK],
        parallel_tool_calls=False,
    )

    assert len(calls_of(completion)) == 1


def test_no_call_where_the_choice_is_none(client: OpenAI, topic: str) -> None:
    (choice,) = client.chat.completions.create(
        model=MODEL,
        messages=ask(f"{topic}: {QUESTION}"),
        tools=[WEATHER],
        tool_choice="none",
    ).choices

    assert choice.message.tool_calls is None
    assert choice.finish_reason == "stop"


FORCED: list[Any] = ["required", {"type": "function", "function": {"name": "get_time"}}]


@pytest.mark.parametrize("choice", FORCED, ids=["required", "named"])
@pytest.mark.parametrize("model", ["claude-haiku-5-5", "claude-haiku-4-5", "claude-opus-4-6"])
def test_a_forced_call_comes_where_the_model_can_be_forced(client: OpenAI, model: str, choice: Any) -> None:
    completion = client.chat.completions.create(
        model=model,
        messages=ask("Say hello."),
        tools=[CLOCK, WEATHER],
        tool_choice=choice,
    )

    assert [name for _, name, _ in calls_of(completion)] == ["get_time"]


@pytest.mark.parametrize("choice", FORCED, ids=["required", "named"])
def test_a_model_that_cannot_be_forced_is_told_to_call_and_that_is_reported(
    client: OpenAI, gateway: MockGateway, topic: str, choice: Any
) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="claude-opus-5-5",
        messages=ask(f"Say hello to {topic}."),
        tools=[CLOCK, WEATHER],
        tool_choice=choice,
    )

    assert "tool_choice=" in raw.headers["x-claude-wrapper-adjusted-params"]
    (call,) = gateway.upstream_calls(topic)
    assert call["body"]["tool_choice"]["type"] == "auto"
    assert raw.parse().choices[0].finish_reason in ("tool_calls", "stop")


def test_a_result_without_its_call_is_refused_with_its_place(client: OpenAI) -> None:
    messages: Any = [*ask("Hi"), {"role": "tool", "tool_call_id": "call_unknown", "content": "7"}]
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=MODEL, messages=messages, tools=[WEATHER])

    assert str(caught.value.param).startswith("messages[1]")


def test_a_call_without_its_result_is_refused(client: OpenAI) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    messages: Any = [*ask("Hi"), {"role": "assistant", "tool_calls": [call]}, *ask("And?")]
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=MODEL, messages=messages, tools=[WEATHER])

    assert str(caught.value.param).startswith("messages[")


# Custom tools: text instead of arguments

RUN_CODE: Any = {"type": "custom", "custom": {"name": "run_code", "description": "Runs Python."}}


def test_a_custom_tool_gets_text_and_answers_with_text(client: OpenAI, topic: str) -> None:
    messages = ask(f"{topic}: use run_code")
    first = client.chat.completions.create(model=MODEL, messages=messages, tools=[RUN_CODE])
    (call,) = first.choices[0].message.tool_calls or []
    messages.append(first.choices[0].message.model_dump(exclude_none=True))
    messages.append({"role": "tool", "tool_call_id": call.id, "content": "the output"})
    second = client.chat.completions.create(model=MODEL, messages=messages, tools=[RUN_CODE])

    assert call.type == "custom"
    assert call.custom.name == "run_code"
    assert isinstance(call.custom.input, str)
    assert call.custom.input
    assert "the output" in (second.choices[0].message.content or "")


def test_a_custom_call_is_streamed_whole(client: OpenAI, topic: str) -> None:
    request: Any = {"model": MODEL, "messages": ask(f"{topic}: use run_code"), "tools": [RUN_CODE], "max_tokens": 4000}
    plain = client.chat.completions.create(**request)
    with client.chat.completions.create(**request, stream=True) as stream:
        deltas = [call for chunk in stream for call in chunk.choices[0].delta.tool_calls or []]

    (expected,) = plain.choices[0].message.tool_calls or []
    (delta,) = deltas
    assert delta.id == expected.id
    assert delta.type == "custom"
    assert delta.model_extra is not None
    assert delta.model_extra["custom"] == expected.custom.model_dump()


# The form before tools: functions

FUNCTIONS: Any = [WEATHER["function"]]


def test_a_legacy_function_call_and_its_result(client: OpenAI, topic: str) -> None:
    messages = ask(f"{topic}: what is the weather in Rome?")
    first = client.chat.completions.create(model=MODEL, messages=messages, functions=FUNCTIONS, function_call="auto")
    call = first.choices[0].message.function_call
    assert call is not None
    messages.append(first.choices[0].message.model_dump(exclude_none=True))
    messages.append({"role": "function", "name": "get_weather", "content": "twenty degrees"})
    second = client.chat.completions.create(model=MODEL, messages=messages, functions=FUNCTIONS)

    assert first.choices[0].finish_reason == "function_call"
    assert first.choices[0].message.tool_calls is None
    assert call.name == "get_weather"
    assert set(json.loads(call.arguments)) == {"city", "unit"}
    assert "twenty degrees" in (second.choices[0].message.content or "")


def test_a_legacy_function_call_is_streamed_as_one(client: OpenAI, topic: str) -> None:
    request: Any = {
        "model": MODEL,
        "messages": ask(f"{topic}: what is the weather in Rome?"),
        "functions": FUNCTIONS,
        "max_tokens": 4000,
    }
    plain = client.chat.completions.create(**request)
    with client.chat.completions.create(**request, stream=True) as stream:
        chunks = list(stream)
    deltas = [chunk.choices[0].delta.function_call for chunk in chunks if chunk.choices[0].delta.function_call]

    assert plain.choices[0].message.function_call is not None
    assert "".join(delta.name or "" for delta in deltas) == "get_weather"
    assert "".join(delta.arguments or "" for delta in deltas) == plain.choices[0].message.function_call.arguments
    assert chunks[-1].choices[0].finish_reason == "function_call"


# Tools that Anthropic runs, and choices among tools


def test_a_web_search_is_cited(client: OpenAI, gateway: MockGateway, topic: str) -> None:
    request: Any = {
        "model": MODEL,
        "messages": ask(f"Search the web for news on {topic}."),
        "web_search_options": {"search_context_size": "low"},
        "max_tokens": 4000,
    }
    plain = client.chat.completions.create(**request)
    with client.chat.completions.create(**request, stream=True) as stream:
        deltas = [chunk.choices[0].delta for chunk in stream]

    message = plain.choices[0].message
    assert message.annotations
    for annotation in message.annotations:
        citation = annotation.url_citation
        assert citation.url.startswith("http")
        assert citation.title
        assert 0 <= citation.start_index < citation.end_index <= len(message.content or "")
    streamed = [item for delta in deltas for item in (delta.model_extra or {}).get("annotations") or []]
    assert [item["url_citation"]["url"] for item in streamed] == [
        annotation.url_citation.url for annotation in message.annotations
    ]
    assert "".join(delta.content or "" for delta in deltas) == message.content
    assert gateway.upstream_calls(topic)[0]["body"]["tools"][0]["name"] == "web_search"


def test_a_turn_that_anthropic_pauses_is_continued(client: OpenAI, gateway: MockGateway, topic: str) -> None:
    request: Any = {
        "model": MODEL,
        "messages": ask(f"Search the web for news on {topic}. [[sim: pause=2]]"),
        "web_search_options": {},
        "max_tokens": 4000,
    }
    plain = client.chat.completions.create(**request)
    streamed = accumulated(client.chat.completions.create(**request, stream=True))

    assert plain.choices[0].finish_reason == "stop"
    assert plain.choices[0].message.content
    assert streamed.choices[0].message.content == plain.choices[0].message.content
    assert len(gateway.upstream_calls(topic)) == 6


def test_allowed_tools_leave_the_list_as_it_is_and_are_named(client: OpenAI, gateway: MockGateway, topic: str) -> None:
    choice: Any = {
        "type": "allowed_tools",
        "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "get_time"}}]},
    }
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=ask(f"Hello, {topic}."), tools=[WEATHER, CLOCK], tool_choice=choice
    )

    (call,) = gateway.upstream_calls(topic)
    assert [tool["name"] for tool in call["body"]["tools"]] == ["get_weather", "get_time"]
    assert "get_time" in json.dumps(call["body"]["messages"][-1])
    assert "tool_choice" in raw.headers["x-claude-wrapper-adjusted-params"]
