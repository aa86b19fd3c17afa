"""What a turn adds to its session, how a session is shown, and what may be put into one."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Raw

from app.domain.models import ModelTable
from app.domain.sessions import SessionHead, SessionHistory, StoredTurn
from app.errors import InvalidRequest, StateError
from app.schemas import openai_chat as openai
from app.translate.chat_decoding import decode_chat_request
from app.translate.chat_to_messages import TranslationSettings, to_messages
from app.translate.history import check_messages, preview, read_messages, shown_messages, split_turn
from tests.support.chat_requests import HELLO, MODELS, WEATHER, with_facts
from tests.support.chat_strategies import chat_requests, conversations
from tests.support.talks import NOTHING, committed, raws

SYSTEM = {"role": "system", "content": "Be brief."}
DEVELOPER = {"role": "developer", "content": "Be kind."}
USER: dict[str, Any] = {"role": "user", "content": "Hi"}
FIRST = SessionHead()
LARGE = settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None, max_examples=60
)


def messages(*said: dict[str, Any]) -> list[openai.Message]:
    return read_messages(Raw(json.dumps(said).encode()))


def led_by(*said: dict[str, Any]) -> SessionHead:
    return SessionHead(seq=1, instructions=Raw(json.dumps(said).encode()))


def stored(raw: Raw | None) -> Any:
    return None if raw is None else json.loads(bytes(raw))


def test_leading_instructions_of_the_first_turn_become_the_sessions() -> None:
    new = split_turn(messages(SYSTEM, DEVELOPER, USER, SYSTEM), FIRST)
    assert stored(new.instructions) == [SYSTEM, DEVELOPER]
    assert stored(new.stored) == [USER, SYSTEM]
    assert (new.count, new.total, len(new.messages)) == (2, 4, 2)


def test_a_first_turn_without_instructions_sets_none() -> None:
    new = split_turn(messages(USER), FIRST)
    assert (new.instructions, new.count, new.total) == (None, 1, 1)


@pytest.mark.parametrize(
    ("sent", "left"),
    [
        ([SYSTEM, DEVELOPER, USER], [USER]),
        ([SYSTEM, USER], [USER]),
        ([USER], [USER]),
        ([SYSTEM, DEVELOPER, SYSTEM, USER], [SYSTEM, USER]),
        ([DEVELOPER, USER], [DEVELOPER, USER]),
    ],
)
def test_on_later_turns_instructions_that_lead_already_are_left_out(sent: Any, left: Any) -> None:
    new = split_turn(messages(*sent), led_by(SYSTEM, DEVELOPER))
    assert (new.instructions, stored(new.stored), new.total) == (None, left, len(left))


def test_instructions_that_cannot_be_read_are_an_error() -> None:
    with pytest.raises(StateError):
        split_turn(messages(USER), SessionHead(seq=1, instructions=Raw(b"[1]")))


@LARGE
@given(conversations())
def test_what_is_kept_of_messages_decodes_to_them_again(said: list[dict[str, Any]]) -> None:
    given_ = messages(*said)
    new = split_turn(given_, led_by())
    assert msgspec.json.decode(new.stored, type=list[openai.Message]) == given_
    assert len(new.stored) <= len(json.dumps(said, ensure_ascii=False).encode()) + 8 * len(said)


def test_what_is_not_said_takes_no_room() -> None:
    assert bytes(split_turn(messages(USER), FIRST).stored) == b'[{"role":"user","content":"Hi"}]'


def test_a_session_is_shown_as_chat_messages() -> None:
    thought = {"type": "thinking", "thinking": "Hm", "signature": "S"}
    call = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Rome"}}
    history = committed(NOTHING, [SYSTEM, USER], raws(thought, {"type": "text", "text": "Let me look."}, call))
    appended = StoredTurn(at=2.0, messages=Raw(json.dumps([USER]).encode()), count=1)
    shown = [json.loads(bytes(raw)) for raw in shown_messages(SessionHistory(history.head, (*history.turns, appended)))]
    assert [shown[0], shown[1], shown[3]] == [SYSTEM, USER, USER]
    assert shown[2] == {
        "role": "assistant",
        "content": "Let me look.",
        "refusal": None,
        "annotations": [],
        "reasoning_content": "Hm",
        "thinking_blocks": [thought],
        "tool_calls": [
            {"id": "toolu_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}}
        ],
    }


def test_what_is_shown_can_be_put_into_another_session() -> None:
    thought = {"type": "thinking", "thinking": "Hm", "signature": "S"}
    history = committed(NOTHING, [SYSTEM, USER], raws(thought, {"type": "text", "text": "Yes"}))
    assert len(read_messages(Raw(msgspec.json.encode(shown_messages(history))))) == 3


@pytest.mark.parametrize("answer", [b"{", b'[{"type":"text"}]', b"[1]"])
def test_an_answer_that_cannot_be_read_is_an_error(answer: bytes) -> None:
    turn = StoredTurn(at=1, messages=Raw(b"[]"), count=0, answer=Raw(answer))
    with pytest.raises(StateError):
        shown_messages(SessionHistory(SessionHead(seq=1), (turn,)))


def test_messages_may_come_decoded() -> None:
    assert read_messages([USER]) == messages(USER)


@pytest.mark.parametrize(
    ("said", "param", "code"),
    [
        ([USER, {"role": "user"}], "messages[1].content", "missing_required_parameter"),
        ([{"role": "nobody", "content": "x"}], "messages[0].role", "invalid_value"),
        ([{**USER, "mood": "good"}], "messages[0].mood", "unknown_parameter"),
        ([], "messages", "invalid_value"),
        ({}, "messages", "invalid_type"),
    ],
)
def test_messages_are_checked_as_those_of_a_chat_request(said: Any, param: str, code: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_messages(Raw(json.dumps(said).encode()))
    assert (caught.value.param, caught.value.code) == (param, code)


PNG = "data:image/png;base64,"
CALLING = {
    "role": "assistant",
    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}],
}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "ok"}


def part(content: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": [content]}


def image(url: str) -> dict[str, Any]:
    return part({"type": "image_url", "image_url": {"url": url}})


def called(name: str, id_: str) -> dict[str, Any]:
    function = {"name": name, "arguments": "{}"}
    return {"role": "assistant", "tool_calls": [{"id": id_, "type": "function", "function": function}]}


def checked(
    *said: dict[str, Any], history: SessionHistory = NOTHING, models: ModelTable = MODELS, **settings_: Any
) -> None:
    check_messages(history, messages(*said), models, TranslationSettings(**settings_))


@pytest.mark.parametrize(
    ("said", "param"),
    [
        ([USER, RESULT], "messages[1]"),
        ([USER, CALLING, USER], "messages[1]"),
        ([USER, CALLING, RESULT, RESULT], "messages[3]"),
        ([{"role": "function", "name": "weather", "content": "ok"}], "messages[0]"),
        ([SYSTEM, image(f"{PNG}a")], "messages[1].content[0].image_url.url"),
        ([image("data:image/tiff;base64,AAAA")], "messages[0].content[0].image_url.url"),
        ([part({"type": "file", "file": {"file_id": "file-of-openai"}})], "messages[0].content[0].file.file_id"),
        ([part({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}})], "messages[0].content[0]"),
        ([called("a b", "c1")], "messages[0].tool_calls[0]"),
        ([called("weather", "")], "messages[0].tool_calls[0].id"),
    ],
)
def test_messages_that_would_make_every_later_turn_fail_are_refused(said: list[dict[str, Any]], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        checked(*said, input_audio="refuse")
    assert caught.value.param == param
    body = json.dumps({"model": "claude-opus-5-5", "messages": said}).encode()
    with pytest.raises(InvalidRequest) as refused:
        to_messages(decode_chat_request(body), MODELS, TranslationSettings(input_audio="refuse"))
    assert (refused.value.message, refused.value.code) == (caught.value.message, caught.value.code)


@pytest.mark.parametrize(
    "said",
    [
        [SYSTEM],
        [USER, CALLING],
        [{"role": "user", "content": ""}],
        [{**USER, "name": "Ann"}, {"role": "assistant", "content": "Yes"}],
        [image(f"{PNG}AAAA"), part({"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA"}})],
    ],
)
def test_messages_that_some_turn_can_go_on_from_are_taken(said: list[dict[str, Any]]) -> None:
    checked(*said, last_assistant="error", strict=True)
    checked(*said, models=with_facts(MODELS.all()[0].id, vision=False, pdf=False))


def test_calls_and_results_are_paired_over_what_the_session_has() -> None:
    call = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}}
    history = committed(NOTHING, [SYSTEM, USER], raws(call))
    result = {**RESULT, "tool_call_id": "toolu_1"}
    checked(result, history=history)
    checked(USER, history=history)
    for said, param in (([SYSTEM, RESULT], "messages[1]"), ([USER, result], "messages[1]")):
        with pytest.raises(InvalidRequest) as caught:
            checked(*said, history=history)
        assert caught.value.param == param


def previewed(request: dict[str, Any], **options: Any) -> Any:
    body = json.dumps({"model": "claude-opus-5-5", "messages": HELLO, **request}).encode()
    return preview(decode_chat_request(body), MODELS, TranslationSettings(), **options)


def test_a_preview_takes_results_and_answers_without_the_history_that_they_belong_to() -> None:
    result = {"role": "tool", "tool_call_id": "toolu_1", "content": "ok"}
    function = {"role": "function", "name": "weather", "content": None}
    call = {"id": "", "type": "function", "function": {"name": "!", "arguments": "{"}}
    parts = {**result, "content": [{"type": "text", "text": "ok"}]}
    for said in (result, {**result, "content": None}, parts, function, {"role": "assistant", "tool_calls": [call]}):
        assert b"messages" in previewed({"messages": [said]}, strict=True).body


def test_a_preview_refuses_what_no_history_makes_valid() -> None:
    for request, param in (
        ({"messages": []}, "messages"),
        ({"n": 2}, "n"),
        ({"n": 0}, "n"),
        ({"stop": list("abcde")}, "stop"),
    ):
        with pytest.raises(InvalidRequest) as caught:
            previewed(request)
        assert caught.value.param == param


def test_a_preview_refuses_in_strict_mode_what_is_new_and_would_be_ignored() -> None:
    with pytest.raises(InvalidRequest):
        previewed({"seed": 1}, strict=True)
    assert previewed({"messages": [SYSTEM]}, strict=True).size.cache_lifetime == "5m"


@LARGE
@given(chat_requests(), st.booleans())
def test_a_preview_bounds_what_the_new_messages_add(request: dict[str, Any], is_long: bool) -> None:
    request = {**request, "n": 1, "anthropic": None}
    chat = decode_chat_request(json.dumps(request).encode())
    history = committed(
        NOTHING, [{"role": "user", "content": "x" * 3000 * is_long + "."}], raws({"type": "text", "text": "Yes"})
    )
    models, chosen = MODELS, TranslationSettings()
    known = to_messages(chat, models, chosen, history=history)
    alone = preview(chat, models, chosen)
    before = json.dumps({**request, "messages": HELLO}).encode()
    base = to_messages(decode_chat_request(before), models, chosen, history=history)
    assert known.size.most_tokens <= base.size.most_tokens + alone.size.most_tokens
    for name in ("model", "max_tokens", "price", "stream", "fast", "unbounded", "upstream_stream", "keeps_answers"):
        assert getattr(known, name) == getattr(alone, name), name


def test_a_preview_is_as_the_real_call_in_everything_else() -> None:
    request = {"tools": [WEATHER], "reasoning_effort": "high", "max_tokens": 99, "temperature": 0.5, "user": "u"}
    alone = previewed(request)
    body = json.dumps({"model": "claude-opus-5-5", "messages": HELLO, **request}).encode()
    known = to_messages(decode_chat_request(body), MODELS, TranslationSettings(), history=NOTHING)
    kept = {"body", "size", "affinity"}
    for name in known.__struct_fields__:
        assert name in kept or getattr(known, name) == getattr(alone, name), name
