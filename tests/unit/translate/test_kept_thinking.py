"""Answers with tool calls that were kept, put back where the client's message still says the same."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from msgspec import Raw

from app.errors import InvalidRequest
from app.translate.chat_decoding import decode_chat_request
from app.translate.chat_stream import ChatStream
from app.translate.kept_thinking import kept_ids, kept_record, matching_content
from app.translate.messages_to_chat import answer_content, to_chat
from tests.support.chat_requests import HELLO, WEATHER
from tests.support.talks import answered, raws, turn_body, turn_call
from workers.simulator.service import Simulator
from workers.simulator.settings import SimulatorSettings

SIGNED = {"type": "thinking", "thinking": "Hm", "signature": "S"}
REDACTED = {"type": "redacted_thinking", "data": "R"}
SAID = {"type": "text", "text": " I look. "}
SERVER = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}


def tool_use(number: int = 1, **fields: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": f"toolu_{number}", "name": "weather", "input": {"city": "Rome"}, **fields}


def tool_call(number: int = 1, arguments: str = '{"city": "Rome"}', name: str = "weather") -> dict[str, Any]:
    return {"id": f"toolu_{number}", "type": "function", "function": {"name": name, "arguments": arguments}}


def result(number: int = 1) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": f"toolu_{number}", "content": "ok"}


def assistant(*calls: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": "I look.", "tool_calls": list(calls or [tool_call()]), **fields}


def kept(*blocks: dict[str, Any], number: int = 1) -> dict[str, bytes]:
    return {f"toolu_{number}": json.dumps(blocks).encode()}


def request(*messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"messages": [*HELLO, *messages], "tools": [WEATHER], **fields}


ASKS = request(assistant(), result())
CONTENT = (SIGNED, SAID, SERVER, FOUND, REDACTED, tool_use(caller={"type": "direct"}))


def test_the_id_of_the_first_call_finds_an_answer() -> None:
    body = json.dumps(
        {"model": "m", **request(assistant(tool_call(3), tool_call(4)), result(3), result(4), assistant())}
    )
    assert kept_ids(decode_chat_request(body.encode())) == ("toolu_3", "toolu_1")
    assert kept_ids(decode_chat_request(json.dumps({"model": "m", "messages": HELLO}).encode())) == ()


def test_an_answer_is_kept_whole_by_its_first_call() -> None:
    record = kept_record(raws(SIGNED, tool_use(1), tool_use(2)))
    assert record is not None
    assert (record[0], json.loads(record[1])) == ("toolu_1", [SIGNED, tool_use(1), tool_use(2)])
    assert kept_record(raws(SIGNED, SAID)) is None


def test_what_was_kept_is_sent_block_by_block_as_it_came() -> None:
    made = turn_call(ASKS, kept=kept(*CONTENT))
    assert json.loads(made.body)["messages"][1]["content"] == list(CONTENT)
    assert (made.restored, made.lost, made.report.ignored) == (1, 0, ())
    assert made.betas == ("thinking-binding-controls-2026-08-01",)


BUDGET = {**ASKS, "model": "claude-haiku-4-5", "reasoning_effort": "low", "max_tokens": 9000}


def test_a_budget_is_sent_again_once_the_thinking_at_the_beginning_of_the_turn_was_found() -> None:
    unknown = turn_call(BUDGET)
    assert unknown.keeps_answers
    assert unknown.least_tokens == 4097
    assert "thinking" not in json.loads(unknown.body)
    made = turn_call(BUDGET, kept=kept(*CONTENT))
    assert json.loads(made.body)["thinking"] == {"type": "enabled", "budget_tokens": 4096}
    assert (made.restored, made.lost, made.report.adjusted) == (1, 0, ())


def test_a_budget_that_cannot_be_sent_for_lost_thinking_is_told_and_the_answer_is_kept_all_the_same() -> None:
    made = turn_call(BUDGET, kept={})
    assert "thinking" not in json.loads(made.body)
    assert (made.restored, made.lost, made.report.adjusted) == (0, 1, (("reasoning_effort", "none"),))
    assert made.keeps_answers


def test_strict_refuses_nothing_that_what_is_kept_may_still_put_right() -> None:
    assert turn_call(BUDGET, strict=True).keeps_answers
    assert turn_call(BUDGET, strict=True, kept=kept(*CONTENT)).restored == 1
    with pytest.raises(InvalidRequest, match="reasoning_effort"):
        turn_call(BUDGET, strict=True, kept={})
    with pytest.raises(InvalidRequest, match="seed"):
        turn_call({**BUDGET, "messages": HELLO, "seed": 1}, strict=True)


def test_thinking_of_the_clients_own_gives_way_to_what_was_kept() -> None:
    echoed = assistant(thinking_blocks=[SIGNED], reasoning_content="Hm")
    assert turn_body(request(echoed, result()), kept=kept(*CONTENT))["messages"][1]["content"] == list(CONTENT)


@pytest.mark.parametrize(
    "said",
    [
        assistant(tool_call(arguments='{"city":"Oslo"}')),
        assistant(tool_call(arguments='{"city":')),
        assistant(tool_call(arguments="")),
        assistant(tool_call(name="wether")),
        assistant(content="I looked."),
        assistant(content=None),
        assistant(refusal="No."),
    ],
)
def test_an_edited_message_is_sent_as_the_client_has_it(said: dict[str, Any]) -> None:
    made = turn_call(request(said, result()), kept=kept(*CONTENT))
    assert "thinking" not in [block["type"] for block in json.loads(made.body)["messages"][1]["content"]]
    assert (made.restored, made.lost) == (0, 1)


@pytest.mark.parametrize(
    "stored", [{}, {"toolu_1": b"{"}, {"toolu_1": b"[1]"}, {"toolu_1": b'[{"type":"text"}]'}, kept(SIGNED, tool_use(2))]
)
def test_what_is_missing_or_cannot_be_read_is_lost(stored: dict[str, bytes]) -> None:
    made = turn_call(ASKS, kept=stored)
    assert (made.restored, made.lost) == (0, 1)


def test_nothing_is_lost_where_the_client_sends_thinking_or_none_was_kept_or_this_call_does_not_think() -> None:
    assert turn_call(request(assistant(thinking_blocks=[SIGNED]), result()), kept={}).lost == 0
    assert turn_call(ASKS).lost == 0
    assert turn_call({**ASKS, "model": "claude-opus-4-8"}, kept={}).lost == 0
    assert turn_call({**ASKS, "model": "claude-opus-4-8", "reasoning_effort": "low"}, kept={}).lost == 1


@pytest.mark.parametrize(
    ("arguments", "input_", "is_same"),
    [
        ('{"b":[1,{"x":null}],"a":"é"}', {"a": "é", "b": [1, {"x": None}]}, True),
        ('{"a":1}', {"a": 1.0}, True),
        ('{"a":1}', {"a": True}, False),
        ('{"a":true}', {"a": True}, True),
        ('{"a":[1]}', {"a": [1, 2]}, False),
        ('{"a":{}}', {"a": []}, False),
        ("", {}, True),
        ("{city", {"_raw_arguments": "{city"}, True),
        ('{"input":3}', {"input": 4}, False),
    ],
)
def test_arguments_are_compared_as_json(arguments: str, input_: Any, is_same: bool) -> None:
    said = request(assistant(tool_call(arguments=arguments)), result())
    assert turn_call(said, kept=kept(SIGNED, SAID, tool_use(input=input_))).restored == is_same


@pytest.mark.parametrize(
    ("text", "input_", "is_same"),
    [("ls", {"input": "ls"}, True), ("ls", {"input": "rm"}, False), ('{"cmd":"ls"}', {"cmd": "ls"}, True)],
)
def test_custom_tools_are_compared_by_what_the_client_was_given(text: str, input_: Any, is_same: bool) -> None:
    call = {"id": "toolu_1", "type": "custom", "custom": {"name": "weather", "input": text}}
    said = request(assistant(call), result())
    assert turn_call(said, kept=kept(SIGNED, SAID, tool_use(input=input_))).restored == is_same


def test_text_in_parts_is_compared_as_one() -> None:
    parts = [{"type": "text", "text": "I "}, {"type": "text", "text": "look."}]
    texts = [{"type": "text", "text": "I"}, {"type": "text", "text": " look.\n"}]
    made = turn_call(request(assistant(content=parts), result()), kept=kept(SIGNED, *texts, tool_use()))
    assert made.restored == 1


def test_a_text_that_nests_too_deeply_is_no_match() -> None:
    deep = b'{"a":' * 5000 + b"1" + b"}" * 5000
    assert matching_content(b'[{"type":"tool_use","id":"a","name":"b","input":' + deep + b"}]", []) is None


def test_cache_markers_go_over_to_what_is_sent() -> None:
    marker = {"type": "ephemeral"}
    marked = assistant(content=[{"type": "text", "text": "I look.", "cache_control": marker}])
    content = turn_body(request(marked, result()), kept=kept(*CONTENT, REDACTED))["messages"][1]["content"]
    assert content == [*CONTENT[:-1], {**CONTENT[-1], "cache_control": marker}, REDACTED]
    whole = turn_body(request(assistant(cache_control=marker), result()), kept=kept(*CONTENT))["messages"][1]["content"]
    assert whole[-1]["cache_control"] == marker


def test_a_surplus_marker_is_taken_off_what_was_kept() -> None:
    marker = {"type": "ephemeral"}
    later = [{"role": "user", "content": "x", "cache_control": marker}] * 4
    made = turn_call(request(assistant(cache_control=marker), result(), *later), kept=kept(*CONTENT))
    assert json.loads(made.body)["messages"][1]["content"] == list(CONTENT)
    assert made.report.ignored == ("messages[1].cache_control",)


def talk(*numbers: int, **fields: Any) -> dict[str, Any]:
    messages = [part for number in numbers for part in (assistant(tool_call(number), **fields), result(number))]
    return request(*messages)


def test_when_one_in_the_middle_is_lost_what_is_before_it_is_left_out_too() -> None:
    stored = {**kept(SIGNED, SAID, tool_use(1)), **kept(SIGNED, SAID, tool_use(3), number=3)}
    made = turn_call(talk(1, 2, 3), kept=stored)
    contents = [turn["content"] for turn in json.loads(made.body)["messages"] if turn["role"] == "assistant"]
    assert [SIGNED in content for content in contents] == [False, False, True]
    assert (made.restored, made.lost, made.report.ignored) == (2, 1, ())


def test_models_that_do_not_bind_thinking_get_what_there_is() -> None:
    body = turn_body({**talk(1, 2), "model": "claude-opus-5"}, kept=kept(SIGNED, SAID, tool_use(1)))
    assert body["messages"][1]["content"][0] == SIGNED


def test_thinking_of_the_clients_own_before_a_lost_one_is_reported() -> None:
    own = request(assistant(thinking_blocks=[SIGNED]), result(), assistant(tool_call(2)), result(2))
    assert turn_call(own, kept={}).report.ignored == ("messages[1].thinking_blocks",)


def test_answers_are_worth_keeping_where_tools_and_thinking_meet() -> None:
    assert turn_call(ASKS).keeps_answers
    assert turn_call({**ASKS, "model": "claude-sonnet-5-5", "reasoning_effort": "none"}).keeps_answers
    assert not turn_call({**ASKS, "model": "claude-opus-5", "reasoning_effort": "none"}).keeps_answers
    assert not turn_call({**ASKS, "model": "claude-opus-4-8"}).keeps_answers
    assert not turn_call({}).keeps_answers
    assert not turn_call({"web_search_options": {}}).keeps_answers
    assert not turn_call({"functions": [WEATHER["function"]]}).keeps_answers


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("model", ["claude-opus-5-5", "claude-fable-5-2", "claude-opus-5"])
def test_the_simulator_accepts_every_turn_of_a_client_that_carries_no_thinking(model: str, is_stream: bool) -> None:
    simulator = Simulator(SimulatorSettings())
    stored: dict[str, bytes] = {}
    messages: list[dict[str, Any]] = copy.deepcopy(HELLO)
    fields = {"model": model, "tools": [WEATHER], "reasoning_effort": "low", "max_tokens": 9000}
    for number in range(10):
        made = turn_call({"messages": messages, "stream": is_stream, **fields}, kept=stored, auto_cache="auto")
        assert (made.restored, made.lost) == (len(stored), 0)
        assert made.body.count(b'"signature"') == number
        body = answered(simulator, made, "calls=weather,weather preface='I look.'")
        if is_stream:
            chat = ChatStream(made.plan, created=1, keep_content=True)
            chat.feed(body)
            content: list[Raw] = chat.content
        else:
            content = answer_content([body], made.plan)
        record = kept_record(content)
        assert record is not None
        stored[record[0]] = record[1]
        calls = [block for raw in content if (block := json.loads(bytes(raw)))["type"] == "tool_use"]
        if is_stream:
            said = {"role": "assistant", "content": "I look.", "tool_calls": [shown(call) for call in calls]}
        else:
            message = json.loads(to_chat([[body]], made.plan, created=1).body)["choices"][0]["message"]
            said = {name: message[name] for name in ("role", "content", "tool_calls")}
        messages += [said, *({"role": "tool", "tool_call_id": call["id"], "content": "ok"} for call in calls)]


def shown(call: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": call["id"],
        "type": "function",
        "function": {"name": call["name"], "arguments": json.dumps(call["input"])},
    }
