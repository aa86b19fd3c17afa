"""Streamed chat completions with the official client: plain iteration and the ``.stream()`` helper."""

from __future__ import annotations

import time
from itertools import pairwise

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.lib.streaming.chat import ChatCompletionStreamState

from tests.support.mock_gateway import MockGateway
from tests.support.questions import MODEL, ask


def test_a_stream_says_role_text_and_why_it_ended(client: OpenAI, topic: str) -> None:
    with client.chat.completions.create(model=MODEL, messages=ask(topic), stream=True) as stream:
        chunks = list(stream)

    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert {(chunk.id, chunk.created, chunk.model) for chunk in chunks} == {
        (chunks[0].id, chunks[0].created, MODEL),
    }
    assert chunks[0].choices[0].delta.role == "assistant"
    assert topic in "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason] == ["stop"]
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks)


def test_usage_comes_in_a_last_chunk_without_choices(client: OpenAI, topic: str) -> None:
    plain = client.chat.completions.create(model=MODEL, messages=ask(topic), max_tokens=4000)
    with client.chat.completions.create(
        model=MODEL, messages=ask(topic), max_tokens=4000, stream=True, stream_options={"include_usage": True}
    ) as stream:
        *chunks, last = list(stream)

    assert last.choices == []
    assert last.usage is not None
    assert plain.usage is not None
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (
        plain.usage.prompt_tokens,
        plain.usage.completion_tokens,
    )
    assert all(chunk.usage is None for chunk in chunks)


@pytest.mark.parametrize(
    "prompt",
    ["{topic}", "{topic} [[sim: text='']]", "{topic} [[sim: chunk_bytes=7]]", "{topic} [[sim: delta_tokens=1]]"],
)
def test_an_accumulated_stream_equals_the_plain_answer(client: OpenAI, topic: str, prompt: str) -> None:
    request = {"model": MODEL, "messages": ask(prompt.format(topic=topic)), "max_tokens": 4000}
    plain = client.chat.completions.create(**request)
    state = ChatCompletionStreamState()
    with client.chat.completions.create(**request, stream=True, stream_options={"include_usage": True}) as stream:
        for chunk in stream:
            state.handle_chunk(chunk)
    accumulated = state.get_final_completion()

    assert accumulated.choices[0].message.content == plain.choices[0].message.content
    assert accumulated.choices[0].finish_reason == plain.choices[0].finish_reason
    assert accumulated.usage == plain.usage


async def test_the_stream_helper_of_the_async_client(async_client: AsyncOpenAI, topic: str) -> None:
    said = ""
    async with async_client.chat.completions.stream(model=MODEL, messages=ask(topic)) as stream:
        async for event in stream:
            if event.type == "content.delta":
                said += event.delta
        completion = await stream.get_final_completion()

    assert topic in said
    assert completion.choices[0].message.content == said


def test_two_choices_stream_side_by_side(client: OpenAI, topic: str) -> None:
    with client.chat.completions.create(
        model=MODEL, messages=ask(topic), n=2, stream=True, stream_options={"include_usage": True}
    ) as stream:
        chunks = list(stream)
    texts = {
        index: "".join(c.delta.content or "" for chunk in chunks for c in chunk.choices if c.index == index)
        for index in (0, 1)
    }
    finished = [choice.index for chunk in chunks for choice in chunk.choices if choice.finish_reason]

    assert topic in texts[0]
    assert texts[0] == texts[1]
    assert sorted(finished) == [0, 1]
    assert len({chunk.id for chunk in chunks}) == 1
    assert [chunk.usage is not None for chunk in chunks] == [False] * (len(chunks) - 1) + [True]


def test_deltas_arrive_while_the_answer_is_written(client: OpenAI, topic: str) -> None:
    """40 tokens at 40 a second in deltas of 4: the first one comes long before the last one."""
    pace = f"[[sim: text='{'0123456789abcdef' * 10}' thinking_tokens=1 tokens_per_second=40]]"
    arrived: list[float] = []
    with client.chat.completions.create(model=MODEL, messages=ask(f"{topic} {pace}"), stream=True) as stream:
        arrived.extend(time.monotonic() for chunk in stream if chunk.choices[0].delta.content)

    assert len(arrived) == 10
    assert arrived[-1] - arrived[0] > 0.6
    assert max(later - earlier for earlier, later in pairwise(arrived)) < 0.4


def test_every_character_survives_a_stream(client: OpenAI) -> None:
    text = "Größe 東京 مرحبا 👩‍👩‍👧‍👦 \u2028\u2029\u0085 data: x \U0001f600"
    with client.chat.completions.create(
        model=MODEL, messages=ask(f'[[sim: text="{text}" delta_tokens=1 chunk_bytes=3]]'), stream=True
    ) as stream:
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == text


def test_a_stop_sequence_ends_a_stream(client: OpenAI) -> None:
    with client.chat.completions.create(
        model=MODEL, messages=ask("[[sim: text='alpha HALT beta']]"), stop="HALT", stream=True
    ) as stream:
        chunks = list(stream)

    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "alpha "
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_a_stream_cut_by_the_limit_of_tokens(client: OpenAI) -> None:
    with client.chat.completions.create(
        model="claude-opus-4-8", messages=ask("[[sim: output_tokens=400]] Go on."), max_tokens=16, stream=True
    ) as stream:
        assert [chunk.choices[0].finish_reason for chunk in stream][-1] == "length"


def test_a_refusal_is_streamed_as_one(client: OpenAI) -> None:
    with client.chat.completions.create(
        model=MODEL, messages=ask("[[sim: stop_reason=refusal text='Well,']] Do harm."), stream=True
    ) as stream:
        chunks = list(stream)

    assert "".join(chunk.choices[0].delta.refusal or "" for chunk in chunks) == "The simulator was told to refuse."
    assert chunks[-1].choices[0].finish_reason == "content_filter"


def test_an_error_before_the_first_token_has_its_true_status(client: OpenAI, topic: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            model=MODEL, messages=ask(f"{topic} [[sim: status=400 error_message='max_tokens: too many']]"), stream=True
        )

    assert caught.value.param == "max_tokens"


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("error_after_events=6 status=529", "overloaded"),
        ("error_after_events=6 status=500", None),
        ("cut_at_byte=1500", "upstream_unreachable"),
        ("cut_at_byte=1500 reset", "upstream_unreachable"),
    ],
)
def test_an_error_inside_a_stream_is_raised_after_what_came_before_it(
    client: OpenAI, topic: str, fault: str, code: str | None
) -> None:
    said = ""
    with (
        pytest.raises(openai.APIError) as caught,
        client.chat.completions.create(
            model="claude-opus-4-8", messages=ask(f"{topic} [[sim: output_tokens=300 {fault}]]"), stream=True
        ) as stream,
    ):
        for chunk in stream:
            said += chunk.choices[0].delta.content or ""

    assert not isinstance(caught.value, openai.APIStatusError)
    assert caught.value.code == code
    assert caught.value.type == "server_error"
    assert said


def test_a_stream_names_what_was_ignored(client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=ask("Hi"), seed=7, stream=True, stream_options={"include_usage": True}
    )
    with raw.parse() as stream:
        list(stream)

    assert raw.headers["x-claude-wrapper-ignored-params"] == "seed"
    assert raw.headers["content-type"].startswith("text/event-stream")
    assert raw.headers["cache-control"] == "no-cache"
    assert raw.headers["x-accel-buffering"] == "no"
    assert raw.headers["x-request-id"]


def test_a_connection_serves_stream_after_stream(client: OpenAI, gateway: MockGateway, topic: str) -> None:
    """Twenty on one client: none is cut, none hangs, none is sent twice."""
    for number in range(20):
        with client.chat.completions.create(model=MODEL, messages=ask(f"{topic} {number}"), stream=True) as stream:
            assert f"{topic} {number}" in "".join(chunk.choices[0].delta.content or "" for chunk in stream)

    assert len(gateway.upstream_calls(topic)) == 20
