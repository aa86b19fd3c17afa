"""A gateway that is set up otherwise: aliases, names of OpenAI, keep-alive, time limits, no retries, strict."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.support.mock_gateway import MockGateway, mock_gateway
from tests.support.questions import MODEL, ask

SETTINGS = {
    "CLAUDE_WRAPPER_MODEL_PRESET": "openai",
    "CLAUDE_WRAPPER_MODEL_ALIASES": "house-model=claude-opus-5-5",
    "CLAUDE_WRAPPER_STREAM_KEEPALIVE_S": "0.2",
    "CLAUDE_WRAPPER_INCLUDE_REASONING": "true",
    "CLAUDE_WRAPPER_UPSTREAM_RETRIES": "0",
    "CLAUDE_WRAPPER_UPSTREAM_IDLE_TIMEOUT_S": "1",
    "CLAUDE_WRAPPER_UPSTREAM_FIRST_BYTE_TIMEOUT_S": "1.5",
    "CLAUDE_WRAPPER_STRICT": "true",
    "CLAUDE_WRAPPER_WORKERS": "2",
}


@pytest.fixture(scope="module")
def gateway() -> Iterator[MockGateway]:
    with mock_gateway(env=SETTINGS) as gateway:
        yield gateway


@pytest.mark.parametrize("name", ["gpt-4o", "gpt-4o-mini", "o3"])
def test_openai_s_model_names_are_served_where_the_preset_is_on(client: OpenAI, name: str) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model=name, messages=ask("Hi"), extra_headers={"x-claude-wrapper-strict": "0"}
    )

    assert raw.parse().model.startswith("claude-")


def test_an_alias_of_the_operator_is_served(client: OpenAI) -> None:
    completion = client.chat.completions.create(
        model="house-model", messages=ask("Hi"), extra_headers={"x-claude-wrapper-strict": "0"}
    )

    assert completion.model == "claude-opus-5-5"


def test_comments_that_keep_a_stream_alive_are_invisible(client: OpenAI, topic: str) -> None:
    with client.chat.completions.create(
        model=MODEL, messages=ask(f"{topic} [[sim: ttft_ms=900 thinking_tokens=1]]"), stream=True
    ) as stream:
        said = "".join(chunk.choices[0].delta.content or "" for chunk in stream)

    assert topic in said


def test_an_upstream_that_answers_nothing_is_a_timeout_with_a_status(client: OpenAI) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model=MODEL, messages=ask("[[sim: silent]]"))

    assert (caught.value.status_code, caught.value.code) == (504, "timeout")


def test_after_a_comment_the_same_timeout_comes_in_band(client: OpenAI) -> None:
    with (
        pytest.raises(openai.APIError) as caught,
        client.chat.completions.create(model=MODEL, messages=ask("[[sim: silent]]"), stream=True) as stream,
    ):
        list(stream)

    assert not isinstance(caught.value, openai.APIStatusError)
    assert caught.value.code == "timeout"


def test_an_upstream_that_stops_in_the_middle_is_a_timeout(client: OpenAI) -> None:
    said: list[Any] = []
    begun = time.monotonic()
    with (
        pytest.raises(openai.APIError) as caught,
        client.chat.completions.create(
            model="claude-opus-4-8",
            messages=ask("[[sim: output_tokens=100 silent_after_events=9]]"),
            stream=True,
        ) as stream,
    ):
        said.extend(chunk.choices[0].delta.content for chunk in stream)

    assert caught.value.code == "timeout"
    assert any(said)
    assert time.monotonic() - begun < 3


def test_nothing_is_retried_where_retries_are_off(client: OpenAI, gateway: MockGateway, topic: str) -> None:
    with pytest.raises(openai.InternalServerError):
        client.chat.completions.create(model=MODEL, messages=ask(f"{topic} [[sim: status=529 times=1]]"))

    assert len(gateway.upstream_calls(topic)) == 1


def test_reasoning_is_shown_unasked_where_the_operator_says_so(client: OpenAI) -> None:
    message = client.chat.completions.create(model=MODEL, messages=ask("Think.")).choices[0].message

    assert (message.model_extra or {}).get("reasoning_content")


def test_strict_is_the_rule_and_a_request_may_lift_it(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=MODEL, messages=ask("Hi"), seed=1)
    lifted = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=ask("Hi"), seed=1, extra_headers={"x-claude-wrapper-strict": "0"}
    )

    assert caught.value.param == "seed"
    assert lifted.headers["x-claude-wrapper-ignored-params"] == "seed"
