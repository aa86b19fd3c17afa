import json
from typing import Any

import pytest

from app.errors import InvalidRequest
from app.translate.chat_to_messages import (
    TranslationSettings,
    decode_chat_request,
    downgrade_forced_tool,
    to_messages,
)
from tests.support.chat_requests import (
    HELLO,
    MODELS,
    WEATHER,
    adjusted,
    call,
    ignored,
    refusal,
    sent,
    with_facts,
)
from tests.support.talks import NOTHING, committed, raws, turn_call

IMAGE = {"type": "image_url", "image_url": {"url": "https://a.test/a.png"}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}


def json_schema(**fields: Any) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "strict": True, **fields}}}


def test_a_retired_model_is_replaced_and_reported() -> None:
    request = {"model": "claude-3-5-sonnet-20241022"}
    assert sent(request)["model"] == call(request).model == "claude-sonnet-5-5"
    assert adjusted(request) == {"model": "claude-sonnet-5-5"}


def test_an_alias_is_not_reported() -> None:
    assert sent({"model": "gpt-4o"}, aliases={"gpt-4o": "haiku"})["model"] == "claude-haiku-5-5"
    assert adjusted({"model": "gpt-4o"}, aliases={"gpt-4o": "haiku"}) == {}


def test_an_unknown_model_is_not_found() -> None:
    error = refusal({"model": "gpt-4o"})
    assert (error.param, error.code) == ("model", "model_not_found")


# response_format


def test_a_schema_is_the_format_of_the_answer() -> None:
    assert sent(json_schema(schema=SCHEMA))["output_config"] == {"format": {"type": "json_schema", "schema": SCHEMA}}


@pytest.mark.parametrize("format_", [{"type": "json_object"}, {"type": "json_schema", "json_schema": {"name": "x"}}])
def test_json_without_a_schema_is_an_instruction(format_: dict[str, Any]) -> None:
    request = {"messages": [{"role": "system", "content": "s"}, *HELLO], "response_format": format_}
    assert [block["text"] for block in sent(request)["system"]] == [
        "s",
        "Reply with one valid JSON object and nothing else.",
    ]
    assert adjusted(request) == {"response_format": "instruction"}


def test_a_schema_that_cannot_be_enforced_is_an_instruction() -> None:
    request = json_schema(schema={"properties": {"ä": {}}})
    assert sent(request)["system"][0]["text"].endswith('nothing else:\n{"properties": {"\\u00e4": {}}}')
    assert adjusted(request) == {"response_format": "instruction"}


def test_a_model_without_structured_outputs_is_told_the_schema() -> None:
    models = with_facts("claude-opus-5-5", structured_outputs=False)
    assert "output_config" not in sent(json_schema(schema=SCHEMA), models=models)
    assert adjusted(json_schema(schema=SCHEMA), models=models) == {"response_format": "instruction"}


# Extensions


def test_output_config_is_passed_on_and_wins() -> None:
    request = {"output_config": {"effort": "low", "x": 1}, "reasoning_effort": "high", **json_schema(schema=SCHEMA)}
    assert sent(request)["output_config"] == {
        "effort": "low",
        "x": 1,
        "format": {"type": "json_schema", "schema": SCHEMA},
    }
    assert ignored(request) == ("reasoning_effort",)
    assert ignored({**json_schema(schema=SCHEMA), "output_config": {"format": {}}}) == ("response_format",)


def test_inference_geo_is_passed_on() -> None:
    assert sent({"inference_geo": "us"})["inference_geo"] == "us"


def test_anthropics_own_fields_are_merged_where_the_operator_allows_it() -> None:
    request = {"anthropic": {"container": {"id": "c"}, "max_tokens": 7, "model": "x", "stream": True}}
    body = sent(request, anthropic_extension=True)
    assert (body["container"], body["max_tokens"], body["model"]) == ({"id": "c"}, 7, "claude-opus-5-5")
    assert "stream" not in body
    assert ignored(request, anthropic_extension=True) == ("anthropic.model", "anthropic.stream")


def test_extensions_do_not_reach_anthropic() -> None:
    request = {"session_id": "s", "include_reasoning": False, "prewarm": False, "top_k": None, "betas": []}
    assert set(sent(request)) == {"model", "max_tokens", "messages"}


def test_unknown_fields_are_reported_last() -> None:
    request = {"foo": 1, "seed": 1, "messages": [{**HELLO[0], "bar": 1, "name": "n"}]}
    reported = ignored(request)
    assert reported[:2] == ("seed", "messages[0].name")
    assert sorted(reported[2:]) == ["foo", "messages[0].bar"]


# The plan of the reply


def test_usage_is_streamed_on_request() -> None:
    assert call({"stream": True, "stream_options": {"include_usage": True}}).plan.include_usage
    assert not call({"stream": True}).plan.include_usage


# Strict


def test_strict_refuses_what_would_be_ignored() -> None:
    error = refusal({"seed": 1}, strict=True)
    assert (error.param, error.code) == ("seed", "unsupported_parameter")
    assert refusal({"foo": 1}, strict=True).param == "foo"


def test_strict_refuses_what_would_be_adjusted() -> None:
    error = refusal({"max_tokens": 10**9}, strict=True)
    assert (error.param, error.code) == ("max_tokens", "unsupported_parameter")
    assert "128000" in error.message


def strictly(request: dict[str, Any], *, setting: bool, header: bool | None) -> Any:
    chat = decode_chat_request(json.dumps({"model": "opus", "messages": HELLO, **request}).encode())
    return to_messages(chat, MODELS, TranslationSettings(strict=setting), strict=header)


@pytest.mark.parametrize(("setting", "header"), [(True, None), (False, True), (True, True)])
def test_strict_is_a_setting_or_a_header(setting: bool, header: bool | None) -> None:
    with pytest.raises(InvalidRequest):
        strictly({"seed": 1}, setting=setting, header=header)


def test_the_header_wins_over_the_setting() -> None:
    assert strictly({"seed": 1}, setting=True, header=False).report.ignored == ("seed",)


def test_strict_serves_what_can_be_served_to_the_letter() -> None:
    assert call({"max_tokens": 5, "tools": [WEATHER]}, strict=True).report.ignored == ()


# A forced tool on a model that turned out to refuse it


def downgraded(request: dict[str, Any], **settings: Any) -> Any:
    chat = decode_chat_request(json.dumps({"messages": HELLO, **request}).encode())
    return downgrade_forced_tool(chat, MODELS, TranslationSettings(auto_cache="off", **settings))


def test_an_unknown_model_is_told_after_its_refusal() -> None:
    request = {"model": "claude-next-1", "tools": [WEATHER], "tool_choice": "required"}
    made = downgraded(request)
    assert json.loads(made.body)["tool_choice"] == {"type": "auto"}
    assert dict(made.report.adjusted) == {"tool_choice": "auto"}
    assert made.plan.expects_tool_call


def test_strict_does_not_let_it_be_told() -> None:
    with pytest.raises(InvalidRequest, match="tool_choice"):
        downgraded({"model": "claude-next-1", "tools": [WEATHER], "tool_choice": "required"}, strict=True)


# --- what is known of the cost --------------------------------------------------------------------------------------


def test_the_call_knows_what_bounds_its_cost() -> None:
    made = call({"model": "opus", "max_tokens": 77, "inference_geo": "us"})
    assert (made.max_tokens, made.max_tokens_given, made.least_tokens) == (77, True, 1)
    assert made.price == MODELS.resolve("opus").facts.price
    assert (made.inference_geo, made.fast, made.unbounded) == ("us", False, "")
    assert 0 < made.size.expected_tokens < 20
    assert len(made.body) < made.size.most_tokens < len(made.body) + 5000


@pytest.mark.parametrize(
    ("request_", "max_tokens", "given"),
    [
        ({}, 16_000, False),
        ({"stream": True}, 32_000, False),
        ({"max_completion_tokens": 5}, 5, True),
        ({"max_tokens": 5}, 5, True),
        ({"prewarm": True}, 0, True),
    ],
)
def test_a_default_bound_is_not_the_clients(request_: dict[str, Any], max_tokens: int, given: bool) -> None:
    made = call(request_)
    assert (made.max_tokens, made.max_tokens_given) == (max_tokens, given)


@pytest.mark.parametrize(
    ("reason", "request_", "options"),
    [
        ("claude-next-1", {"model": "claude-next-1"}, {}),
        ("web search", {"web_search_options": {}}, {}),
        ("'anthropic' object", {"anthropic": {"container": "c"}}, {"anthropic_extension": True}),
        ("fast mode", {"service_tier": "fast"}, {"fast_mode": True}),
        ("'context-2m'", {"betas": ["context-2m"]}, {"allowed_betas": ("context-2m",)}),
    ],
)
def test_a_call_whose_cost_has_no_bound_says_why(
    reason: str, request_: dict[str, Any], options: dict[str, Any]
) -> None:
    assert reason in call(request_, **options).unbounded


def test_what_the_operator_does_not_allow_leaves_the_cost_bounded() -> None:
    request = {"anthropic": {"container": "c"}, "service_tier": "fast", "betas": ["context-2m"]}
    assert call(request).unbounded == ""


def test_fast_mode_with_a_known_price_is_bounded() -> None:
    made = call({"model": "claude-opus-4-6", "service_tier": "fast"}, fast_mode=True)
    assert (made.fast, made.unbounded) == (True, "")


# Affinity


@pytest.mark.parametrize(
    ("fields", "affinity"),
    [
        ({"prompt_cache_key": "k", "session_id": "s"}, "k"),
        ({"session_id": "s"}, "s"),
        ({}, "Hello."),
        ({"messages": [{"role": "system", "content": "a"}, {"role": "user", "content": "b" * 300}]}, "b" * 256),
        ({"messages": [{"role": "user", "content": [IMAGE, {"type": "text", "text": "c"}]}]}, "c"),
        ({"messages": [{"role": "user", "content": [IMAGE]}]}, ""),
        ({"messages": [{"role": "system", "content": "a"}]}, ""),
    ],
)
def test_a_conversation_stays_with_one_credential(fields: dict[str, Any], affinity: str) -> None:
    assert call(fields).affinity == affinity


def test_a_session_keeps_its_affinity_from_turn_to_turn() -> None:
    history = committed(NOTHING, [{"role": "user", "content": "First"}], raws({"type": "text", "text": "Yes"}))
    assert turn_call({"messages": HELLO}, history=history).affinity == "First"
    legacy = {"messages": [{"role": "assistant", "content": "a"}]}
    assert turn_call(legacy, history=NOTHING).affinity == ""
