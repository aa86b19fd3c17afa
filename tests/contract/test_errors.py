"""Every class of error that the official client knows, raised by the gateway as OpenAI would make it raise."""

from __future__ import annotations

import http.client
import json
import urllib.parse
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.support.mock_gateway import MockGateway, mock_gateway
from tests.support.questions import MODEL, ask

GATEWAY_KEY = "sk-gateway-0123456789abcdef"


def failing(client: OpenAI, script: str, **request: Any) -> None:
    client.chat.completions.create(model=MODEL, messages=ask(f"[[sim: {script}]] Fail."), **request)


UPSTREAM_FAULTS: list[tuple[str, type[openai.APIStatusError], int, str, str | None]] = [
    ("status=400", openai.BadRequestError, 400, "invalid_request_error", None),
    (
        "status=400 error_message='prompt is too long: 1000001 tokens > 1000000 maximum'",
        openai.BadRequestError,
        400,
        "invalid_request_error",
        "context_length_exceeded",
    ),
    ("status=401", openai.InternalServerError, 502, "server_error", "upstream_authentication_error"),
    ("status=402", openai.RateLimitError, 429, "insufficient_quota", "insufficient_quota"),
    ("status=403", openai.PermissionDeniedError, 403, "permission_error", "permission_denied"),
    ("status=404", openai.NotFoundError, 404, "invalid_request_error", "model_not_found"),
    ("status=408", openai.InternalServerError, 504, "server_error", "timeout"),
    ("status=409", openai.ConflictError, 409, "invalid_request_error", "conflict"),
    ("status=413", openai.APIStatusError, 413, "invalid_request_error", "request_too_large"),
    ("status=422", openai.UnprocessableEntityError, 422, "invalid_request_error", None),
    ("status=429 retry_after=30", openai.RateLimitError, 429, "rate_limit_error", "rate_limit_exceeded"),
    ("status=429", openai.RateLimitError, 429, "rate_limit_error", "rate_limit_exceeded"),
    ("status=429 retry_after=none", openai.RateLimitError, 429, "insufficient_quota", "insufficient_quota"),
    ("status=500", openai.InternalServerError, 500, "server_error", None),
    ("status=503", openai.InternalServerError, 503, "server_error", None),
    ("status=504", openai.InternalServerError, 504, "server_error", "timeout"),
    ("status=529", openai.InternalServerError, 503, "server_error", "overloaded"),
    ("drop", openai.InternalServerError, 502, "server_error", "upstream_unreachable"),
    ("drop reset", openai.InternalServerError, 502, "server_error", "upstream_unreachable"),
    ("nonsense=html", openai.InternalServerError, 502, "server_error", "bad_upstream_response"),
    ("nonsense=truncated", openai.InternalServerError, 502, "server_error", "bad_upstream_response"),
]


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize(
    ("script", "kind", "status", "type_", "code"), UPSTREAM_FAULTS, ids=[fault[0] for fault in UPSTREAM_FAULTS]
)
def test_an_upstream_error_is_raised_as_openai_s(
    client: OpenAI, script: str, kind: type[Exception], status: int, type_: str, code: str | None, streamed: bool
) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        failing(client, script, stream=streamed)

    error = caught.value
    assert type(error) is kind
    assert (error.status_code, error.type, error.code) == (status, type_, code)
    assert error.request_id
    assert error.message


def test_a_rate_limit_says_when_to_come_back(client: OpenAI) -> None:
    with pytest.raises(openai.RateLimitError) as caught:
        failing(client, "status=429 retry_after=30")

    assert caught.value.response.headers["retry-after"] == "30"
    assert "try again in 30s" in caught.value.message
    assert "x-should-retry" not in caught.value.response.headers


@pytest.mark.parametrize("script", ["status=503", "status=529", "status=529 retry_after=7"])
def test_every_503_says_when_to_come_back(client: OpenAI, script: str) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        failing(client, script)

    assert int(caught.value.response.headers["retry-after"]) >= 1


def test_the_upstream_s_own_request_id_is_passed_on(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        failing(client, "status=400")

    assert caught.value.response.headers["request-id"].startswith("req_sim")
    assert caught.value.request_id != caught.value.response.headers["request-id"]


def test_the_field_that_anthropic_names_is_named_in_openai_s_way(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        failing(client, "status=400 error_message='messages.1.content.0: not like this'")

    assert caught.value.param == "messages[1].content[0]"


# The client's own mistakes

MISTAKES: list[tuple[dict[str, Any], str, str | None]] = [
    ({"messages": []}, "messages", None),
    ({"temperature": 7}, "temperature", None),
    ({"n": 99}, "n", "unsupported_value"),
    ({"n": "two"}, "n", None),
    ({"max_tokens": 0}, "max_tokens", None),
    ({"stop": ["a", "b", "c", "d", "e"]}, "stop", None),
    ({"modalities": ["text", "audio"]}, "modalities", None),
    ({"messages": [{"role": "wizard", "content": "Hi"}]}, "messages[0].role", None),
    ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content", None),
    ({"tools": [{"type": "function", "function": {"name": "not a name!"}}]}, "tools[0].function.name", None),
]


@pytest.mark.parametrize(("change", "param", "code"), MISTAKES, ids=[str(mistake[0])[:60] for mistake in MISTAKES])
def test_a_wrong_field_is_named(client: OpenAI, change: dict[str, Any], param: str, code: str | None) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**({"model": MODEL, "messages": ask("Hi")} | change))

    assert caught.value.type == "invalid_request_error"
    assert str(caught.value.param).startswith(param)
    assert code is None or caught.value.code == code


def test_a_tool_whose_schema_anthropic_refuses_is_named(client: OpenAI) -> None:
    parameters = {"type": "object", "properties": {"city": {"type": {"type": "text"}}}}
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            model=MODEL,
            messages=ask("Hi"),
            tools=[{"type": "function", "function": {"name": "get_weather", "parameters": parameters}}],
        )

    assert str(caught.value.param).startswith("tools[0]")


def test_a_missing_model_is_named(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.post("/chat/completions", body={"messages": ask("Hi")}, cast_to=object)

    assert caught.value.param == "model"


def test_a_model_that_nobody_knows_is_not_found(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="gpt-4o", messages=ask("Hi"))

    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b'{"model": "\xff"}', b"null"])
def test_a_body_that_is_no_request_is_refused(gateway: MockGateway, body: bytes) -> None:
    status, error = raw_post(gateway, body)

    assert status == 400
    assert error["type"] == "invalid_request_error"


def raw_post(gateway: MockGateway, body: bytes) -> tuple[int, dict[str, Any]]:
    address = urllib.parse.urlsplit(gateway.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=10)
    try:
        connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
        reply = connection.getresponse()
        return reply.status, json.load(reply)["error"]
    finally:
        connection.close()


def test_a_body_over_the_limit_is_told_so_while_it_is_still_being_sent(client: OpenAI) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(model=MODEL, messages=ask("x" * (33 * 1024 * 1024)))

    assert (caught.value.status_code, caught.value.code) == (413, "request_too_large")
    assert client.chat.completions.create(model=MODEL, messages=ask("Still there?")).choices


@pytest.mark.parametrize("path", ["/embeddings", "/images/generations", "/audio/speech", "/no/such/route"])
def test_a_route_that_is_not_there_is_not_found(client: OpenAI, path: str) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.post(path, body={"model": MODEL, "input": "Hi"}, cast_to=object)

    assert caught.value.type == "invalid_request_error"
    assert caught.value.code == "unknown_url"
    assert caught.value.request_id


def test_a_base_url_without_v1_is_told_how_to_be(gateway: MockGateway) -> None:
    with (
        OpenAI(base_url=gateway.root, api_key="none", max_retries=0) as client,
        pytest.raises(openai.NotFoundError) as caught,
    ):
        client.chat.completions.create(model=MODEL, messages=ask("Hi"))

    assert "ends in /v1" in caught.value.message


def test_a_wrong_method_is_told_so(client: OpenAI) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        client.get("/chat/completions", cast_to=object)

    assert (caught.value.status_code, caught.value.code) == (405, "method_not_allowed")


# A protected gateway


@pytest.fixture(scope="module")
def protected() -> Iterator[MockGateway]:
    with mock_gateway("--api-key", GATEWAY_KEY) as gateway:
        yield gateway


def protected_client(protected: MockGateway, key: str) -> OpenAI:
    return OpenAI(base_url=protected.url, api_key=key, max_retries=0)


def test_the_right_key_is_let_in(protected: MockGateway) -> None:
    with protected_client(protected, GATEWAY_KEY) as client:
        assert client.chat.completions.create(model=MODEL, messages=ask("Hi")).choices


@pytest.mark.parametrize("call", ["chat", "models"])
def test_a_wrong_key_is_not(protected: MockGateway, call: str, topic: str) -> None:
    with protected_client(protected, "sk-wrong") as client, pytest.raises(openai.AuthenticationError) as caught:
        if call == "chat":
            client.chat.completions.create(model=MODEL, messages=ask(topic))
        else:
            client.models.list()

    assert (caught.value.code, caught.value.type) == ("invalid_api_key", "invalid_request_error")
    assert "sk-" not in caught.value.message
    assert protected.upstream_calls(topic) == []


def test_no_key_is_not(protected: MockGateway) -> None:
    with protected_client(protected, "unused") as client, pytest.raises(openai.AuthenticationError) as caught:
        client.chat.completions.create(model=MODEL, messages=ask("Hi"), extra_headers={"Authorization": openai.Omit()})

    assert caught.value.code == "invalid_api_key"
