"""The sessions of a tenant on both stores: listed, foreseen, counted, cleared, pruned; tenants and scopes apart."""

from __future__ import annotations

import logging

import pytest

from app.domain.sessions import SessionName
from app.errors import InvalidRequest, StateError
from app.state import keys
from app.state.connection import StateConnection
from app.state.session_index import (
    BATCH,
    SessionStats,
    clear_sessions,
    list_sessions,
    peek_commands,
    prune_index,
    read_peek,
    session_stats,
    tenant_tags,
)
from tests.support.server_clock import START_US, ClockedState
from tests.support.session_store import NAME, SYSTEM, TAG, TTL_S, SessionStore, turn

SECOND_US = 1_000_000


@pytest.fixture
def store(state: StateConnection) -> SessionStore:
    return SessionStore(state)


async def begin(store: SessionStore, *ids: str, scope: str = "key1") -> None:
    """Makes sessions, one after the other."""
    for session_id in ids:
        one = store.other(session_id, scope)
        head = await one.add("r1", turn(), instructions=SYSTEM)
        await one.seat(messages=head.messages, created_at=head.created_at)


async def expire(store: SessionStore, *ids: str, scope: str = "key1") -> None:
    """Lets sessions have expired a second ago."""
    for session_id in ids:
        one = store.other(session_id, scope)
        await store.state.call("DEL", one.head_key, one.turns_key, one.seat_key)
        seconds, _ = await store.state.call("TIME")
        await store.state.call("ZADD", store.index_key, (int(seconds) - 1) * SECOND_US, f"{scope} {session_id}")


async def listed(
    store: SessionStore, scope: str | None = "key1", *, after: str | None = None, limit: int = 100
) -> tuple[list[str], bool]:
    page = await list_sessions(store.state, TAG, scope=scope, after=after, limit=limit)
    return [one.name.id for one in page.sessions], page.has_more


# Lists


async def test_without_sessions_the_list_is_empty(store: SessionStore) -> None:
    assert await listed(store) == ([], False)


async def test_the_one_that_was_used_last_comes_first(store: SessionStore) -> None:
    await begin(store, "a", "b", "c")
    await store.other("a").seat()
    assert await listed(store) == (["a", "c", "b"], False)


async def test_a_listed_session_says_how_it_stands(store: SessionStore) -> None:
    head = await store.add("r1", turn(), instructions=SYSTEM)
    await store.seat()
    (one,) = (await list_sessions(store.state, TAG, scope=None, after=None, limit=1)).sessions
    assert (one.name, one.tenant) == (NAME, "acme")
    assert (one.head.messages, one.head.size_bytes, one.head.used_at) == (3, head.size_bytes, head.used_at)
    assert TTL_S - 1 < one.expires_at - head.used_at < TTL_S + 10


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8])
async def test_pages_follow_each_other_and_miss_nothing(store: SessionStore, limit: int) -> None:
    await begin(store, *"abcdefg")
    found: list[str] = []
    has_more = True
    while has_more:
        page, has_more = await listed(store, after=found[-1] if found else None, limit=limit)
        assert len(page) == limit or not has_more
        found += page
    assert found == list("gfedcba")


async def test_a_scope_sees_its_own_only(store: SessionStore) -> None:
    for number in range(40):
        await begin(store, f"s{number}", scope="key1" if number % 10 == 0 else "key2")
    await begin(store, "shared", scope="*")
    assert await listed(store, limit=3) == (["s30", "s20", "s10"], True)
    assert await listed(store, limit=3, after="s10") == (["s0"], False)
    assert await listed(store, "*") == (["shared"], False)
    assert await listed(store, "key") == ([], False)
    assert len((await listed(store, None))[0]) == 41
    assert await listed(store, None, after="key1 s10", limit=2) == (["s9", "s8"], True)


async def test_live_sessions_are_listed_only(store: SessionStore) -> None:
    await begin(store, *"abcd")
    await expire(store, "b", "d")
    assert await listed(store, limit=2) == (["c", "a"], False)


async def test_sessions_that_went_without_the_index_are_left_out(store: SessionStore) -> None:
    await begin(store, *(f"s{number}" for number in range(12)))
    for number in range(3, 12):
        await store.state.call("DEL", store.other(f"s{number}").head_key)
    assert await listed(store, limit=2) == (["s2", "s1"], True)
    assert await listed(store, limit=3) == (["s2", "s1", "s0"], False)


async def test_a_session_that_cannot_be_read_hides_no_other(
    store: SessionStore, caplog: pytest.LogCaptureFixture
) -> None:
    await begin(store, *"abcd")
    await store.state.call("HSET", store.other("b").head_key, "messages", "many")
    await store.state.call("SET", store.other("c").head_key, "x", "EX", 60)
    with caplog.at_level(logging.WARNING):
        assert await listed(store) == (["d", "a"], False)
    assert all(store.other(one).name.sid in caplog.text for one in "bc")


async def test_a_page_after_a_session_that_is_not_there_is_refused(store: SessionStore) -> None:
    await begin(store, "a")
    with pytest.raises(InvalidRequest, match="first page") as caught:
        await listed(store, after="gone")
    assert caught.value.param == "after"
    with pytest.raises(InvalidRequest):
        await listed(store, "key2", after="a")


async def test_an_index_that_is_none_is_an_error_and_no_empty_list(store: SessionStore) -> None:
    await store.state.call("SET", store.index_key, "x", "EX", 60)
    for ask in (
        listed(store),
        session_stats(store.state, TAG, scope=None),
        clear_sessions(store.state, TAG, scope=None),
        prune_index(store.state, TAG),
    ):
        with pytest.raises(StateError):
            await ask


async def test_an_index_that_is_none_is_made_anew_by_the_next_turn(store: SessionStore) -> None:
    await begin(store, "a")
    await store.state.call("SET", store.index_key, "x", "EX", 60)
    await begin(store, "b")
    assert await listed(store) == (["b"], False)
    assert await store.state.call("TTL", store.index_key) > TTL_S - 60


async def test_an_index_that_is_none_goes_with_any_session_that_is_deleted(store: SessionStore) -> None:
    await begin(store, "a")
    await store.state.call("SET", store.index_key, "x", "EX", 60)
    assert await store.other("a").delete()
    assert await listed(store) == ([], False)
    assert not await store.other("a").delete()


async def test_entries_that_are_not_ours_are_passed_over(store: SessionStore) -> None:
    await begin(store, "a")
    await store.state.call("ZADD", store.index_key, "4e15", b"\xff\xfe")
    assert await listed(store) == (["a"], False)
    assert (await session_stats(store.state, TAG, scope=None)).total == 1


# What would have to go


async def peek(store: SessionStore, session_id: str, max_sessions: int) -> SessionName | None:
    name = SessionName(TAG, "key1", session_id)
    return read_peek(name, await store.state.pipeline(peek_commands(name)), max_sessions)


async def test_a_new_session_pushes_the_longest_idle_one_out(store: SessionStore) -> None:
    await begin(store, *"abc")
    await store.other("a").seat()
    assert await peek(store, "new", 4) is None
    foreseen = await peek(store, "new", 3)
    assert foreseen == SessionName(TAG, "key1", "b")
    (evicted,) = await store.other("new").seat(max_sessions=3)
    assert evicted.sid == foreseen.sid


async def test_a_live_session_pushes_none_out(store: SessionStore) -> None:
    await begin(store, *"abc")
    assert await peek(store, "c", 3) is None
    await expire(store, "c")
    assert await peek(store, "c", 3) is None
    assert await peek(store, "c", 2) == SessionName(TAG, "key1", "a")


async def test_without_an_index_nothing_is_foreseen(store: SessionStore) -> None:
    assert await peek(store, "new", 1) is None
    await store.state.call("SET", store.index_key, "x", "EX", 60)
    assert await peek(store, "new", 1) is None


async def test_what_is_live_goes_by_the_clock_of_the_store(state: StateConnection) -> None:
    clock = ClockedState(state)
    store = SessionStore(clock)
    await store.other("a").seat(ttl_s=10)
    clock.now_us += 10 * SECOND_US - 1
    assert await peek(store, "new", 1) == SessionName(TAG, "key1", "a")
    clock.now_us = START_US + 10 * SECOND_US
    assert await peek(store, "new", 1) is None


# Figures


async def test_without_sessions_all_figures_are_zero(store: SessionStore) -> None:
    assert await session_stats(store.state, TAG, scope=None) == SessionStats()


async def test_the_figures_of_a_tenant_and_of_a_scope(store: SessionStore) -> None:
    await begin(store, *"abcd")
    await begin(store, "e", scope="key2")
    await store.other("e", "key2").seat(messages=9)
    await expire(store, "a", "b")
    seconds, micros = await store.state.call("TIME")
    for session_id, age_s in (("c", 500), ("d", 200)):
        await store.other(session_id).seat(messages=4, created_at=int(seconds) + int(micros) / 1e6 - age_s)
    found = await session_stats(store.state, TAG, scope="key1")
    assert (found.total, found.active, found.expired, found.average_messages) == (4, 2, 2, 4.0)
    assert 500 <= found.oldest_age_s < 560
    found = await session_stats(store.state, TAG, scope=None)
    assert (found.total, found.active, found.expired, found.average_messages) == (5, 3, 2, 17 / 3)


async def test_expired_sessions_count_for_no_average(store: SessionStore) -> None:
    await begin(store, "a")
    await expire(store, "a")
    assert await session_stats(store.state, TAG, scope=None) == SessionStats(total=1, expired=1)


async def test_a_seat_that_is_gone_or_damaged_counts_for_no_average(store: SessionStore) -> None:
    await begin(store, *"abc")
    await store.state.call("DEL", store.other("a").seat_key)
    await store.state.call("SET", store.other("b").seat_key, "1 2 many 4", "EX", 60)
    found = await session_stats(store.state, TAG, scope=None)
    assert (found.active, found.average_messages) == (3, 3.0)


@pytest.mark.parametrize("scope", ["*", "a*", "k?y", "[ab]", "\\"])
async def test_a_scope_is_meant_letter_by_letter(store: SessionStore, scope: str) -> None:
    await begin(store, "x", scope="ab")
    await begin(store, "x", scope="key")
    assert (await session_stats(store.state, TAG, scope=scope)).total == 0
    await begin(store, "x", scope=scope)
    assert (await session_stats(store.state, TAG, scope=scope)).total == 1
    assert await clear_sessions(store.state, TAG, scope=scope) == 1
    assert (await session_stats(store.state, TAG, scope=None)).total == 2


# Clearing and pruning


async def test_all_sessions_of_a_scope_are_cleared(store: SessionStore) -> None:
    await begin(store, *"abc")
    await begin(store, "d", scope="key2")
    await expire(store, "b")
    assert await clear_sessions(store.state, TAG, scope="key1") == 2
    assert await listed(store, None) == (["d"], False)
    names = {name for name in await store.state.call("KEYS", "*") if name != keys.PROBE.encode()}
    other = store.other("d", "key2")
    assert names == {name.encode() for name in (other.head_key, other.turns_key, other.seat_key, store.index_key)}


async def test_many_sessions_are_counted_and_cleared(store: SessionStore) -> None:
    count = 2 * BATCH + 5
    for first in range(0, count, 200):
        numbers = range(first, min(count, first + 200))
        await store.state.pipeline(
            [("ZADD", store.index_key, 4_000_000_000_000_000 + n, f"key1 s{n}") for n in numbers]
        )
        await store.state.pipeline(
            [("SET", store.other(f"s{n}").seat_key, f"1 2 {n} {START_US}", "EX", 60) for n in numbers]
        )
    await store.state.call("EXPIRE", store.index_key, 60)
    await store.add("r1", turn())
    await store.seat(messages=3, max_sessions=2 * count)
    found = await session_stats(store.state, TAG, scope="key1")
    assert (found.total, found.active) == (count + 1, count + 1)
    assert found.average_messages == (sum(range(count)) + 3) / (count + 1)
    assert await clear_sessions(store.state, TAG, scope=None) == 1
    assert [name for name in await store.state.call("KEYS", "*") if name != keys.PROBE.encode()] == []


async def test_pruning_takes_expired_sessions_out_of_the_index_only(store: SessionStore) -> None:
    await begin(store, *"abc")
    await expire(store, "a", "c")
    assert await prune_index(store.state, TAG) == 2
    assert await prune_index(store.state, TAG) == 0
    assert await store.state.call("ZRANGE", store.index_key, 0, -1) == [b"key1 b"]
    assert await listed(store) == (["b"], False)


async def test_tenants_are_found_and_do_not_see_each_other(state: StateConnection) -> None:
    other = SessionStore(state, SessionName("other", "key1", "x"))
    assert await tenant_tags(state) == []
    await begin(SessionStore(state), "a")
    await begin(other, "b")
    await state.call("SET", "cw:{a}:sessions:v1:x", "1", "EX", 60)
    await state.call("SET", "cw:{a:x}:sessions:v1", "1", "EX", 60)
    assert await tenant_tags(state) == [TAG, "other"]
    assert await listed(SessionStore(state)) == (["a"], False)
    assert await clear_sessions(state, "other", scope=None) == 1
    assert await tenant_tags(state) == [TAG]
