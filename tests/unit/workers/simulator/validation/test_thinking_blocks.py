"""Thinking that comes back: signatures, the prefix it is bound to, what is dropped and what is refused."""

import pytest

from tests.support.simulator_calls import blocks, body, json_of, message, refusal, send, tool
from workers.simulator.exchange import Request
from workers.simulator.journal import Journal
from workers.simulator.service import Simulator
from workers.simulator.settings import SimulatorSettings

BOUND, FREE = "claude-fable-5-1", "claude-fable-5"
BETA = {"anthropic-beta": "thinking-binding-controls-2026-08-01"}
DROP = {"type": "adaptive", "block_binding": {"prefix_mismatch_behavior": "drop_block"}}
TOOLS = [tool("now")]


@pytest.fixture
def simulator():
    return Simulator(SimulatorSettings())


def first_turn(simulator, model, prompt="what time is it now?", **fields):
    """A conversation after one call of the tool: the turns, the last being the result."""
    payload = body(prompt, model=model, tools=TOOLS, thinking={"type": "adaptive", "display": "summarized"}, **fields)
    answer = message(simulator, payload)
    assert [block["type"] for block in answer["content"]] == ["thinking", "tool_use"]
    result = {"type": "tool_result", "tool_use_id": answer["content"][1]["id"], "content": "12:00"}
    return [
        {"role": "user", "content": prompt},
        {"role": "assistant", "content": answer["content"]},
        {"role": "user", "content": [result]},
    ]


def go_on(turns, model, **fields):
    return body(*turns, model=model, tools=TOOLS, **fields)


@pytest.mark.parametrize("model", [BOUND, FREE, "claude-opus-5-5", "claude-haiku-5-5"])
def test_thinking_that_comes_back_unchanged_is_accepted(simulator, model):
    assert send(simulator, go_on(first_turn(simulator, model), model)).status == 200


@pytest.mark.parametrize("model", [BOUND, FREE])
def test_edited_thinking_is_refused_inside_the_turn(simulator, model):
    turns = first_turn(simulator, model)
    turns[1]["content"][0]["thinking"] += "!"
    text = refusal(simulator, go_on(turns, model))
    assert text.startswith("messages.1.content.0: `thinking` or `redacted_thinking` blocks in the latest assistant")


def test_a_foreign_signature_is_refused_on_every_model(simulator):
    turns = first_turn(simulator, FREE)
    turns[1]["content"][0]["signature"] = "SIGX"
    text = refusal(simulator, go_on(turns, FREE))
    assert text == "messages.1.content.0: Invalid `signature` in `thinking` block"


def test_a_changed_prefix_is_refused_where_thinking_is_bound(simulator):
    turns = first_turn(simulator, BOUND)
    turns[0]["content"] = "what time is it now, please?"
    assert refusal(simulator, go_on(turns, BOUND)).startswith("messages.1.content.0: This `thinking` block was created")


def test_a_changed_prefix_is_nothing_where_thinking_is_free(simulator):
    turns = first_turn(simulator, FREE)
    turns[0]["content"] = "what time is it now, please?"
    assert send(simulator, go_on(turns, FREE)).status == 200


@pytest.mark.parametrize("change", [{"system": "Be brief."}, {"tools": [tool("now"), tool("later")]}])
def test_system_and_tools_are_part_of_the_prefix(simulator, change):
    payload = go_on(first_turn(simulator, BOUND), BOUND) | change
    assert "was created in a different conversation" in refusal(simulator, payload)


def test_cache_breakpoints_and_split_messages_are_no_change_of_the_prefix(simulator):
    turns = first_turn(simulator, BOUND)
    turns[0]["content"] = [{"type": "text", "text": turns[0]["content"], "cache_control": {"type": "ephemeral"}}]
    assert send(simulator, go_on(turns, BOUND)).status == 200


def test_drop_block_drops_and_reports(simulator):
    turns = first_turn(simulator, BOUND)
    turns[0]["content"] = "what time is it now, please?"
    answer = message(simulator, go_on(turns, BOUND, thinking=DROP), headers=BETA)
    assert answer["input_transformations"] == [
        {"type": "thinking_dropped", "path": "messages.1.content.0", "reason": "prefix_binding_mismatch"}
    ]


def test_with_the_beta_nothing_dropped_is_an_empty_list(simulator):
    answer = message(simulator, go_on(first_turn(simulator, BOUND), BOUND, thinking=DROP), headers=BETA)
    assert answer["input_transformations"] == []


def test_dropped_thinking_is_not_counted(simulator):
    turns = first_turn(simulator, BOUND)
    kept = message(simulator, go_on(turns, BOUND, thinking=DROP), headers=BETA)["usage"]["input_tokens"]
    turns[0]["content"] = "what time is it now, pleas"
    dropped = message(simulator, go_on(turns, BOUND, thinking=DROP), headers=BETA)["usage"]["input_tokens"]
    assert dropped < kept - 20


def two_thoughts(simulator, model):
    """A conversation with two tool turns of thinking, the second result being last."""
    turns = first_turn(simulator, model)
    turns.append({"role": "assistant", "content": message(simulator, go_on(turns, model))["content"]})
    turns.append({"role": "user", "content": "and what is it now?"})
    answer = message(simulator, go_on(turns, model))
    turns.append({"role": "assistant", "content": answer["content"]})
    turns.append(
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": blocks(answer, "tool_use")[0]["id"]}]}
    )
    return turns


def without_thinking(turn):
    kept = [block for block in turn["content"] if block["type"] != "thinking"]
    return {**turn, "content": kept}


def test_the_oldest_thinking_may_be_left_out(simulator):
    turns = two_thoughts(simulator, BOUND)
    turns[1] = without_thinking(turns[1])
    assert send(simulator, go_on(turns, BOUND)).status == 200


def test_all_thinking_may_be_left_out(simulator):
    turns = [without_thinking(t) if t["role"] == "assistant" else t for t in two_thoughts(simulator, BOUND)]
    assert send(simulator, go_on(turns, BOUND)).status == 200


def test_thinking_may_not_be_left_out_from_the_middle(simulator):
    turns = two_thoughts(simulator, BOUND)
    turns[3] = without_thinking(turns[3])
    assert "was created in a different conversation" in refusal(simulator, go_on(turns, BOUND))


def test_another_models_thinking_is_dropped_silently_where_it_cannot_be_read(simulator):
    turns = first_turn(simulator, "claude-opus-5-5")
    answer = message(simulator, go_on(turns, "claude-sonnet-5-5", thinking={"type": "adaptive"}), headers=BETA)
    assert [entry["reason"] for entry in answer["input_transformations"]] == ["model_binding_mismatch"]


def test_another_organizations_thinking_is_dropped_where_it_is_account_bound(simulator):
    turns = first_turn(simulator, "claude-haiku-5-5")
    payload = go_on(turns, "claude-haiku-5-5", thinking={"type": "adaptive"})
    answer = message(simulator, payload, headers=BETA | {"x-api-key": "another"})
    assert [entry["reason"] for entry in answer["input_transformations"]] == ["organization_binding_mismatch"]


def test_the_journal_tells_of_dropped_thinking_also_where_the_reply_does_not(simulator):
    turns = first_turn(simulator, "claude-haiku-5-5")
    entry = Journal(1, 0).record(Request("POST", "/v1/messages", "", {}, b""))
    payload = go_on(turns, "claude-haiku-5-5", thinking={"type": "adaptive"})
    answer = message(simulator, payload, headers={"x-api-key": "another"}, entry=entry)
    assert "input_transformations" not in answer
    assert [dropped["reason"] for dropped in entry.dropped] == ["organization_binding_mismatch"]


def test_redacted_thinking_comes_back_too(simulator):
    turns = first_turn(simulator, FREE)
    answer = message(simulator, go_on(turns, FREE), headers={"x-simulator-script": "redacted"})
    assert answer["content"][0]["type"] == "redacted_thinking"
    turns += [{"role": "assistant", "content": answer["content"]}, {"role": "user", "content": "thanks"}]
    assert send(simulator, go_on(turns, FREE)).status == 200


def test_enabled_thinking_needs_the_turn_to_begin_with_thinking(simulator):
    model, fields = "claude-haiku-4-5", {"max_tokens": 4000, "thinking": {"type": "enabled", "budget_tokens": 2000}}
    call = {"type": "tool_use", "id": "t1", "name": "now", "input": {}}
    turns = ["now?", {"role": "assistant", "content": [call]}]
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1"}]}
    text = refusal(simulator, body(*turns, result, model=model, tools=TOOLS, **fields))
    assert text.startswith(
        "messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `tool_use`."
    )


def test_count_tokens_checks_thinking_as_well(simulator):
    payload = go_on(first_turn(simulator, BOUND), BOUND, system="changed")
    del payload["max_tokens"]
    assert "different conversation" in refusal(simulator, payload, path="/v1/messages/count_tokens")


def test_a_block_of_one_process_is_known_to_another(simulator):
    turns = first_turn(simulator, BOUND)
    other = Simulator(SimulatorSettings())
    assert json_of(send(other, go_on(turns, BOUND)))["type"] == "message"
