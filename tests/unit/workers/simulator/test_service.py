"""Routes, authentication, models, usage, the stream's form, and that answers are a function of the request."""

import json

import pytest

from tests.support.simulator_calls import body, content, events, json_of, message, refusal, send, text_of, tool
from workers.simulator.service import Simulator
from workers.simulator.settings import SimulatorSettings


@pytest.fixture
def simulator():
    return Simulator(SimulatorSettings())


def error(reply):
    return reply.status, json_of(reply)["error"]["type"], json_of(reply)["error"]["message"]


def test_no_key_is_a_401(simulator):
    reply = send(simulator, body(), headers={"x-api-key": None})
    assert error(reply) == (401, "authentication_error", "x-api-key header is required")


def test_an_invalid_key_is_a_401(simulator):
    reply = send(simulator, body(), headers={"x-api-key": "invalid-key"})
    assert error(reply) == (401, "authentication_error", "invalid x-api-key")


def test_a_bearer_token_will_do(simulator):
    assert send(simulator, body(), headers={"x-api-key": None, "authorization": "Bearer abc"}).status == 200


@pytest.mark.parametrize("value", ["Basic abc", "Bearer ", "abc"])
def test_another_authorization_will_not(simulator, value):
    assert send(simulator, body(), headers={"x-api-key": None, "authorization": value}).status == 401


def test_only_listed_keys_are_accepted():
    simulator = Simulator(SimulatorSettings(keys=("a", "b")))
    assert [send(simulator, body(), headers={"x-api-key": key}).status for key in "abc"] == [200, 200, 401]


@pytest.mark.parametrize("version", [None, "2020-01-01"])
def test_the_version_must_be_known(simulator, version):
    assert refusal(simulator, body(), headers={"anthropic-version": version}).startswith("anthropic-version: ")


def test_an_unknown_model_is_a_404(simulator):
    reply = send(simulator, body(model="claude-nope"))
    assert error(reply) == (404, "not_found_error", "model: claude-nope")


def test_an_error_carries_the_request_id_of_the_header(simulator):
    reply = send(simulator, body(model="claude-nope"))
    request_id = json_of(reply)["request_id"]
    assert request_id.startswith("req_")
    assert b"request-id: %b\r\n" % request_id.encode() in reply.headers


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/v1/messages", 405), ("POST", "/v1/nothing", 404)])
def test_other_routes_are_errors(simulator, method, path, status):
    assert send(simulator, method=method, path=path).status == status


def test_the_same_request_gets_the_same_message(simulator):
    first, second = (message(simulator, body("Hello")) for _ in range(2))
    assert first == second


def test_different_requests_get_different_messages(simulator):
    answers = {text_of(message(simulator, body(f"Hello {number}"))) for number in range(20)}
    assert len({len(answer) for answer in answers}) > 5


def test_the_stream_adds_up_to_the_plain_message(simulator):
    payload = body(
        "What is the weather in Rome?",
        tools=[tool("get_weather", {"type": "object", "properties": {"city": {"type": "string"}}})],
    )
    plain = message(simulator, payload)
    streamed = [data for _, data in events(send(simulator, payload | {"stream": True}))]
    built = streamed[0]["message"]
    partial = ""
    for data in streamed:
        match data:
            case {"type": "content_block_start", "content_block": block}:
                built["content"].append(block)
                partial = ""
            case {"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": part}}:
                partial += part
            case {"type": "content_block_delta", "delta": {"type": "signature_delta", "signature": signature}}:
                built["content"][-1]["signature"] += signature
            case {"type": "content_block_stop"} if partial:
                built["content"][-1]["input"] = json.loads(partial)
            case {"type": "message_delta", "delta": delta, "usage": usage}:
                built |= delta
                built["usage"] |= usage
    assert built == plain


def test_a_stream_has_the_events_of_the_real_one(simulator):
    names = [name for name, _ in events(send(simulator, body("Hi", stream=True, thinking={"type": "disabled"})))]
    assert names[:3] == ["message_start", "content_block_start", "ping"]
    assert set(names[3:-3]) == {"content_block_delta"}
    assert names[-3:] == ["content_block_stop", "message_delta", "message_stop"]


def test_max_tokens_cuts_the_answer(simulator):
    answer = message(simulator, body("Hello", max_tokens=5, thinking={"type": "disabled"}))
    assert (answer["stop_reason"], answer["usage"]["output_tokens"]) == ("max_tokens", 5)
    assert len(text_of(answer).encode()) <= 20


def test_max_tokens_zero_says_nothing(simulator):
    answer = message(simulator, body(max_tokens=0))
    assert (answer["content"], answer["stop_reason"], answer["usage"]["output_tokens"]) == ([], "max_tokens", 0)


def test_a_stop_sequence_stops(simulator):
    answer = message(simulator, body("[[sim: text='one two three']]", stop_sequences=["three", " two"]))
    assert (text_of(answer), answer["stop_reason"], answer["stop_sequence"]) == ("one", "stop_sequence", " two")


def test_thinking_is_counted_as_output(simulator):
    usage = message(simulator, body("[[sim: thinking_tokens=30 output_tokens=20]]"))["usage"]
    assert (usage["output_tokens"], usage["output_tokens_details"]) == (50, {"thinking_tokens": 30})


@pytest.mark.parametrize(
    ("model", "thinking", "shown"),
    [
        ("claude-opus-5", None, False),
        ("claude-opus-5", {"type": "adaptive", "display": "summarized"}, True),
        ("claude-sonnet-4-6", {"type": "adaptive"}, True),
        ("claude-sonnet-4-6", {"type": "adaptive", "display": "omitted"}, False),
    ],
)
def test_thinking_is_shown_by_display_and_model(simulator, model, thinking, shown):
    payload = body("Hello", model=model) | ({"thinking": thinking} if thinking else {})
    block = message(simulator, payload)["content"][0]
    assert block["type"] == "thinking"
    assert block["signature"]
    assert bool(block["thinking"]) is shown


@pytest.mark.parametrize(
    ("model", "thinking"),
    [
        ("claude-opus-4-8", None),
        ("claude-opus-5", {"type": "disabled"}),
        ("claude-sonnet-5-5", {"type": "between_tools"}),
    ],
)
def test_no_thinking_where_it_is_off(simulator, model, thinking):
    payload = body("Hello", model=model) | ({"thinking": thinking} if thinking else {})
    assert [block["type"] for block in message(simulator, payload)["content"]] == ["text"]


def test_count_tokens_agrees_with_usage(simulator):
    payload = body("Grüße, 東京 👍", system="Be brief.", tools=[tool("now")])
    usage = message(simulator, payload)["usage"]
    del payload["max_tokens"]
    count = json_of(send(simulator, payload, path="/v1/messages/count_tokens"))
    assert count == {"input_tokens": usage["input_tokens"]}


def test_a_token_is_four_bytes(simulator):
    payload = body("x" * 400)
    del payload["max_tokens"]
    assert json_of(send(simulator, payload, path="/v1/messages/count_tokens")) == {"input_tokens": 104}


def test_models_are_listed_with_their_capabilities(simulator):
    page = json_of(send(simulator, method="GET", path="/v1/models?limit=1000"))
    assert page["has_more"] is False
    by_id = {info["id"]: info for info in page["data"]}
    opus = by_id["claude-opus-5-5"]
    assert opus["max_tokens"] == 128_000
    assert opus["capabilities"]["thinking"]["types"]["enabled"] == {"supported": False}
    assert "claude-3-5-sonnet-20241022" not in by_id


def test_models_come_in_pages(simulator):
    first = json_of(send(simulator, method="GET", path="/v1/models?limit=2"))
    second = json_of(send(simulator, method="GET", path=f"/v1/models?limit=2&after_id={first['last_id']}"))
    assert first["has_more"] is True
    assert not {info["id"] for info in first["data"]} & {info["id"] for info in second["data"]}


def test_one_model_can_be_read(simulator):
    assert json_of(send(simulator, method="GET", path="/v1/models/claude-haiku-4-5"))["line"] == "haiku"


def test_a_model_nobody_knows_is_a_404(simulator):
    assert error(send(simulator, method="GET", path="/v1/models/gpt-5"))[2] == "model: gpt-5"


def test_rate_limits_are_shown_and_count():
    simulator = Simulator(SimulatorSettings(requests_per_minute=10))  # one comes back in six seconds
    first, second = (send(simulator, body()).headers for _ in range(2))
    assert b"anthropic-ratelimit-requests-limit: 10\r\n" in first
    assert b"anthropic-ratelimit-requests-remaining: 8\r\n" in second
    assert b"anthropic-ratelimit-tokens-reset: 20" in first


def test_rate_limits_refuse_when_told_to():
    simulator = Simulator(SimulatorSettings(enforce_rate_limits=True, requests_per_minute=2))
    replies = [send(simulator, body()) for _ in range(3)]
    assert [reply.status for reply in replies] == [200, 200, 429]
    assert b"retry-after: 30\r\n" in replies[-1].headers
    assert b"anthropic-ratelimit-requests-remaining: 0\r\n" in replies[-1].headers


def test_rate_limits_are_per_key():
    simulator = Simulator(SimulatorSettings(enforce_rate_limits=True, requests_per_minute=1))
    assert [send(simulator, body(), headers={"x-api-key": key}).status for key in "ab"] == [200, 200]


def test_the_lean_way_answers_text_in_both_forms():
    simulator = Simulator(SimulatorSettings(validate=False))
    plain = message(simulator, body("Hello"))
    assert [block["type"] for block in plain["content"]] == ["text"]
    names = [name for name, _ in events(send(simulator, body("Hello", stream=True)))]
    assert (names[0], names[-1]) == ("message_start", "message_stop")


def test_the_lean_way_leaves_tools_to_the_long_one():
    simulator = Simulator(SimulatorSettings(validate=False))
    answer = message(simulator, body("now", tools=[tool("now")], tool_choice={"type": "any"}))
    assert answer["stop_reason"] == "tool_use"


def test_a_head_reply_has_no_body(simulator):
    assert content(send(simulator, method="HEAD", path="/")) == b""


def test_speed_and_tier_are_part_of_usage(simulator):
    payload = body("[[sim: service_tier=priority]]", speed="fast")
    usage = message(simulator, payload, headers={"anthropic-beta": "fast-mode-2026-02-01"})["usage"]
    assert (usage["speed"], usage["service_tier"]) == ("fast", "priority")
