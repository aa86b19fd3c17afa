"""Replies of the store to a request that joins a slot, and how long an answer is kept."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import StateError, StateUnavailable
from app.state import codec
from app.state.answers import (
    Follow,
    Hit,
    Join,
    Large,
    Lead,
    Reused,
    Slot,
    jittered_ttl,
    join_flight,
    read_join,
)

SLOT = Slot("answer", "tag", "ab12")


@pytest.mark.parametrize(
    ("words", "join"),
    [
        ([b"hit", 1_500_000, codec.pack(b"answer")], Hit(b"answer", 1.5)),
        ([b"hit", 0, codec.pack(b"")], Hit(b"", 0.0)),
        ([b"hit", 2_000_000, b"damaged"], Large(2.0)),
        ([b"large", 2_000_000], Large(2.0)),
        ([b"follow", b"r1"], Follow("r1")),
        ([b"follow", b"\x80"], Follow("\ufffd")),
        ([b"reused"], Reused()),
        ([b"lead"], Lead()),
    ],
)
def test_every_reply_is_read(words: list[Any], join: Join) -> None:
    assert read_join([b"r2", *words]) == join


@pytest.mark.parametrize(
    "reply", [None, 5, [], [b"r1"], [b"r1", b"other"], [b"r1", b"hit"], [b"r1", b"hit", b"x", 5], [b"r1", b"follow", 1]]
)
def test_a_reply_that_cannot_be_read_is_an_error_of_the_store(reply: Any) -> None:
    with pytest.raises(StateError, match="cannot be read"):
        read_join(reply)


def test_a_reply_that_is_an_error_is_raised() -> None:
    with pytest.raises(StateUnavailable, match="as it is"):
        read_join(StateUnavailable("as it is"))


def test_all_keys_of_a_slot_are_in_one_slot_of_a_cluster() -> None:
    for kind in ("answer", "once"):
        slot = Slot(kind, "tag", "ab12")  # type: ignore[arg-type]
        tags = {re.findall(r"\{(.*?)\}", name)[0] for name in (slot.value_key, slot.flight_key)}
        assert tags == {"tag:ab12"}


def test_a_cached_answer_and_that_of_an_idempotency_key_are_kept_apart() -> None:
    assert Slot("once", "tag", "ab12").value_key != SLOT.value_key


def test_the_call_of_a_script_begins_with_the_id_that_it_echoes() -> None:
    call = join_flight(SLOT, "r1", channel="c", fingerprint=b"", max_age_s=0.5)
    assert call.script.echoes
    assert call.args[0] == b"r1"


@given(st.integers(1, 100_000), st.floats(0, 1, exclude_max=True))
def test_a_time_to_live_is_shortened_by_a_tenth_at_most(ttl_s: int, drawn: float) -> None:
    ttl = jittered_ttl(ttl_s, lambda: drawn)
    assert 1 <= ttl <= ttl_s
    assert ttl >= 0.9 * ttl_s


def test_times_to_live_are_spread() -> None:
    assert [jittered_ttl(300, lambda drawn=drawn: drawn) for drawn in (0.0, 0.5, 0.99)] == [300, 285, 271]  # type: ignore[misc]


def test_no_time_to_live_is_none() -> None:
    assert jittered_ttl(0, lambda: 0.5) == 1
