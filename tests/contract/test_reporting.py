"""What was ignored or adjusted is said, and strict mode refuses it; ``POST /v1/compatibility`` says it beforehand."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.support.mock_gateway import MockGateway
from tests.support.questions import MODEL, ask

STRICT = {"x-claude-wrapper-strict": "1"}
IGNORED = "x-claude-wrapper-ignored-params"
ADJUSTED = "x-claude-wrapper-adjusted-params"


def reply_headers(client: OpenAI, **request: Any) -> Any:
    request = {"model": MODEL, "messages": ask("Hi")} | request
    return client.chat.completions.with_raw_response.create(**request).headers


def test_nothing_is_said_where_all_is_served(client: OpenAI) -> None:
    headers = reply_headers(client, max_completion_tokens=100, stop=["END"], user="jane", seed=None, n=1)

    assert IGNORED not in headers
    assert ADJUSTED not in headers


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("temperature", 0.2),
        ("top_p", 0.5),
        ("seed", 1),
        ("frequency_penalty", 0.5),
        ("presence_penalty", -0.5),
        ("logit_bias", {"50256": -100}),
        ("logprobs", True),
        ("verbosity", "low"),
        ("service_tier", "flex"),
        ("store", True),
    ],
)
def test_a_parameter_without_effect_is_named(client: OpenAI, parameter: str, value: Any) -> None:
    assert parameter in reply_headers(client, **{parameter: value})[IGNORED].split(", ")


def test_all_of_them_are_named_in_one_header(client: OpenAI) -> None:
    named = reply_headers(client, seed=1, temperature=0.2, extra_body={"made_up": {"deep": 1}})[IGNORED].split(", ")

    assert sorted(named) == ["made_up", "seed", "temperature"]


def test_temperature_has_its_effect_where_the_model_takes_it(client: OpenAI, gateway: MockGateway, topic: str) -> None:
    headers = reply_headers(client, model="claude-haiku-4-5", messages=ask(topic), temperature=0.5)

    assert IGNORED not in headers
    (call,) = gateway.upstream_calls(topic)
    assert call["body"]["temperature"] == 0.5
    assert call["headers"]["anthropic-version"] == "2023-06-01"


def test_too_many_tokens_are_cut_to_what_the_model_has(client: OpenAI) -> None:
    assert "max_tokens=128000" in reply_headers(client, max_tokens=500_000)[ADJUSTED]


def test_the_original_s_headers_are_named_as_ignored(client: OpenAI) -> None:
    headers = reply_headers(client, extra_headers={"X-Claude-Allowed-Tools": "Bash", "X-Claude-Max-Turns": "3"})

    assert "x-claude-allowed-tools" in headers[IGNORED].lower()
    assert "x-claude-max-turns" in headers[IGNORED].lower()


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        ({"seed": 1}, "seed"),
        ({"temperature": 0.2}, "temperature"),
        ({"extra_body": {"made_up": 1}}, "made_up"),
        ({"max_tokens": 500_000}, "max_tokens"),
        ({"model": "claude-3-5-sonnet-20241022"}, "model"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"seed": 1, "stream": True}, "seed"),
    ],
)
def test_strict_mode_refuses_what_would_be_ignored_or_adjusted(
    client: OpenAI, request_: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        reply_headers(client, extra_headers=STRICT, **request_)

    assert caught.value.code == "unsupported_parameter"
    assert str(caught.value.param).startswith(param)


def test_strict_mode_serves_what_can_be_served(client: OpenAI) -> None:
    assert ADJUSTED not in reply_headers(client, extra_headers=STRICT, stop=["END"], reasoning_effort="low")


def told(client: OpenAI, **request: Any) -> Any:
    """What would become of a request: the whole report, and parameter -> status."""
    report = client.post("/compatibility", body={"model": MODEL, "messages": ask("Hi")} | request, cast_to=object)
    return report, {entry["param"]: entry["status"] for entry in report["parameters"]}


def test_compatibility_tells_beforehand_and_calls_nobody(client: OpenAI, gateway: MockGateway, topic: str) -> None:
    report, status = told(
        client,
        model="claude-3-5-sonnet-20241022",
        messages=ask(topic),
        seed=1,
        stop=["END"],
        response_format={"type": "json_object"},
    )

    assert report["accepted"] is True
    assert status == {
        "model": "adjusted",
        "messages": "mapped",
        "seed": "ignored",
        "stop": "mapped",
        "response_format": "adjusted",
    }
    assert gateway.upstream_calls(topic) == []


def test_compatibility_tells_what_would_be_refused(client: OpenAI) -> None:
    report, status = told(client, n=99, stop=["END"])

    assert report["accepted"] is False
    assert status["n"] == "refused"
    assert status["stop"] == "mapped"


def test_compatibility_agrees_with_what_then_happens(client: OpenAI) -> None:
    request = {"seed": 1, "temperature": 0.2, "verbosity": "low", "stop": ["END"], "max_tokens": 500_000}
    _, status = told(client, **request)
    headers = reply_headers(client, **request)

    assert {name for name, what in status.items() if what == "ignored"} == set(headers[IGNORED].split(", "))
    assert {name for name, what in status.items() if what == "adjusted"} == {
        entry.partition("=")[0] for entry in headers[ADJUSTED].split(", ")
    }


@pytest.mark.parametrize("header", [STRICT, {}, STRICT | {"x-claude-max-turns": "3"}])
@pytest.mark.parametrize("request_", [{"seed": 1}, {"stop": ["END"]}])
def test_compatibility_accepts_what_then_is_served(
    client: OpenAI, header: dict[str, str], request_: dict[str, Any]
) -> None:
    client = client.with_options(default_headers=header)
    report, _ = told(client, **request_)
    try:
        reply_headers(client, **request_)
        served = True
    except openai.BadRequestError:
        served = False

    assert report["accepted"] is served
