"""The response cache, and retries by ``Idempotency-Key``, with the official clients."""

from __future__ import annotations

import uuid
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from tests.support.mock_gateway import MockGateway
from tests.support.questions import MODEL, ask

CACHED = {"Cache-Control": "max-age=60"}

WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@pytest.fixture
def once() -> dict[str, str]:
    """The header of a request that must be answered once, however often it is sent."""
    return {"Idempotency-Key": str(uuid.uuid4())}


def extra(value: Any, name: str) -> Any:
    """A field that OpenAI's types do not know."""
    return (value.model_extra or {}).get(name)


def unmarked(completion: Any) -> dict[str, Any]:
    """A completion without what says where it comes from."""
    told: dict[str, Any] = completion.to_dict()
    told["usage"].pop("response_cache", None)
    return told


def test_the_next_answer_comes_from_the_cache_and_says_so(client: OpenAI, gateway: MockGateway, topic: str) -> None:
    """One that comes at once may find it being stored, which is told apart."""
    create = client.chat.completions.with_raw_response.create
    first, joins, again = [create(model=MODEL, messages=ask(topic), extra_headers=CACHED) for _ in range(3)]
    assert [reply.headers["x-claude-wrapper-cache"] for reply in (first, again)] == ["MISS", "HIT"]
    assert joins.headers["x-claude-wrapper-cache"] in ("JOINED", "HIT")
    assert int(again.headers["age"]) >= 0
    miss, joined, hit = first.parse(), joins.parse(), again.parse()
    assert [extra(one.usage, "response_cache") for one in (miss, hit)] == [None, "hit"]
    assert unmarked(miss) == unmarked(joined) == unmarked(hit)
    assert len(gateway.upstream_calls(topic)) == 1


def test_without_a_word_nothing_is_cached(client: OpenAI, gateway: MockGateway, topic: str) -> None:
    create = client.chat.completions.with_raw_response.create
    replies = [create(model=MODEL, messages=ask(topic)) for _ in range(2)]
    assert [reply.headers["x-claude-wrapper-cache"] for reply in replies] == ["BYPASS", "BYPASS"]
    assert len(gateway.upstream_calls(topic)) == 2


def test_a_hit_streams_the_same_chunks(client: OpenAI, gateway: MockGateway, topic: str) -> None:
    def chunks() -> list[Any]:
        with client.chat.completions.create(
            model=MODEL,
            messages=ask(topic),
            stream=True,
            stream_options={"include_usage": True},
            reasoning_effort="medium",
            extra_headers=CACHED,
        ) as stream:
            return [chunk.to_dict() for chunk in stream]

    miss, hit = chunks(), chunks()
    assert hit[-1]["usage"].pop("response_cache") in ("hit", "joined")
    assert miss == hit
    assert len(miss) > 5
    assert len(gateway.upstream_calls(topic)) == 1


def test_the_stream_helper_reads_a_hit(client: OpenAI, gateway: MockGateway, topic: str) -> None:
    """Its events, from an entry that a plain request has made, with tools and reasoning."""
    request: Any = {
        "model": MODEL,
        "messages": ask(f"{topic}: what is the weather in Rome?"),
        "tools": [WEATHER],
        "reasoning_effort": "medium",
        "max_tokens": 9000,
        "extra_headers": CACHED,
    }
    plain: Any = client.chat.completions.create(**request)
    with client.chat.completions.stream(**request) as stream:
        kinds = {event.type for event in stream}
        streamed: Any = stream.get_final_completion()
    made, read = [
        [(call.id, call.function.name, call.function.arguments) for call in completion.choices[0].message.tool_calls]
        for completion in (plain, streamed)
    ]
    assert made == read != []
    assert {"chunk", "tool_calls.function.arguments.done"} <= kinds
    assert streamed.choices[0].finish_reason == plain.choices[0].finish_reason == "tool_calls"
    assert len(gateway.upstream_calls(topic)) == 1


class Place(BaseModel):
    """A structured answer."""

    city: str
    country: str


def test_parse_reads_a_hit(client: OpenAI, gateway: MockGateway, topic: str) -> None:
    request: Any = {"model": MODEL, "messages": ask(topic), "response_format": Place, "extra_headers": CACHED}
    first, again = [client.chat.completions.parse(**request) for _ in range(2)]
    assert isinstance(again.choices[0].message.parsed, Place)
    assert first.choices[0].message.parsed == again.choices[0].message.parsed
    assert len(gateway.upstream_calls(topic)) == 1


async def test_the_async_client_gets_hits_too(async_client: AsyncOpenAI, gateway: MockGateway, topic: str) -> None:
    async def text() -> str:
        async with async_client.chat.completions.stream(
            model=MODEL, messages=ask(topic), extra_headers=CACHED
        ) as stream:
            return (await stream.get_final_completion()).choices[0].message.content or ""

    first = await text()
    assert first
    assert await text() == first
    plain = await async_client.chat.completions.create(model=MODEL, messages=ask(topic), extra_headers=CACHED)
    assert plain.choices[0].message.content == first
    assert len(gateway.upstream_calls(topic)) == 1


# Idempotency-Key


@pytest.mark.parametrize("stream", [False, True])
def test_a_retry_gets_the_first_answer(
    client: OpenAI, gateway: MockGateway, topic: str, once: dict[str, str], stream: bool
) -> None:
    create: Any = client.chat.completions.with_raw_response.create
    replies = [create(model=MODEL, messages=ask(topic), stream=stream, extra_headers=once) for _ in range(2)]
    assert [reply.headers.get("idempotent-replayed") for reply in replies] == [None, "true"]
    first, again = [
        [chunk.to_dict() for chunk in reply.parse()] if stream else [unmarked(reply.parse())] for reply in replies
    ]
    assert first == again
    assert len(gateway.upstream_calls(topic)) == 1


def test_another_request_under_the_same_key_is_refused(client: OpenAI, topic: str, once: dict[str, str]) -> None:
    client.chat.completions.create(model=MODEL, messages=ask(topic), extra_headers=once)
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        client.chat.completions.create(model=MODEL, messages=ask(f"Another {topic}"), extra_headers=once)
    assert caught.value.code == "idempotency_key_reused"


def test_the_retries_of_the_client_itself_are_answered_once(
    client: OpenAI, gateway: MockGateway, topic: str, once: dict[str, str]
) -> None:
    """The first call fails upstream and leaves nothing; the client's own retry is answered."""
    text = f"{topic} [[sim: status=500 times=1]]"
    patient = client.with_options(max_retries=2)
    completion = patient.chat.completions.create(model=MODEL, messages=ask(text), extra_headers=once)
    again = patient.chat.completions.create(model=MODEL, messages=ask(text), extra_headers=once)
    assert completion.id == again.id
    assert [call["status"] for call in gateway.upstream_calls(topic)] == [500, 200]


def test_a_turn_that_is_sent_again_is_one_turn(client: OpenAI, topic: str, once: dict[str, str]) -> None:
    session = f"session-{topic}"
    request: Any = {"model": MODEL, "messages": ask(topic), "extra_body": {"session_id": session}}
    first, again = [client.chat.completions.create(**request, extra_headers=once) for _ in range(2)]
    assert unmarked(first) == unmarked(again)
    shown: Any = client.get(f"/sessions/{session}", cast_to=dict[str, Any])
    assert shown["message_count"] == 2
