"""Whatever stands where a session is kept: its calls answer, or say that it cannot be read; never an empty history."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.errors import Conflict, StateError
from app.state import connect
from app.state.connection import StateConnection
from app.state.session_index import clear_sessions, list_sessions, peek_commands, prune_index, read_peek, session_stats
from app.state.sessions import TurnHeld, delete_sessions_data
from tests.support.redis import RedisServer
from tests.support.session_store import NAME, SYSTEM, TAG, SessionStore, turn

FIELDS = (
    *("seq", "messages", "bytes", "dropped", "turns", "created_us", "used_us", "instructions"),
    *("last", "holder", "until_us", "waiters"),
)
_words = st.sampled_from(["", "-", "0", "1", "-1", "nan", "inf", "1e3", "0x10", "1.5", "999999999999999999", "r1"])
_damage = st.one_of(st.binary(max_size=40), st.lists(_words, max_size=5).map(" ".join).map(str.encode))
_SETTINGS = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(params=["memory", "redis"])
def url(request: pytest.FixtureRequest) -> str:
    if request.param == "memory":
        return "memory://"
    server: RedisServer = request.getfixturevalue("shared_server")
    return server.url


def with_a_session(url: str, body: Callable[[SessionStore], Coroutine[Any, Any, None]]) -> None:
    async def run(state: StateConnection) -> None:
        await state.call("FLUSHALL")
        store = SessionStore(state)
        await store.add("r1", turn("one"), turn("two"), instructions=SYSTEM)
        await store.seat()
        await body(store)

    async def connected() -> None:
        state = connect(url, timeout_s=5.0)
        try:
            await run(state)
        finally:
            await state.close()

    asyncio.run(connected())


async def everything_answers(store: SessionStore) -> None:
    for ask in (
        store.read,
        lambda: list_sessions(store.state, TAG, scope=None, after=None, limit=5),
        lambda: session_stats(store.state, TAG, scope=None),
        lambda: prune_index(store.state, TAG),
        lambda: store.renew("r2"),
    ):
        with contextlib.suppress(StateError):
            await ask()
    assert read_peek(NAME, await store.state.pipeline(peek_commands(NAME)), 1) in (None, NAME)
    with contextlib.suppress(StateError, Conflict):
        opened = await store.try_open("r2")
        if not isinstance(opened, TurnHeld):
            assert opened.head.seq == 0 or len(opened.turns) == 2
            await store.commit("r2", opened.head, [turn("three")])
    await store.release("r2")
    with contextlib.suppress(StateError):
        await delete_sessions_data(store.state, await store.other("x").seat(max_sessions=1))
    with contextlib.suppress(StateError):
        await clear_sessions(store.state, TAG, scope=None)


@pytest.mark.parametrize("field", FIELDS)
@_SETTINGS
@given(damage=_damage | st.none())
def test_a_damaged_field(url: str, field: str, damage: bytes | None) -> None:
    async def body(store: SessionStore) -> None:
        head = store.head_key
        await (
            store.state.call("HDEL", head, field) if damage is None else store.state.call("HSET", head, field, damage)
        )
        await everything_answers(store)

    with_a_session(url, body)


@_SETTINGS
@given(damage=_damage)
def test_a_damaged_turn(url: str, damage: bytes) -> None:
    async def body(store: SessionStore) -> None:
        await store.state.call("LSET", store.turns_key, 0, damage)
        with pytest.raises(StateError):
            await store.read()
        await everything_answers(store)

    with_a_session(url, body)


@_SETTINGS
@given(damage=_damage)
def test_a_damaged_seat_or_entry_of_the_index(url: str, damage: bytes) -> None:
    async def body(store: SessionStore) -> None:
        await store.state.call("SET", store.seat_key, damage, "EX", 60)
        await store.state.call("ZADD", store.index_key, 4e15, damage)
        await everything_answers(store)

    with_a_session(url, body)
