"""What the official client makes of keys and limits: who is let in, what is refused, and how it is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from openai import OpenAI

from tests.support.mock_gateway import MockGateway, mock_gateway
from tests.support.questions import MODEL, ask

KEYS = """
keys:
  - {key: a-key-without-limits, tenant: acme}
  - {key: a-key-for-haiku-only, tenant: acme, models: [haiku]}
  - {key: a-key-for-sessions-only, tenant: acme, scopes: [sessions]}
  - {key: a-key-for-one-request, tenant: acme, limits: {requests_per_minute: 1}}
  - {key: a-key-without-money, tenant: acme, limits: {budget_total: 0}}
  - {key: a-key-for-a-short-answer, tenant: acme, limits: {budget_total: 0.01}}
"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MockGateway]:
    keys_file: Path = tmp_path_factory.mktemp("keys") / "keys.yaml"
    keys_file.write_text(KEYS)
    with mock_gateway(env={"CLAUDE_WRAPPER_KEYS_FILE": str(keys_file)}) as gateway:
        yield gateway


def with_key(client: OpenAI, key: str) -> OpenAI:
    return client.with_options(api_key=key)


def test_a_good_key_is_let_in(client: OpenAI) -> None:
    known = with_key(client, "a-key-without-limits")
    assert known.chat.completions.create(model=MODEL, messages=ask("Hi")).choices
    assert known.models.list().data


@pytest.mark.parametrize("key", ["a-key-that-nobody-knows", "sk-cw-iipirfobwtsmr6qx_mistyped"])
def test_a_wrong_key_is_an_authentication_error(client: OpenAI, key: str) -> None:
    with pytest.raises(openai.AuthenticationError) as caught:
        with_key(client, key).chat.completions.create(model=MODEL, messages=ask("Hi"))
    assert caught.value.code == "invalid_api_key"
    assert key not in str(caught.value)


def test_another_model_is_permission_denied_by_its_name(client: OpenAI) -> None:
    limited = with_key(client, "a-key-for-haiku-only")
    assert limited.chat.completions.create(model="haiku", messages=ask("Hi")).choices
    with pytest.raises(openai.PermissionDeniedError) as caught:
        limited.chat.completions.create(model="opus", messages=ask("Hi"))
    assert (caught.value.code, caught.value.param) == ("model_not_allowed", "model")


def test_a_scope_that_is_missing_is_permission_denied(client: OpenAI) -> None:
    with pytest.raises(openai.PermissionDeniedError, match="scope 'inference'"):
        with_key(client, "a-key-for-sessions-only").chat.completions.create(model=MODEL, messages=ask("Hi"))


def test_a_used_up_rate_says_when_to_come_back(client: OpenAI, topic: str, gateway: MockGateway) -> None:
    limited = with_key(client, "a-key-for-one-request").chat.completions
    first = limited.with_raw_response.create(model=MODEL, messages=ask(topic))
    assert first.headers["x-ratelimit-limit-requests"] == "1"
    assert first.headers["x-ratelimit-remaining-requests"] == "0"
    with pytest.raises(openai.RateLimitError, match="1 requests per minute") as caught:
        limited.create(model=MODEL, messages=ask(topic))
    headers = caught.value.response.headers
    assert caught.value.code == "rate_limit_exceeded"
    assert 0 < int(headers["retry-after"]) <= 60
    assert 0 < int(headers["retry-after-ms"]) <= 60_000
    assert headers["x-ratelimit-remaining-requests"] == "0"
    assert len(gateway.upstream_calls(topic)) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_without_money_the_client_does_not_try_again(
    client: OpenAI, topic: str, gateway: MockGateway, stream: bool
) -> None:
    broke = with_key(client, "a-key-without-money").with_options(max_retries=3)
    with pytest.raises(openai.RateLimitError) as caught:
        broke.chat.completions.create(model=MODEL, messages=ask(topic), stream=stream)
    assert caught.value.code == "insufficient_quota"
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert gateway.upstream_calls(topic) == []


def test_near_the_end_of_a_budget_the_answer_is_bounded_and_that_is_reported(
    client: OpenAI, topic: str, gateway: MockGateway
) -> None:
    poor = with_key(client, "a-key-for-a-short-answer").chat.completions
    reply = poor.with_raw_response.create(model=MODEL, messages=ask(topic), max_completion_tokens=16_000)
    (sent,) = gateway.upstream_calls(topic)
    bound = sent["body"]["max_tokens"]
    assert 0 < bound < 16_000
    assert f"max_tokens={bound}" in reply.headers["x-claude-wrapper-adjusted-params"]
