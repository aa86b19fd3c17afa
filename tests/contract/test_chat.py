"""``POST /v1/chat/completions`` without a stream, with the official client."""

from __future__ import annotations

import json
import re
import time
from itertools import pairwise

import pytest
from openai import AsyncOpenAI, OpenAI

from tests.support.mock_gateway import MockGateway
from tests.support.questions import MODEL, ask


def test_answers_with_text(client: OpenAI, topic: str) -> None:
    before = int(time.time())
    completion = client.chat.completions.create(model=MODEL, messages=ask(f"Hello, {topic}"))

    (choice,) = completion.choices
    assert choice.finish_reason == "stop"
    assert choice.message.role == "assistant"
    assert topic in (choice.message.content or "")
    assert choice.message.refusal is None
    assert choice.message.tool_calls is None
    assert completion.object == "chat.completion"
    assert completion.model == MODEL
    assert completion.id.startswith("chatcmpl-")
    assert before <= completion.created <= int(time.time())


def test_usage_adds_up(client: OpenAI, topic: str) -> None:
    usage = client.chat.completions.create(model=MODEL, messages=ask(topic)).usage

    assert usage is not None
    assert usage.prompt_tokens > 0
    assert usage.completion_tokens > 0
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert usage.prompt_tokens_details is not None
    assert usage.prompt_tokens_details.cached_tokens == 0
    assert usage.completion_tokens_details is not None
    assert usage.completion_tokens_details.reasoning_tokens is not None


async def test_async_client_is_answered_alike(async_client: AsyncOpenAI, client: OpenAI, topic: str) -> None:
    messages = ask(topic)
    asynchronous = await async_client.chat.completions.create(model=MODEL, messages=messages)
    synchronous = client.chat.completions.create(model=MODEL, messages=messages)

    assert asynchronous.choices == synchronous.choices
    assert asynchronous.usage == synchronous.usage


def test_the_mission_s_example_is_served_by_the_current_model_and_says_so(client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="claude-3-5-sonnet-20241022", messages=ask("Hello! What can you do?")
    )

    assert raw.parse().model == MODEL
    assert f"model={MODEL}" in raw.headers["x-claude-wrapper-adjusted-params"]


@pytest.mark.parametrize("name", ["sonnet", "claude-sonnet-latest", "claude-sonnet-5.5", "anthropic/claude-sonnet-5-5"])
def test_short_names_of_models_work(client: OpenAI, name: str) -> None:
    completion = client.chat.completions.create(model=name, messages=ask("Hi"))

    assert completion.model == MODEL


def test_an_effort_may_be_part_of_the_model_name(client: OpenAI, gateway: MockGateway, topic: str) -> None:
    client.chat.completions.create(model="opus@low", messages=ask(topic))

    (call,) = gateway.upstream_calls(topic)
    assert call["body"]["output_config"]["effort"] == "low"


def test_system_and_developer_messages_lead_as_system(client: OpenAI, gateway: MockGateway, topic: str) -> None:
    client.chat.completions.create(
        model=MODEL,
        messages=[
            {"role": "developer", "content": "Be brief."},
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": topic},
        ],
    )

    (call,) = gateway.upstream_calls(topic)
    assert [block["text"] for block in call["body"]["system"]] == ["Be brief.", "Be kind."]


def test_a_later_developer_message_stays_in_its_place(client: OpenAI, gateway: MockGateway, topic: str) -> None:
    client.chat.completions.create(
        model=MODEL,
        messages=[
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": "Hello."},
            {"role": "user", "content": topic},
            {"role": "developer", "content": "From now on, answer in French."},
        ],
    )

    (call,) = gateway.upstream_calls(topic)
    assert [message["role"] for message in call["body"]["messages"]] == ["user", "assistant", "user", "system"]


def test_a_conversation_of_several_turns(client: OpenAI, gateway: MockGateway, topic: str) -> None:
    messages = [{"role": "system", "content": f"We talk about {topic}."}]
    for turn in range(1, 5):
        messages.append({"role": "user", "content": f"This is question {turn}."})
        completion = client.chat.completions.create(model=MODEL, messages=messages)
        said = completion.choices[0].message.content or ""
        assert f"question {turn}" in said
        messages.append({"role": "assistant", "content": said})

    calls = gateway.upstream_calls(topic)
    assert [len(call["body"]["messages"]) for call in calls] == [1, 3, 5, 7]
    for earlier, later in pairwise(calls):
        told = earlier["body"]["messages"]
        assert [_texts(message) for message in later["body"]["messages"][: len(told)]] == [_texts(m) for m in told]


def _texts(message: dict[str, object]) -> list[str]:
    content = message["content"]
    assert isinstance(content, list)
    return [block["text"] for block in content]


def test_a_long_conversation_reads_from_the_prompt_cache(client: OpenAI, topic: str) -> None:
    messages = [
        {"role": "user", "content": f"{topic} " + "context " * 4000},
        {"role": "assistant", "content": "I see."},
        {"role": "user", "content": "First question."},
    ]
    first = client.chat.completions.create(model=MODEL, messages=messages)
    messages += [
        {"role": "assistant", "content": first.choices[0].message.content or ""},
        {"role": "user", "content": "Second question."},
    ]
    second = client.chat.completions.create(model=MODEL, messages=messages)

    assert second.usage is not None
    assert second.usage.prompt_tokens_details is not None
    assert (second.usage.prompt_tokens_details.cached_tokens or 0) > 4000


def test_n_choices_come_with_their_index_and_common_usage(client: OpenAI, gateway: MockGateway, topic: str) -> None:
    messages = ask(topic)
    one = client.chat.completions.create(model=MODEL, messages=messages)
    two = client.chat.completions.create(model=MODEL, messages=messages, n=2)

    assert [choice.index for choice in two.choices] == [0, 1]
    assert all(topic in (choice.message.content or "") for choice in two.choices)
    assert two.usage is not None
    assert one.usage is not None
    assert two.usage.completion_tokens == 2 * one.usage.completion_tokens
    assert len(gateway.upstream_calls(topic)) == 3


def test_a_stop_sequence_ends_the_answer(client: OpenAI) -> None:
    completion = client.chat.completions.create(
        model=MODEL, messages=ask("[[sim: text='alpha HALT beta']]"), stop=["HALT", "NEVER"]
    )

    assert completion.choices[0].message.content == "alpha "
    assert completion.choices[0].finish_reason == "stop"


@pytest.mark.parametrize("parameter", ["max_tokens", "max_completion_tokens"])
def test_an_answer_over_the_limit_of_tokens_is_cut(client: OpenAI, parameter: str) -> None:
    completion = client.chat.completions.create(
        model="claude-opus-4-8",
        messages=ask("[[sim: output_tokens=500]] Tell me a long story."),
        **{parameter: 20},
    )

    assert completion.choices[0].finish_reason == "length"
    assert completion.usage is not None
    assert completion.usage.completion_tokens <= 20


def test_a_refusal_is_told_as_one(client: OpenAI) -> None:
    (choice,) = client.chat.completions.create(
        model=MODEL, messages=ask("[[sim: stop_reason=refusal text='']] Do harm.")
    ).choices

    assert choice.finish_reason == "content_filter"
    assert choice.message.refusal == "The simulator was told to refuse."


UNICODE = 'déjà vu, naïve, Größe, 東京, مرحبا, 👩‍👩‍👧‍👦, \u2028\u2029\u0085, \\ " \t, \U0001f600'


def test_every_character_survives_in_both_directions(client: OpenAI, gateway: MockGateway, topic: str) -> None:
    completion = client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": f'{topic} [[sim: text="{_quoted(UNICODE)}"]] {UNICODE}'}]
    )

    assert completion.choices[0].message.content == UNICODE
    (call,) = gateway.upstream_calls(topic)
    assert call["body"]["messages"][0]["content"][0]["text"].endswith(UNICODE)


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def test_the_client_s_own_key_never_reaches_the_upstream(client: OpenAI, gateway: MockGateway, topic: str) -> None:
    client.chat.completions.create(model=MODEL, messages=ask(topic))

    assert "sk-of-the-client" not in json.dumps(gateway.upstream_calls(topic))


def test_a_user_is_only_a_pseudonym_upstream(client: OpenAI, gateway: MockGateway, topic: str) -> None:
    for _ in range(2):
        client.chat.completions.create(model=MODEL, messages=ask(topic), user="jane@example.com")

    first, second = (call["body"]["metadata"]["user_id"] for call in gateway.upstream_calls(topic))
    assert first == second
    assert re.fullmatch(r"[0-9a-f]{64}", first)


def test_every_reply_has_a_request_id(client: OpenAI) -> None:
    messages = ask("Hi")
    first = client.chat.completions.create(model=MODEL, messages=messages)
    second = client.chat.completions.create(model=MODEL, messages=messages)

    assert first._request_id
    assert second._request_id
    assert first._request_id != second._request_id


def test_a_client_s_own_request_id_is_kept(client: OpenAI) -> None:
    completion = client.chat.completions.create(
        model=MODEL,
        messages=ask("Hi"),
        extra_headers={"x-request-id": "my-own-id-0123456789"},
    )

    assert completion._request_id == "my-own-id-0123456789"


def test_replies_carry_rate_limits_as_openai_writes_them(client: OpenAI) -> None:
    headers = client.chat.completions.with_raw_response.create(model=MODEL, messages=ask("Hi")).headers

    for kind in ("requests", "tokens"):
        assert int(headers[f"x-ratelimit-limit-{kind}"]) >= int(headers[f"x-ratelimit-remaining-{kind}"]) > 0
        assert re.fullmatch(r"(\d+h)?(\d+m)?(\d+(\.\d+)?s)|\d+(\.\d+)?ms", headers[f"x-ratelimit-reset-{kind}"])
    assert headers["request-id"].startswith("req_")


def test_a_prefilled_answer_is_continued_where_the_model_can(client: OpenAI, gateway: MockGateway, topic: str) -> None:
    messages = [*ask(f"Greet {topic}."), {"role": "assistant", "content": "Dear "}]
    raw = client.chat.completions.with_raw_response.create(model="claude-haiku-4-5", messages=messages)

    (call,) = gateway.upstream_calls(topic)
    assert [message["role"] for message in call["body"]["messages"]] == ["user", "assistant"]
    assert raw.parse().choices[0].finish_reason == "stop"


def test_a_prefilled_answer_is_told_to_go_on_where_the_model_cannot(client: OpenAI) -> None:
    messages = [*ask("Greet me."), {"role": "assistant", "content": "Dear "}]
    raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=messages)

    assert "messages" in raw.headers["x-claude-wrapper-adjusted-params"]
    assert raw.parse().choices[0].finish_reason == "stop"


def test_an_answer_of_a_hundred_thousand_tokens_is_whole(client: OpenAI) -> None:
    """More than 21,333 tokens run as a stream upstream, also for a client that wants them plain."""
    completion = client.chat.completions.create(
        model="claude-opus-4-8", messages=ask("[[sim: output_tokens=100000]] Write a book."), max_tokens=128_000
    )

    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage is not None
    assert completion.usage.completion_tokens == 100_000
    assert len((completion.choices[0].message.content or "").encode()) >= 399_997
