"""Answers with tool calls are found again by the ids of their calls, on both stores."""

from __future__ import annotations

import os

import pytest

from app.state import keys
from app.state.connection import StateConnection
from app.state.kept_answers import keep_command, kept_commands, read_kept

TAG = "tag"
IDS = ("toolu_1", "", "}{", "cw:{x}", "\u20ac\U0001f600", "x" * 5000, "\ud800")


async def kept(state: StateConnection, *call_ids: str, tag: str = TAG) -> dict[str, bytes]:
    return read_kept(call_ids, await state.pipeline(kept_commands(tag, call_ids)))


async def test_whatever_the_client_calls_it_is_found_again(state: StateConnection) -> None:
    await state.pipeline([keep_command(TAG, call_id, call_id.encode(errors="surrogatepass")) for call_id in IDS])
    assert await kept(state, *IDS) == {call_id: call_id.encode(errors="surrogatepass") for call_id in IDS}


@pytest.mark.parametrize("size", [0, 64 * 1024, 1024**2])
async def test_contents_of_any_size_come_back(state: StateConnection, size: int) -> None:
    content = os.urandom(size)
    await state.pipeline([keep_command(TAG, "toolu_1", content)])
    assert await kept(state, "toolu_1") == {"toolu_1": content}


async def test_what_is_not_kept_or_is_another_tenants_is_absent(state: StateConnection) -> None:
    await state.pipeline([keep_command(TAG, "toolu_1", b"content")])
    assert await kept(state, "toolu_1", "toolu_2") == {"toolu_1": b"content"}
    assert await kept(state, "toolu_1", tag="other") == {}
    assert await kept(state) == {}


async def test_it_lives_as_long_as_it_should(state: StateConnection) -> None:
    await state.pipeline([keep_command(TAG, "toolu_1", b"content")])
    (name,) = await state.call("KEYS", "cw:{tag*")
    assert keys.KEPT_TTL_S - 60 <= await state.call("TTL", name) <= keys.KEPT_TTL_S


async def test_what_cannot_be_read_is_absent_and_hides_nothing_else(state: StateConnection) -> None:
    (_, damaged), (_, of_another_type) = kept_commands(TAG, ("toolu_1", "toolu_2"))
    await state.call("SET", damaged, b"\x01damaged", "EX", 60)
    await state.call("HSET", of_another_type, "field", "1")
    await state.call("EXPIRE", of_another_type, 60)
    await state.pipeline([keep_command(TAG, "toolu_3", b"content")])
    assert await kept(state, "toolu_1", "toolu_2", "toolu_3") == {"toolu_3": b"content"}


async def test_keeping_again_heals_what_is_damaged(state: StateConnection) -> None:
    ((_, name),) = kept_commands(TAG, ("toolu_1",))
    await state.call("HSET", name, "field", "1")
    await state.pipeline([keep_command(TAG, "toolu_1", b"content")])
    assert await kept(state, "toolu_1") == {"toolu_1": b"content"}
