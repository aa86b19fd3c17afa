"""Fields that are missing, unknown or of the wrong type are refused with Anthropic's paths and words."""

import pytest

from tests.support.simulator_calls import body, refusal, send
from workers.simulator.service import Simulator
from workers.simulator.settings import SimulatorSettings


@pytest.fixture(scope="module")
def simulator():
    return Simulator(SimulatorSettings())


def user(*content):
    return {"role": "user", "content": list(content)}


IMAGE = {"type": "image", "source": {"type": "base64", "data": "aa"}}

REFUSED = [
    (body(foo=1), "foo: Extra inputs are not permitted"),
    ({"model": "claude-opus-5", "messages": []}, "max_tokens: Field required"),
    (body(user({"type": "text"})), "messages.0.content.0.text.text: Field required"),
    (
        body("a", user({"type": "text", "text": "a", "x": 1})),
        "messages.1.content.0.text.x: Extra inputs are not permitted",
    ),
    (body({"role": "robot", "content": "a"}), "messages.0.role: Input should be 'user', 'assistant' or 'system'"),
    (body({"role": "user", "content": "a", "name": "n"}), "messages.0.name: Extra inputs are not permitted"),
    (body({"role": "user", "content": 3}), "messages.0.content: Input should be a valid string"),
    (body(user({"text": "a"})), "messages.0.content.0.type: Field required"),
    (body(max_tokens="many"), "max_tokens: Input should be a valid integer"),
    (body(stream="yes"), "stream: Input should be a valid boolean"),
    (body(system=[{"type": "text", "text": 3}]), "system.0.text.text: Input should be a valid string"),
    (
        body(user({"type": "tool_result", "tool_use_id": "a", "content": [IMAGE]})),
        "messages.0.content.0.tool_result.content.0.image.source.base64.media_type: Field required",
    ),
    (
        body(user({"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "scope": "global"}})),
        "messages.0.content.0.text.cache_control.ephemeral.scope: Extra inputs are not permitted",
    ),
    (body(tools=[{"name": "a", "input_schema": {}, "x": 1}]), "tools.0.custom.x: Extra inputs are not permitted"),
    (body(thinking={"type": "enabled"}), "thinking.enabled.budget_tokens: Field required"),
    (body(tool_choice={"type": "tool"}), "tool_choice.tool.name: Field required"),
    (
        body(output_config={"effort": "huge"}),
        "output_config.effort: Input should be 'low', 'medium', 'high', 'xhigh' or 'max'",
    ),
    (body(metadata={"user": "x"}), "metadata.user: Extra inputs are not permitted"),
]


@pytest.mark.parametrize(("payload", "expected"), REFUSED, ids=[expected for _, expected in REFUSED])
def test_a_wrong_field_is_named_by_its_path(simulator, payload, expected):
    assert refusal(simulator, payload) == expected


def test_an_unknown_block_type_is_answered_with_the_known_ones(simulator):
    text = refusal(simulator, body(user({"type": "audio", "text": "a"})))
    assert text.startswith("messages.0.content.0: Input tag 'audio' found using 'type' does not match")
    assert "'image'" in text


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b'{"model": NaN}'])
def test_a_body_that_is_no_json_is_a_400(simulator, data):
    assert refusal(simulator, data) == "The request body is not valid JSON."


def test_a_body_that_is_no_object_is_a_400(simulator):
    assert send(simulator, [1]).status == 400


@pytest.mark.parametrize("field", ["context_management", "mcp_servers"])
def test_a_beta_field_needs_its_header(simulator, field):
    assert refusal(simulator, body(**{field: []})) == f"{field}: Extra inputs are not permitted"


def test_a_beta_field_is_taken_with_its_header(simulator):
    headers = {"anthropic-beta": "foo, context-management-2025-06-27"}
    assert send(simulator, body(context_management={"edits": []}), headers=headers).status == 200


def test_count_tokens_does_not_know_max_tokens(simulator):
    text = refusal(simulator, body(), path="/v1/messages/count_tokens")
    assert text == "max_tokens: Extra inputs are not permitted"
