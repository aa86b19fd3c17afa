"""A session's history in front of a client's new messages."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Raw

from app.domain.sessions import SessionHead, SessionHistory, StoredTurn
from app.errors import InvalidRequest, StateError
from app.translate.chat_stream import ChatStream
from app.translate.messages_to_chat import answer_content
from tests.support.anthropic_stream import events_of, stream
from tests.support.chat_requests import WEATHER, with_facts
from tests.support.chat_strategies import MODEL_NAMES, conversations
from tests.support.talks import NOTHING, answered, committed, raws, turn_body, turn_call
from workers.simulator.service import Simulator
from workers.simulator.settings import SimulatorSettings

SYSTEM = {"role": "system", "content": "Be brief."}
USER: dict[str, Any] = {"role": "user", "content": "Hi"}
SAID = {"type": "text", "text": "Yes"}
THOUGHT = {"type": "thinking", "thinking": "Hm", "signature": "S"}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Rome"}}
OTHER_CALL = {**CALL, "id": "toolu_2"}
SERVER = [
    {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}, "caller": 1},
    {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [{"encrypted_content": "e"}]},
]


def result(id_: str = "toolu_1") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id_, "content": "ok"}


def request(*messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"messages": list(messages), **fields}


def text(words: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": words}]


def test_instructions_turns_and_answers_come_before_the_new_messages() -> None:
    history = committed(NOTHING, [SYSTEM, USER], raws(THOUGHT, SAID, *SERVER))
    body = turn_body(request({"role": "user", "content": "More"}), history=history)
    assert body["system"] == text("Be brief.")
    assert body["messages"] == [
        {"role": "user", "content": text("Hi")},
        {"role": "assistant", "content": [THOUGHT, SAID, *SERVER]},
        {"role": "user", "content": text("More")},
    ]


def test_instructions_that_are_sent_again_are_left_out_and_others_stay() -> None:
    history = committed(NOTHING, [SYSTEM, USER], raws(SAID))
    more = {"role": "system", "content": "Be kind."}
    body = turn_body(request(SYSTEM, more, USER), history=history)
    assert body["system"] == text("Be brief.")
    assert [turn["role"] for turn in body["messages"]] == ["user", "assistant", "user", "system"]
    assert body["messages"][-1]["content"] == text("Be kind.")


def test_results_answer_calls_of_the_history() -> None:
    history = committed(NOTHING, [USER], raws(THOUGHT, CALL, OTHER_CALL))
    body = turn_body(request(result("toolu_2"), result(), tools=[WEATHER]), history=history)
    assert [block["tool_use_id"] for block in body["messages"][2]["content"]] == ["toolu_1", "toolu_2"]


def test_a_function_message_answers_a_call_of_the_history_by_its_name() -> None:
    history = committed(NOTHING, [USER], raws(CALL))
    said = {"role": "function", "name": "weather", "content": "ok"}
    body = turn_body(request(said, functions=[WEATHER["function"]]), history=history)
    assert body["messages"][2]["content"][0]["tool_use_id"] == "toolu_1"


def test_a_call_of_the_history_that_is_left_without_an_answer_gets_one_that_says_so_once() -> None:
    history = committed(NOTHING, [USER], raws(CALL))
    made = turn_call(request(USER), history=history)
    assert made.report.adjusted == (("messages", "tool result added"),)
    error = json.loads(made.body)["messages"][2]["content"][0]
    assert (error["tool_use_id"], error["is_error"]) == ("toolu_1", True)
    later = turn_call(request(USER), history=committed(history, [USER], raws(SAID)))
    assert later.report.adjusted == ()


def appended(history: SessionHistory, *messages: dict[str, Any]) -> SessionHistory:
    """The session after the route has added messages to it."""
    turn = StoredTurn(at=1.0, messages=Raw(json.dumps(messages).encode()), count=len(messages))
    return SessionHistory(msgspec.structs.replace(history.head, seq=history.head.seq + 1), (*history.turns, turn))


@pytest.mark.parametrize(
    "calling",
    [
        {"tool_calls": [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}]},
        {"function_call": {"name": "weather", "arguments": "{}"}},
    ],
    ids=["tool_calls", "function_call"],
)
def test_the_same_goes_for_calls_of_a_message_that_was_appended(calling: dict[str, Any]) -> None:
    history = appended(NOTHING, USER, {"role": "assistant", **calling})
    made = turn_call(request(USER), history=history)
    assert made.report.adjusted == (("messages", "tool result added"),)
    call, error = (turn["content"][0] for turn in json.loads(made.body)["messages"][1:3])
    assert (error["tool_use_id"], error["is_error"]) == (call["id"], True)
    later = turn_call(request(USER), history=committed(history, [USER], raws(SAID)))
    assert later.report.adjusted == ()
    assert turn_call(request(USER), history=appended(history, USER)).report.adjusted == ()


def test_a_call_of_a_message_that_was_appended_may_still_be_answered() -> None:
    calls = [
        {"id": id_, "type": "function", "function": {"name": "weather", "arguments": "{}"}} for id_ in ("c1", "c2")
    ]
    history = appended(NOTHING, USER, {"role": "assistant", "tool_calls": calls}, result("c2"))
    made = turn_call(request(result("c1"), USER), history=history)
    assert made.report.adjusted == ()
    assert [block["tool_use_id"] for block in json.loads(made.body)["messages"][2]["content"]] == ["c1", "c2"]


def test_paths_count_in_the_clients_messages_and_nothing_old_is_reported_again() -> None:
    named = {**USER, "name": "Ann"}
    history = committed(NOTHING, [SYSTEM, named], raws(SAID))
    assert turn_call(request(SYSTEM, named), history=history).report.ignored == ("messages[1].name",)
    with pytest.raises(InvalidRequest) as caught:
        turn_call(request(USER, result("nobody")), history=history)
    assert caught.value.param == "messages[1]"


def test_a_history_that_the_model_cannot_take_is_refused_by_the_sessions_name() -> None:
    image = {"type": "image_url", "image_url": {"url": "https://a.test/a.png"}}
    history = committed(NOTHING, [{"role": "user", "content": [image]}], raws(SAID))
    blind = with_facts("claude-opus-5-5", vision=False)
    with pytest.raises(InvalidRequest) as caught:
        turn_call(request(USER), history=history, models=blind)
    assert caught.value.param == "session_id"


def test_ids_made_for_legacy_calls_stay_the_same_and_do_not_meet_ids_of_the_history() -> None:
    legacy = [{"role": "assistant", "function_call": {"name": "weather", "arguments": "{}"}}]
    answer = {"role": "function", "name": "weather", "content": "ok"}
    first = committed(NOTHING, [SYSTEM, USER], raws(SAID))
    new = [SYSTEM, USER, *legacy, answer]
    now = turn_body(request(*new), history=first)["messages"]
    later = turn_body(request(USER), history=committed(first, new, raws(SAID)))["messages"]
    assert later[: len(now)] == now
    ids = [{"id": "toolu_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}]
    called = committed(committed(NOTHING, [USER], raws(CALL)), [result()], raws(SAID))
    again = turn_body(request(USER, {"role": "assistant", "tool_calls": ids}, result()), history=called)["messages"]
    assert again[-1]["content"][0]["tool_use_id"] == "toolu_1_2"


def test_dropped_messages_count_for_ids_of_legacy_calls() -> None:
    history = committed(NOTHING, [USER], raws(SAID))
    shorter = SessionHistory(msgspec.structs.replace(history.head, dropped=7), history.turns)
    legacy = {"role": "assistant", "function_call": {"name": "weather", "arguments": "{}"}}
    answer = {"role": "function", "name": "weather", "content": "ok"}
    assert turn_body(request(legacy, answer), history=shorter)["messages"][-1]["content"][0]["tool_use_id"] == "fn_9"


def test_an_answer_of_nothing_but_thinking_is_left_out_with_all_thinking_before_it() -> None:
    history = committed(NOTHING, [USER], raws(THOUGHT, SAID))
    cut = committed(history, [USER], raws(THOUGHT))
    messages = turn_body(request(USER), history=committed(cut, [USER], raws(THOUGHT, SAID)))["messages"]
    answers = [turn["content"] for turn in messages if turn["role"] == "assistant"]
    assert answers == [[SAID], [THOUGHT, SAID]]


def test_an_empty_answer_is_left_out_and_breaks_nothing() -> None:
    history = committed(committed(NOTHING, [USER], raws(THOUGHT, SAID)), [USER], [])
    messages = turn_body(request(USER), history=history)["messages"]
    assert [turn["role"] for turn in messages] == ["user", "assistant", "user", "user"]
    assert messages[1]["content"] == [THOUGHT, SAID]


def test_thinking_of_the_history_is_bound_and_goes_where_thinking_is_off() -> None:
    history = committed(NOTHING, [USER], raws(THOUGHT, SAID))
    body = turn_body(request(USER), history=history)
    assert body["thinking"]["block_binding"] == {"prefix_mismatch_behavior": "drop_block"}
    off = turn_call(request(USER, model="claude-sonnet-5-5", reasoning_effort="none"), history=history)
    assert json.loads(off.body)["messages"][1]["content"] == [SAID]
    assert off.report.ignored == ()


def test_a_tool_turn_of_the_history_that_began_with_thinking_may_think_with_a_budget() -> None:
    asks = request(result(), model="claude-haiku-4-5", reasoning_effort="low", tools=[WEATHER], max_tokens=9000)
    assert turn_body(asks, history=committed(NOTHING, [USER], raws(THOUGHT, CALL)))["thinking"]["type"] == "enabled"
    assert "thinking" not in turn_body(asks, history=committed(NOTHING, [USER], raws(CALL)))


@pytest.mark.parametrize("model", ["claude-opus-5-5", "claude-haiku-4-5"])
def test_an_answer_is_never_continued_as_if_it_were_a_prefill(model: str) -> None:
    history = committed(NOTHING, [USER], raws(SAID))
    blank = {"role": "assistant", "content": " "}
    messages = turn_body(request(blank, model=model), history=history)["messages"]
    assert messages[-1] == {"role": "user", "content": text("Continue.")}


def test_a_session_without_instructions_may_begin_with_an_answer() -> None:
    history = SessionHistory(SessionHead(seq=3, dropped=4), committed(NOTHING, [], raws(SAID)).turns)
    assert [t["role"] for t in turn_body(request(USER), history=history)["messages"]] == ["user", "assistant", "user"]


def test_markers_of_the_history_are_kept_up_to_four_and_not_reported_again() -> None:
    marked = {"role": "user", "content": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]}
    history = committed(NOTHING, [marked] * 4, raws(SAID))
    made = turn_call(request(marked), history=history)
    assert json.dumps(json.loads(made.body)).count("cache_control") == 4
    assert made.report.ignored == ()
    long = {"role": "user", "content": [{**marked["content"][0], "cache_control": {"type": "ephemeral", "ttl": "1h"}}]}
    hour = turn_call(request(long), history=committed(NOTHING, [marked], raws(SAID)))
    assert json.dumps(json.loads(hour.body)).count('"1h"') == 2
    assert hour.report.adjusted == ()


def test_a_session_is_a_conversation_for_prompt_caching_from_its_first_turn() -> None:
    assert "cache_control" in turn_body(request(USER), history=NOTHING, auto_cache="auto")
    assert "cache_control" not in turn_body(request(USER), auto_cache="auto")


def test_a_session_goes_on_with_one_answer() -> None:
    for fields, history in (({"session_id": "s"}, None), ({}, NOTHING)):
        with pytest.raises(InvalidRequest) as caught:
            turn_call(request(USER, n=2, **fields), history=history)
        assert caught.value.param == "n"


@pytest.mark.parametrize(
    "history",
    [
        SessionHistory(SessionHead(seq=1, instructions=Raw(b"{"))),
        SessionHistory(SessionHead(seq=1), (StoredTurn(at=1, messages=Raw(b'[{"role":"x"}]'), count=1),)),
        SessionHistory(SessionHead(seq=1), (StoredTurn(at=1, messages=Raw(b"[]"), count=0, answer=Raw(b"[1]")),)),
    ],
)
def test_a_history_that_cannot_be_read_is_an_error_and_never_an_empty_one(history: SessionHistory) -> None:
    with pytest.raises(StateError):
        turn_call(request(USER), history=history)


answers = st.lists(st.sampled_from([THOUGHT, SAID, *SERVER]), max_size=4).map(lambda blocks: [*blocks, SAID])


def unmarked(turns: Any) -> Any:
    match turns:
        case dict():
            return {key: unmarked(value) for key, value in turns.items() if key != "cache_control"}
        case list():
            return [unmarked(value) for value in turns]
        case _:
            return turns


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=60)
@given(MODEL_NAMES, st.lists(st.tuples(conversations(), answers), min_size=2, max_size=4))
def test_every_turn_begins_with_what_was_sent_before(model: str, turns: list[Any]) -> None:
    """So the prompt is read from the cache, and thinking still fits what it was bound to."""
    history, before = NOTHING, ([], [])  # type: ignore[var-annotated]
    for messages, answer in turns:
        made = turn_body({"model": model, "messages": messages, "reasoning_effort": "high"}, history=history)
        system, sent = unmarked(made.get("system", [])), unmarked(made["messages"])
        assert before[0] in ([], system)
        assert sent[: len(before[1])] == before[1]
        before = (system, sent)
        history = committed(history, messages, raws(*answer))


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("model", ["claude-opus-5-5", "claude-fable-5-2", "claude-haiku-4-5"])
def test_the_simulator_accepts_every_turn_of_a_session_with_its_thinking(model: str, is_stream: bool) -> None:
    simulator = Simulator(SimulatorSettings())
    history = NOTHING
    messages: list[dict[str, Any]] = [SYSTEM, {"role": "user", "content": "Rome and Oslo?"}]
    fields = {"model": model, "tools": [WEATHER], "reasoning_effort": "low", "stream": is_stream, "max_tokens": 9000}
    for number in range(6):
        made = turn_call(request(*messages, **fields), history=history, auto_cache="auto")
        assert b'"signature"' in made.body or not number
        body = answered(simulator, made, "" if number % 3 == 2 else "calls=weather,weather preface='I look.'")
        if is_stream:
            chat = ChatStream(made.plan, created=1, keep_content=True)
            chat.feed(body)
            said = chat.content
        else:
            said = answer_content([body], made.plan)
        history = committed(history, messages, said)
        calls = [block for raw in said if (block := json.loads(bytes(raw)))["type"] == "tool_use"]
        messages = [result(call["id"]) for call in calls] or [SYSTEM, {"role": "user", "content": f"And {number}?"}]


def test_what_is_kept_of_a_stream_is_what_was_streamed() -> None:
    message = {
        "id": "msg_1",
        "model": "m",
        "content": [THOUGHT, SAID, {"type": "text", "text": " "}, CALL],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
    chat = ChatStream(turn_call({}).plan, created=1, keep_content=True)
    chat.feed(stream(events_of(message, [2])))
    assert [json.loads(bytes(raw)) for raw in chat.content] == [THOUGHT, SAID, CALL]


def test_a_turn_that_was_appended_needs_no_answer() -> None:
    history = committed(NOTHING, [USER], raws(SAID))
    appended = StoredTurn(
        at=1, messages=Raw(b'[{"role":"user","content":"B"},{"role":"system","content":"C"}]'), count=2
    )
    longer = SessionHistory(history.head, (*history.turns, appended, *history.turns))
    roles = [turn["role"] for turn in turn_body(request(USER), history=longer)["messages"]]
    assert roles == ["user", "assistant", "user", "user", "system", "assistant", "user"]


def test_later_instructions_stand_before_the_answer_that_followed_them() -> None:
    history = committed(NOTHING, [USER, SYSTEM], raws(SAID))
    roles = [turn["role"] for turn in turn_body(request(USER), history=history)["messages"]]
    assert roles == ["user", "system", "assistant", "user"]


def test_an_answer_that_followed_an_assistant_message_stands_after_the_same_words_again() -> None:
    history = committed(NOTHING, [USER, {"role": "assistant", "content": "I think"}], raws(SAID))
    roles = [turn["role"] for turn in turn_body(request(USER), history=history)["messages"]]
    assert roles == ["user", "assistant", "user", "assistant", "user"]
    prefilled = turn_body(request(USER, model="claude-haiku-4-5"), history=history)["messages"]
    assert [turn["role"] for turn in prefilled] == ["user", "assistant", "assistant", "user"]
