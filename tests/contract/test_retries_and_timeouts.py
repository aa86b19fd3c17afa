"""How the official client's own retries and timeouts meet those of the gateway."""

from __future__ import annotations

import socket
import time

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from tests.support.mock_gateway import MockGateway
from tests.support.questions import MODEL, ask


def test_one_failure_is_retried_by_the_gateway_and_unseen_by_the_client(
    client: OpenAI, gateway: MockGateway, topic: str
) -> None:
    completion = client.chat.completions.create(model=MODEL, messages=ask(f"{topic} [[sim: status=529 times=1]]"))

    assert completion.choices[0].finish_reason == "stop"
    assert [call["status"] for call in gateway.upstream_calls(topic)] == [529, 200]


def test_a_longer_failure_is_retried_by_the_client(client: OpenAI, gateway: MockGateway, topic: str) -> None:
    raw = client.with_options(max_retries=1).chat.completions.with_raw_response.create(
        model=MODEL, messages=ask(f"{topic} [[sim: status=529 times=2]]")
    )

    assert raw.retries_taken == 1
    assert [call["status"] for call in gateway.upstream_calls(topic)] == [529, 529, 200]


def test_a_streamed_call_is_retried_alike(client: OpenAI, gateway: MockGateway, topic: str) -> None:
    with client.with_options(max_retries=1).chat.completions.create(
        model=MODEL, messages=ask(f"{topic} [[sim: status=503 times=2]]"), stream=True
    ) as stream:
        chunks = list(stream)

    assert chunks[-1].choices[0].finish_reason == "stop"
    assert [call["status"] for call in gateway.upstream_calls(topic)] == [503, 503, 200]


def test_the_client_waits_as_long_as_it_is_told(client: OpenAI, gateway: MockGateway, topic: str) -> None:
    prompt = f"{topic} [[sim: status=429 retry_after=1 times=2]]"
    begun = time.monotonic()
    completion = client.with_options(max_retries=1).chat.completions.create(model=MODEL, messages=ask(prompt))

    assert completion.choices
    assert time.monotonic() - begun >= 1.0
    assert [call["status"] for call in gateway.upstream_calls(topic)] == [429, 429, 200]


@pytest.mark.parametrize("script", ["status=402", "status=401", "status=429 retry_after=none", "nonsense=html"])
def test_what_no_retry_can_cure_is_not_retried_by_anybody(
    client: OpenAI, gateway: MockGateway, topic: str, script: str
) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        client.with_options(max_retries=2).chat.completions.create(
            model=MODEL, messages=ask(f"{topic} [[sim: {script}]]")
        )

    assert caught.value.response.headers["x-should-retry"] == "false"
    assert len(gateway.upstream_calls(topic)) == 1


def test_the_upstream_s_word_on_retrying_counts(client: OpenAI, gateway: MockGateway, topic: str) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        client.with_options(max_retries=2).chat.completions.create(
            model=MODEL, messages=ask(f"{topic} [[sim: status=500 should_retry=false]]")
        )

    assert caught.value.response.headers["x-should-retry"] == "false"
    assert len(gateway.upstream_calls(topic)) == 1


def test_an_error_inside_a_stream_is_never_retried(client: OpenAI, gateway: MockGateway, topic: str) -> None:
    with (
        pytest.raises(openai.APIError),
        client.with_options(max_retries=2).chat.completions.create(
            model=MODEL, messages=ask(f"{topic} [[sim: output_tokens=200 cut_at_byte=1500]]"), stream=True
        ) as stream,
    ):
        list(stream)

    assert len(gateway.upstream_calls(topic)) == 1


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])
def test_a_client_s_timeout_ends_the_upstream_call(
    client: OpenAI, gateway: MockGateway, topic: str, streamed: bool
) -> None:
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.5).chat.completions.create(
            model=MODEL, messages=ask(f"{topic} [[sim: silent]]"), stream=streamed
        )

    assert len(gateway.wait_for_cancelled_calls(topic)) == 1


def test_a_client_s_timeout_inside_a_stream(client: OpenAI, gateway: MockGateway, topic: str) -> None:
    with (
        pytest.raises(openai.APITimeoutError),
        client.with_options(timeout=0.5).chat.completions.create(
            model=MODEL, messages=ask(f"{topic} [[sim: silent_after_events=5]]"), stream=True
        ) as stream,
    ):
        list(stream)

    assert len(gateway.wait_for_cancelled_calls(topic)) == 1


async def test_an_answer_within_the_timeout_is_not_cut(async_client: AsyncOpenAI, topic: str) -> None:
    slow = async_client.with_options(timeout=5)
    completion = await slow.chat.completions.create(model=MODEL, messages=ask(f"{topic} [[sim: ttft_ms=700]]"))

    assert topic in (completion.choices[0].message.content or "")


def test_a_gateway_that_is_not_there_is_a_connection_error() -> None:
    with socket.socket() as unused:  # bound, and never listening
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        with (
            OpenAI(base_url=address, api_key="none", max_retries=0) as client,
            pytest.raises(openai.APIConnectionError) as caught,
        ):
            client.chat.completions.create(model=MODEL, messages=ask("Hi"))

    assert not isinstance(caught.value, openai.APITimeoutError)
