"""Sessions: their ids, what is kept of a turn, and which turns go to keep them within bounds."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from app.domain.sessions import (
    SessionHead,
    SessionHistory,
    SessionName,
    SessionRules,
    StoredTurn,
    array_size,
    decode_turn,
    encode_turn,
    first_role,
    session_id,
    turns_to_drop,
)
from app.errors import InvalidRequest

ANSWER = Raw(b'[{"type":"text","text":"yes"}]')
USER = '[{"role":"user","content":"?"}]'
TOOL = '[{"role":"tool","tool_call_id":"c","content":"1"}]'


def turn(messages: str = USER, *, answer: Raw = ANSWER) -> StoredTurn:
    return StoredTurn(at=1.0, messages=Raw(messages.encode()), count=messages.count("role"), answer=answer)


def history(*turns: StoredTurn, instructions: str = "[]") -> SessionHistory:
    raw = Raw(instructions.encode())
    count, size = array_size(raw)
    head = SessionHead(
        seq=len(turns),
        messages=count + sum(one.message_count for one in turns),
        size_bytes=size + sum(one.size_bytes for one in turns),
        instructions=raw,
    )
    return SessionHistory(head, turns)


def rules(*, max_messages: int = 1000, max_bytes: int = 1_000_000) -> SessionRules:
    return SessionRules(ttl_s=3600, max_sessions=1000, max_messages=max_messages, max_bytes=max_bytes)


def dropped(
    past: SessionHistory, bounds: SessionRules, *, messages: int = 2, size_bytes: int = 10, role: str = "user"
) -> int:
    return turns_to_drop(past, new_messages=messages, new_bytes=size_bytes, new_role=role, rules=bounds)


# Ids and names


@pytest.mark.parametrize("text", ["a", "0", "trip-to-rome", "user@example.com:1_2.3", "a" * 128])
def test_a_good_id_is_taken_as_it_is(text: str) -> None:
    assert session_id(text, "session_id") == text


@pytest.mark.parametrize("text", ["", "-a", ".", "a b", "a/b", "a{b}", "ä", "a\n", "٣", "a" * 129])
def test_a_bad_id_is_refused_by_the_name_of_its_parameter(text: str) -> None:
    with pytest.raises(InvalidRequest, match="1 to 128 characters") as caught:
        session_id(text, "header.x-session-id")
    assert (caught.value.param, caught.value.code) == ("header.x-session-id", "invalid_value")


@pytest.mark.parametrize("text", ["stats", "clear"])
def test_a_reserved_id_is_refused_as_such(text: str) -> None:
    with pytest.raises(InvalidRequest, match="reserved") as caught:
        session_id(text, "id")
    assert (caught.value.param, caught.value.code) == ("id", "invalid_value")


def test_sessions_of_two_scopes_have_different_digests() -> None:
    names = {SessionName("t", scope, name).sid for scope in ("k1", "k2", "*") for name in ("a", "b")}
    assert len(names) == 6
    assert all(len(sid) == 24 and sid.isalnum() for sid in names)


# Turns as they are kept


_json = st.recursive(st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(), st.lists, max_leaves=5)


@given(
    at=st.floats(0, 4e9),
    messages=st.lists(_json, max_size=4),
    answer=st.none() | st.lists(_json, max_size=4),
    model=st.text(max_size=8),
)
def test_a_turn_comes_back_as_it_was(
    at: float, messages: list[object], answer: list[object] | None, model: str
) -> None:
    kept = StoredTurn(
        at=at,
        messages=Raw(msgspec.json.encode(messages)),
        count=len(messages),
        answer=Raw(b"" if answer is None else msgspec.json.encode(answer)),
        model=model,
    )
    assert decode_turn(encode_turn(kept)) == kept


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"at":1,"messages":[],"count":"x"}', b"\xff", b'{"at":1'])
def test_what_is_no_turn_is_none(data: bytes) -> None:
    assert decode_turn(data) is None


def test_the_answer_counts_as_a_message_and_as_bytes() -> None:
    with_answer, without = turn(), turn(answer=Raw(b""))
    assert (with_answer.message_count, without.message_count) == (2, 1)
    assert with_answer.size_bytes - without.size_bytes == len(ANSWER)


@pytest.mark.parametrize(
    ("messages", "size"), [("[]", (0, 0)), ("[ ]", (0, 0)), (USER, (1, len(USER))), ("[1,2]", (2, 5))]
)
def test_an_empty_array_has_no_size(messages: str, size: tuple[int, int]) -> None:
    assert array_size(Raw(messages.encode())) == size


@pytest.mark.parametrize(
    ("messages", "role"),
    [
        (USER, "user"),
        (TOOL, "tool"),
        (f"{TOOL[:-1]},{USER[1:]}", "tool"),
        ('[{"role":"system","content":"s"},{"role":"developer","content":"d"},{"role":"tool","content":"1"}]', "tool"),
        ('[{"role":"system","content":"s"}]', ""),
        ("[]", ""),
        ("{}", ""),
        ("[{}]", ""),
        ("[1]", ""),
    ],
)
def test_the_first_role_is_that_of_the_first_message_that_is_no_instruction(messages: str, role: str) -> None:
    assert first_role(Raw(messages.encode())) == role


# What is dropped


def test_nothing_goes_within_the_bounds() -> None:
    past = history(turn(), turn())
    assert dropped(past, rules(max_messages=6, max_bytes=past.head.size_bytes + 10)) == 0


def test_the_first_turn_of_a_session_drops_nothing() -> None:
    assert dropped(SessionHistory(SessionHead()), rules(max_messages=2, max_bytes=10)) == 0


@pytest.mark.parametrize(("max_messages", "drop"), [(10, 0), (9, 1), (8, 1), (7, 2), (3, 4), (2, 4)])
def test_so_many_whole_turns_go_as_the_messages_are_too_many(max_messages: int, drop: int) -> None:
    assert dropped(history(*[turn()] * 4), rules(max_messages=max_messages)) == drop


@pytest.mark.parametrize(("over", "drop"), [(0, 0), (1, 1), (61, 1), (62, 2), (183, 3), (184, 4), (244, 4)])
def test_so_many_whole_turns_go_as_the_bytes_are_too_many(over: int, drop: int) -> None:
    past = history(*[turn()] * 4)
    assert turn().size_bytes == 61
    bounds = rules(max_bytes=past.head.size_bytes + 500 - over)
    assert dropped(past, bounds, size_bytes=500) == drop


def test_instructions_count_and_never_go() -> None:
    instructions = '[{"role":"system","content":"be brief"}]'
    assert dropped(history(turn(), turn(), instructions=instructions), rules(max_messages=6)) == 1
    assert dropped(history(turn(), turn(), instructions=instructions), rules(max_messages=2)) == 2


@pytest.mark.parametrize("role", ["tool", "function"])
def test_results_of_tools_keep_the_turn_with_their_calls(role: str) -> None:
    results = TOOL.replace("tool", role, 1)
    past = history(turn(), turn(), turn(results), turn(results), turn())
    assert dropped(past, rules(max_messages=11)) == 1
    assert dropped(past, rules(max_messages=9)) == 4
    assert dropped(past, rules(max_messages=2)) == 5


def test_new_results_of_tools_keep_the_last_turn() -> None:
    past = history(turn(), turn(), turn(TOOL))
    assert dropped(past, rules(max_messages=5), role="tool") == 1
    assert dropped(history(turn(), turn(), turn()), rules(max_messages=3), role="tool") == 2


def test_a_chain_of_results_from_the_beginning_stays_whole_however_large() -> None:
    past = history(turn(), turn(TOOL), turn(TOOL))
    assert dropped(past, rules(max_messages=2), role="tool") == 0
    assert dropped(past, rules(max_messages=2)) == 3


@pytest.mark.parametrize(
    ("messages", "size_bytes", "words"), [(9, 10, "9 messages.* at most 8"), (8, 101, "101 bytes.* at most 100")]
)
def test_a_turn_that_is_too_large_by_itself_is_refused(messages: int, size_bytes: int, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as caught:
        dropped(history(turn()), rules(max_messages=8, max_bytes=100), messages=messages, size_bytes=size_bytes)
    assert (caught.value.param, caught.value.code) == ("messages", "session_too_large")


@given(
    kinds=st.lists(st.sampled_from([USER, TOOL, f"{TOOL[:-1]},{USER[1:]}"]), max_size=12),
    role=st.sampled_from(["user", "tool"]),
    max_messages=st.integers(2, 40),
    max_bytes=st.integers(10, 1500),
)
def test_no_cut_that_is_allowed_would_do_with_less(
    kinds: list[str], role: str, max_messages: int, max_bytes: int
) -> None:
    past, bounds = history(*map(turn, kinds)), rules(max_messages=max_messages, max_bytes=max_bytes)
    drop = dropped(past, bounds, role=role)
    roles = [first_role(one.messages) for one in past.turns] + [role]
    allowed = [count for count in range(len(roles)) if count == 0 or roles[count] != "tool"]

    def fits(count: int) -> bool:
        kept = past.turns[count:]
        messages, size_bytes = sum(one.message_count for one in kept), sum(one.size_bytes for one in kept)
        return messages + 2 <= max_messages and size_bytes + 10 <= max_bytes

    assert drop == next((count for count in allowed if fits(count)), allowed[-1])
