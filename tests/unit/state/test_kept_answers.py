"""Names and replies of what is kept of answers with tool calls."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import StateError, StateUnavailable
from app.state import codec, keys
from app.state.kept_answers import keep_command, kept_commands, read_kept

IDS = ("toolu_1", "toolu_2", "toolu_3", "toolu_4")


def names(*call_ids: str) -> list[str]:
    return [str(command[1]) for command in kept_commands("tag", call_ids)]


def test_what_is_kept_is_found_by_the_id_of_the_call() -> None:
    assert keep_command("tag", "toolu_1", b"content")[1] == names("toolu_1")[0]


def test_what_is_kept_has_its_time_to_live() -> None:
    assert keep_command("tag", "toolu_1", b"content")[-2:] == ("EX", keys.KEPT_TTL_S)


@given(st.text(st.characters(), max_size=600))
def test_any_text_of_a_client_makes_a_name_of_its_tenant(call_id: str) -> None:
    (name,) = names(call_id)
    assert re.fullmatch(r"cw:\{tag:[0-9a-f]{32}\}:kept:v1", name)


def test_different_ids_and_tenants_have_different_names() -> None:
    long = "x" * 10_000
    assert len({*names("a", "b", "}", "{", "", long, long + "x"), str(kept_commands("other", "a")[0][1])}) == 8


def test_only_what_can_be_read_is_there() -> None:
    replies = [codec.pack(b"content"), None, b"damaged", StateError("The state store refused a command (WRONGTYPE).")]
    assert read_kept(IDS, replies) == {"toolu_1": b"content"}


def test_a_store_that_cannot_be_read_is_not_an_empty_one() -> None:
    with pytest.raises(StateUnavailable):
        read_kept(IDS[:1], [StateUnavailable("The state store is not available: it is loading its data.")])
