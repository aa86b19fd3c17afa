"""What is billed for a call, whichever way it ends."""

import pytest

from tests.support.simulator_calls import body, json_of, send
from workers.simulator.invoice import charge_of
from workers.simulator.service import Simulator
from workers.simulator.settings import SimulatorSettings

PLAIN_TEXT = {"thinking": {"type": "disabled"}}
SEARCH = {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}


@pytest.fixture
def simulator():
    return Simulator(SimulatorSettings())


def reply(script="", *, prompt="Hello", stream=True, fields=PLAIN_TEXT, **settings):
    simulator = Simulator(SimulatorSettings(**settings))
    return send(simulator, body(f"{prompt} [[sim: {script}]]" if script else prompt, stream=stream, **fields))


def charge(sent, left_at_s=None):
    return charge_of(sent.bill, sent.parts, left_at_s)


def output(sent, left_at_s=None):
    found = charge(sent, left_at_s)
    return found.outcome, found.usage.output_tokens


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("validate", [False, True])
def test_a_completed_call_costs_what_its_answer_says(stream, validate):
    sent = reply(stream=stream, validate=validate)
    usage = json_of(reply(stream=False, validate=validate))["usage"]
    found = charge(sent)
    assert found.outcome == "completed"
    assert found.usage.output_tokens == usage["output_tokens"] > 0
    if not stream:
        assert found.usage.input_tokens == usage["input_tokens"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("left_at_s", "tokens"), [(0.05, 0), (0.1, 1), (0.55, 5), (1.12, 11), (9.0, 40)])
def test_a_client_that_leaves_pays_for_the_tokens_made_until_then(stream, left_at_s, tokens):
    sent = reply(stream=stream, ttft_ms=100, tokens_per_second=10, output_tokens=40, delta_tokens=1)
    assert output(sent, left_at_s) == ("cancelled", tokens)


def test_a_delta_that_was_due_is_paid_whole():
    sent = reply(ttft_ms=100, tokens_per_second=10, output_tokens=40, delta_tokens=4)
    assert [output(sent, left_at_s)[1] for left_at_s in (0.1, 0.49, 0.5, 0.51)] == [4, 4, 8, 8]


def test_a_client_that_leaves_pays_the_whole_input():
    sent = reply(ttft_ms=100)
    assert charge(sent, 0.01).usage.input_tokens == charge(sent).usage.input_tokens > 0


def test_without_a_pace_all_tokens_are_made_with_the_first():
    sent = reply(ttft_ms=100, output_tokens=40)
    assert [output(sent, left_at_s)[1] for left_at_s in (0.05, 0.1)] == [0, 40]


def test_a_slow_body_does_not_slow_what_is_made():
    assert output(reply("bytes_per_second=100", output_tokens=40), 1.0) == ("cancelled", 40)


def test_thinking_that_is_not_shown_is_made_at_the_same_pace():
    fields = {"thinking": {"type": "adaptive", "display": "omitted"}}
    sent = reply("thinking_tokens=30 output_tokens=20", fields=fields, tokens_per_second=10, delta_tokens=1)
    assert [output(sent, left_at_s)[1] for left_at_s in (1.05, 2.95, 3.05, 9.0)] == [11, 30, 31, 50]


def test_redacted_thinking_comes_at_once():
    sent = reply("redacted thinking_tokens=30 output_tokens=20", fields={}, ttft_ms=100, tokens_per_second=10)
    assert output(sent, 0.01) == ("cancelled", 30)
    assert output(sent) == ("completed", 50)


@pytest.mark.parametrize("validate", [False, True])
@pytest.mark.parametrize("chunked", ["", " chunk_bytes=7", " bytes_per_second=100000"])
@pytest.mark.parametrize(
    "fault", ["error_after_events=6", "silent_after_events=6", "cut_at_byte={bytes}", "stall_at_byte={bytes}"]
)
def test_an_answer_that_a_script_breaks_costs_the_deltas_that_went_out(fault, chunked, validate):
    settings = {"output_tokens": 40, "delta_tokens": 4, "validate": validate}
    whole = reply("delta_tokens=4", **settings)
    six_events = sum(len(part.data) for part in whole.parts[:6])
    script = "delta_tokens=4 " + fault.format(bytes=six_events + 30) + chunked
    assert output(reply(script, **settings)) == ("broken", 12)


def test_a_cut_at_the_end_of_a_delta_costs_it():
    whole = reply("delta_tokens=4", output_tokens=40)
    at = sum(len(part.data) for part in whole.parts[:6])
    assert output(reply(f"cut_at_byte={at}", output_tokens=40)) == ("broken", 12)


def test_a_cut_before_the_end_of_a_plain_answer_costs_it_whole():
    assert output(reply("cut_at_byte=50", stream=False, output_tokens=40)) == ("broken", 40)


@pytest.mark.parametrize("stream", [False, True])
def test_a_cut_after_the_last_byte_breaks_nothing(stream):
    assert output(reply("cut_at_byte=1000000", stream=stream, output_tokens=40)) == ("completed", 40)


@pytest.mark.parametrize(
    "script",
    [
        *("status=529", "drop", "silent", "nonsense=html", "nonsense=empty"),
        *("cut_at_byte=0", "cut_at_byte=50", "stall_at_byte=50", "error_after_events=0", "silent_after_events=0"),
    ],
)
def test_a_stream_that_never_began_costs_nothing(simulator, script):
    assert send(simulator, body(f"[[sim: {script}]]", stream=True)).bill is None
    assert simulator.invoice.shown()["refused"] == {"calls": 1}


@pytest.mark.parametrize("headers", [{}, {"x-api-key": None}])
def test_a_request_that_is_refused_is_counted(simulator, headers):
    send(simulator, b"{}", headers=headers)
    assert simulator.invoice.shown()["refused"] == {"calls": 1}


def test_other_routes_are_not_calls(simulator):
    send(simulator, {}, path="/v1/messages/count_tokens")
    send(simulator, method="GET", path="/v1/messages")
    assert simulator.invoice.shown()["refused"] == {"calls": 0}


def test_a_search_is_paid_from_its_first_token_on():
    fields = SEARCH | {"thinking": {"type": "adaptive", "display": "omitted"}}
    sent = reply("thinking_tokens=30", prompt="Search for tea.", fields=fields, tokens_per_second=10, delta_tokens=1)
    assert charge(sent, 2.0).usage.server_tool_use is None
    assert charge(sent, 3.05).usage.server_tool_use.web_search_requests == 1


def test_the_invoice_sums_up_by_outcome_and_model(simulator):
    for model, left_at_s in (("claude-opus-5", None), ("claude-opus-5", None), ("claude-haiku-4-5", 0.0)):
        sent = send(simulator, body("[[sim: ttft_ms=100 output_tokens=20]]", model=model, **PLAIN_TEXT))
        simulator.invoice.open()
        simulator.invoice.close(sent.bill, sent.parts, left_at_s)
    simulator.invoice.open()
    shown = json_of(send(simulator, method="GET", path="/_simulator/invoice"))
    input_tokens = sent.bill.usage.input_tokens
    line = {
        "calls": 2,
        "input_tokens": 2 * input_tokens,
        "cache_creation_input_tokens": 0,
        "ephemeral_5m_input_tokens": 0,
        "ephemeral_1h_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": 40,
        "web_search_requests": 0,
    }
    nothing = dict.fromkeys(line, 0)
    left = nothing | {"calls": 1, "input_tokens": input_tokens}
    assert shown == {
        "open": 1,
        "refused": {"calls": 0},
        "completed": line,
        "cancelled": left,
        "broken": nothing,
        "models": {
            "claude-haiku-4-5": {"completed": nothing, "cancelled": left, "broken": nothing},
            "claude-opus-5": {"completed": line, "cancelled": nothing, "broken": nothing},
        },
    }


def test_what_the_prompt_cache_does_is_billed(simulator):
    prompt = [{"type": "text", "text": "x" * 40_000, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    for _ in range(2):
        sent = send(simulator, body({"role": "user", "content": prompt}))
        simulator.invoice.open()
        simulator.invoice.close(sent.bill, sent.parts, None)
    billed = simulator.invoice.shown()["completed"]
    assert billed.cache_creation_input_tokens == billed.ephemeral_1h_input_tokens == billed.cache_read_input_tokens
    assert billed.cache_read_input_tokens >= 10_000
    assert billed.ephemeral_5m_input_tokens == 0


def test_a_reset_clears_the_invoice(simulator):
    send(simulator, b"{}")
    sent = send(simulator, body())
    simulator.invoice.open()
    simulator.invoice.close(sent.bill, sent.parts, None)
    send(simulator, {}, path="/_simulator/reset")
    shown = simulator.invoice.shown()
    assert (shown["refused"], shown["completed"].calls, shown["models"]) == ({"calls": 0}, 0, {})
