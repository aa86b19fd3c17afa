"""One session on both stores: held by one turn at a time, committed whole or not at all, read, deleted, expired."""

from __future__ import annotations

import pytest
from msgspec import Raw

from app.domain.sessions import SessionHead, SessionHistory, StoredTurn
from app.errors import Conflict, SessionDamaged, StateError
from app.state import keys, sessions
from app.state.connection import StateConnection
from app.state.sessions import REMEMBERED_COMMITS, TURN_TTL_S, TurnHeld
from tests.support.server_clock import START_US, ClockedState
from tests.support.session_store import CHANNEL, NAME, SYSTEM, TTL_S, SessionStore, texts, turn

SECOND_US = 1_000_000
LEASE_US = 12 * SECOND_US
START_S = START_US / SECOND_US


@pytest.fixture
def clock(state: StateConnection) -> ClockedState:
    return ClockedState(state)


@pytest.fixture
def store(clock: ClockedState) -> SessionStore:
    return SessionStore(clock)


# A first turn


async def test_a_session_that_does_not_exist_is_empty_and_held(store: SessionStore) -> None:
    assert await store.open("r1") == SessionHistory(SessionHead())
    assert await store.try_open("r2") == TurnHeld(12.0)
    assert await store.read() is None
    assert await sessions.read_head(store.state, NAME) is None


async def test_only_a_lease_is_left_of_it_which_lives_as_long_as_a_session(store: SessionStore) -> None:
    await store.open("r1")
    assert set(await store.state.call("HKEYS", store.head_key)) == {b"holder", b"until_us"}
    head, turns = await store.ttls()
    assert (TTL_S - 60 < head <= TTL_S, turns) == (True, -2)


async def test_an_aborted_first_turn_leaves_nothing(store: SessionStore) -> None:
    await store.open("r1")
    await store.try_open("r2")
    await store.release("r1")
    assert await store.state.call("EXISTS", store.head_key, store.turns_key) == 0


async def test_a_first_turn_makes_the_session(store: SessionStore) -> None:
    await store.open("r1")
    new = turn()
    head = await store.commit("r1", SessionHead(), [new], instructions=SYSTEM)
    assert head == SessionHead(
        seq=1,
        messages=3,
        size_bytes=new.size_bytes + len(SYSTEM),
        created_at=START_S,
        used_at=START_S,
        instructions=SYSTEM,
    )
    assert await store.read() == SessionHistory(head, (new,))
    assert await sessions.read_head(store.state, NAME) == head
    assert await store.state.call("HMGET", store.head_key, "tenant", "scope", "id") == [b"acme", b"key1", b"trip"]


async def test_a_session_may_be_made_without_a_turn(store: SessionStore) -> None:
    head = await store.add("r1")
    assert (head.seq, head.messages, head.size_bytes) == (1, 0, 0)
    assert await store.read() == SessionHistory(head)
    assert await store.open("r2") == SessionHistory(head)


async def test_an_empty_array_of_instructions_counts_as_none(store: SessionStore) -> None:
    head = await store.add("r1", instructions=Raw(b"[]"))
    assert (head.messages, head.size_bytes) == (0, 0)


# Further turns


async def test_turns_follow_each_other(store: SessionStore, clock: ClockedState) -> None:
    await store.add("r1", turn("one"), instructions=SYSTEM)
    clock.now_us += 5 * SECOND_US
    head = await store.add("r2", turn("two"), turn("three", answer=None, count=3))
    assert (head.seq, head.messages, head.created_at, head.used_at) == (2, 1 + 2 + 2 + 3, START_S, START_S + 5)
    history = await store.read()
    assert texts(history) == ["one", "two", "three"]
    assert history is not None
    assert history.head == head


async def test_everything_of_a_turn_comes_back_byte_by_byte(store: SessionStore) -> None:
    kept = StoredTurn(
        at=1.25,
        messages=Raw('[{"role":"user","content":"Grüße 🌍 \\u2028 \\n"}, 1.0 , {"a":  [null]}]'.encode()),
        count=3,
        answer=Raw(b'[{"type":"thinking","thinking":"","signature":"' + b"x" * 3000 + b'"}]'),
        model="claude-opus-5-5",
    )
    await store.add("r1", kept)
    history = await store.read()
    assert history is not None
    assert history.turns == (kept,)
    assert bytes(history.turns[0].messages) == bytes(kept.messages)


async def test_a_thousand_turns_in_one_commit(store: SessionStore) -> None:
    await store.add("r1", *(turn(f"t{number}", answer=None) for number in range(1000)))
    assert texts(await store.read()) == [f"t{number}" for number in range(1000)]


async def test_the_oldest_turns_go(store: SessionStore) -> None:
    one, two, three, four = (turn(text) for text in ("one", "two", "three", "four"))
    before = await store.add("r1", one, two, three, instructions=SYSTEM)
    gone = one.size_bytes + two.size_bytes
    head = await store.add("r2", four, drop_turns=2, drop_messages=4, drop_bytes=gone)
    assert (head.messages, head.dropped) == (before.messages - 4 + 2, 4)
    assert head.size_bytes == before.size_bytes - gone + four.size_bytes
    assert await store.read() == SessionHistory(head, (three, four))
    again = await store.add("r3", drop_turns=2, drop_messages=4, drop_bytes=three.size_bytes + four.size_bytes)
    assert (again.messages, again.size_bytes, again.dropped) == (1, len(SYSTEM), 8)
    assert await store.open("r4") == SessionHistory(again)


async def test_instructions_are_changed_and_kept(store: SessionStore) -> None:
    other = Raw(b'[{"role":"system","content":"a"},{"role":"developer","content":"b"}]')
    await store.add("r1", turn(), instructions=SYSTEM)
    head = await store.add("r2", instructions=other)
    assert (head.messages, head.size_bytes) == (4, turn().size_bytes + len(other))
    assert (await store.add("r3", turn())).instructions == other
    assert (await store.open("r4")).head.instructions == other


async def test_sessions_of_other_names_are_others(store: SessionStore) -> None:
    await store.add("r1", turn("ours"))
    for other in (store.other("trip", "key2"), store.other("trip", "*"), store.other("Trip")):
        assert await other.read() is None
        await other.add("r2", turn("theirs"))
    assert texts(await store.read()) == ["ours"]


# Who holds it


async def test_who_asks_again_has_it(store: SessionStore, clock: ClockedState) -> None:
    await store.add("r1", turn("one"))
    first = await store.open("r2")
    clock.now_us += 5 * SECOND_US
    assert await store.open("r2") == first
    assert await store.try_open("r3") == TurnHeld(12.0)


async def test_another_waits_for_what_is_left_of_the_lease(store: SessionStore, clock: ClockedState) -> None:
    await store.open("r1")
    clock.now_us += 7 * SECOND_US
    assert await store.try_open("r2") == TurnHeld(5.0)
    clock.now_us += 5 * SECOND_US - 1
    assert await store.try_open("r2") == TurnHeld(0.000001)
    clock.now_us += 1
    assert await store.open("r2") == SessionHistory(SessionHead())


async def test_a_renewed_lease_goes_on(store: SessionStore, clock: ClockedState) -> None:
    await store.open("r1")
    for _ in range(5):
        clock.now_us += 4 * SECOND_US
        assert await store.renew("r1")
    assert await store.try_open("r2") == TurnHeld(12.0)


async def test_a_lease_that_ran_out_is_prolonged_as_long_as_nobody_takes_it(
    store: SessionStore, clock: ClockedState
) -> None:
    await store.open("r1")
    clock.now_us += LEASE_US + 1
    assert await store.renew("r1")
    assert await store.try_open("r2") == TurnHeld(12.0)
    clock.now_us += LEASE_US
    await store.open("r2")
    assert not await store.renew("r1")
    assert await store.try_open("r3") == TurnHeld(12.0)


async def test_a_renewal_makes_nothing(store: SessionStore) -> None:
    assert not await store.renew("r1")
    assert await store.state.call("EXISTS", store.head_key) == 0


async def test_only_the_holder_gives_it_back(store: SessionStore) -> None:
    await store.open("r1")
    await store.release("r2")
    assert await store.try_open("r2") == TurnHeld(12.0)
    await store.release("r1")
    await store.release("r1")
    await store.open("r2")


async def test_an_aborted_turn_leaves_the_session_as_it_was(store: SessionStore) -> None:
    head = await store.add("r1", turn("one"))
    before = await store.state.call("HGETALL", store.head_key)
    await store.open("r2")
    await store.release("r2")
    assert await store.state.call("HGETALL", store.head_key) == before
    assert await store.open("r3") == SessionHistory(head, (turn("one"),))


async def test_a_commit_gives_the_session_back(store: SessionStore) -> None:
    await store.add("r1", turn("one"))
    assert await store.field("holder") is None
    await store.release("r1")
    assert texts(await store.open("r2")) == ["one"]


async def test_who_waits_is_noted_once_for_each_worker(store: SessionStore) -> None:
    await store.open("r1")
    for holder, channel in [("r2", "c1"), ("r3", "c"), ("r4", "c1"), ("r5", "c")]:
        await store.try_open(holder, channel=channel)
    assert await store.field("waiters") == b"c1 c"
    await store.commit("r1", SessionHead(), [turn()])
    assert await store.field("waiters") is None


async def test_who_waits_stays_noted_when_somebody_takes_a_lost_lease(store: SessionStore, clock: ClockedState) -> None:
    await store.open("r1")
    await store.try_open("r2", channel="c1")
    clock.now_us += LEASE_US
    await store.open("r3")
    assert await store.field("waiters") == b"c1"


# Late and repeated commits


async def test_a_commit_that_is_repeated_counts_once(store: SessionStore) -> None:
    head = await store.add("r1", turn("one"))
    assert await store.commit("r1", SessionHead(), [turn("one")]) == head
    assert texts(await store.read()) == ["one"]


async def test_a_commit_that_is_repeated_after_those_of_others_counts_once(
    store: SessionStore, clock: ClockedState
) -> None:
    first = await store.add("r0", turn("t0"))
    for number in range(1, REMEMBERED_COMMITS):
        clock.now_us += SECOND_US
        await store.add(f"r{number}", turn(f"t{number}"))
    again = await store.commit("r0", SessionHead(), [turn("t0")])
    assert (again.seq, again.created_at, again.messages) == (1, first.created_at, first.messages)
    assert len(texts(await store.read())) == REMEMBERED_COMMITS
    await store.add("r", turn())
    with pytest.raises(Conflict):
        await store.commit("r0", SessionHead(), [turn("t0")])
    assert len((await store.field("last") or b"").split()) == REMEMBERED_COMMITS


async def test_a_repeated_commit_leaves_the_lease_of_the_next_turn(store: SessionStore) -> None:
    await store.add("r1", turn("one"))
    await store.open("r2")
    await store.commit("r1", SessionHead(), [turn("one")])
    assert await store.try_open("r3") == TurnHeld(12.0)


async def test_one_holder_may_commit_twice_onto_what_it_has_committed(store: SessionStore) -> None:
    head = await store.add("r1", turn("one"))
    assert (await store.commit("r1", head, [turn("two")])).seq == 2
    assert texts(await store.read()) == ["one", "two"]


async def test_a_lease_that_ran_out_does_no_harm_if_nobody_came(store: SessionStore, clock: ClockedState) -> None:
    base = (await store.open("r1")).head
    clock.now_us += 100 * SECOND_US
    assert (await store.commit("r1", base, [turn("late")])).seq == 1


async def test_a_lease_that_was_lost_does_no_harm_if_nothing_has_changed(store: SessionStore) -> None:
    head = await store.add("r1", turn("one"))
    await store.open("r2")
    await store.state.call("HDEL", store.head_key, "holder", "until_us")
    assert (await store.commit("r2", head, [turn("two")])).seq == 2


async def test_a_session_is_not_begun_without_its_lease(store: SessionStore) -> None:
    await store.open("r1")
    await store.state.call("DEL", store.head_key)
    with pytest.raises(Conflict) as caught:
        await store.commit("r1", SessionHead(), [turn()])
    assert caught.value.code == "conversation_changed"
    assert await store.ttls() == [-2, -2]


async def test_a_late_commit_is_refused_while_another_turn_runs(store: SessionStore, clock: ClockedState) -> None:
    head = await store.add("r1", turn("one"))
    await store.open("r2")
    clock.now_us += LEASE_US
    await store.open("r3")
    with pytest.raises(Conflict) as caught:
        await store.commit("r2", head, [turn("late")])
    assert caught.value.code == "conversation_changed"
    assert (await store.commit("r3", head, [turn("two")])).seq == 2
    assert texts(await store.read()) == ["one", "two"]


@pytest.mark.parametrize("goes", ["commit", "release"])
async def test_a_late_commit_after_another_turn(store: SessionStore, clock: ClockedState, goes: str) -> None:
    head = await store.add("r1", turn("one"))
    await store.open("r2")
    clock.now_us += LEASE_US
    await store.open("r3")
    if goes == "release":  # nothing has changed
        await store.release("r3")
        assert (await store.commit("r2", head, [turn("late")])).seq == 2
        return
    await store.commit("r3", head, [turn("two")])
    with pytest.raises(Conflict):
        await store.commit("r2", head, [turn("late")])
    assert texts(await store.read()) == ["one", "two"]


async def test_two_first_turns_make_one_session(store: SessionStore, clock: ClockedState) -> None:
    await store.open("r1")
    clock.now_us += LEASE_US
    await store.add("r2", turn("two"))
    with pytest.raises(Conflict):
        await store.commit("r1", SessionHead(), [turn("one")])
    assert texts(await store.read()) == ["two"]


async def test_a_refused_commit_does_nothing(store: SessionStore) -> None:
    await store.add("r1", turn("one"))
    await store.open("r2")
    before = await store.state.call("HGETALL", store.head_key)
    for base in (SessionHead(), SessionHead(seq=2, created_at=START_S), SessionHead(seq=1, created_at=START_S - 1)):
        with pytest.raises(Conflict):
            await store.commit("r2", base, [turn()], drop_turns=1)
    assert await store.state.call("HGETALL", store.head_key) == before
    assert texts(await store.read()) == ["one"]


# Deleting


async def test_a_deleted_session_is_gone_for_good(store: SessionStore) -> None:
    await store.add("r1", turn())
    await store.seat()
    assert await store.delete()
    assert not await store.delete()
    assert await store.read() is None
    left = [store.head_key, store.turns_key, store.seat_key, store.index_key]
    assert await store.state.call("EXISTS", *left) == 0


async def test_a_turn_of_a_session_that_is_deleted_meanwhile_is_not_kept(store: SessionStore) -> None:
    await store.add("r1", turn("one"))
    base = (await store.open("r2")).head
    assert await store.delete()
    assert not await store.renew("r2")
    with pytest.raises(Conflict):
        await store.commit("r2", base, [turn("two")])
    assert await store.read() is None


async def test_a_turn_of_a_session_that_is_made_anew_meanwhile_is_not_kept(
    store: SessionStore, clock: ClockedState
) -> None:
    await store.add("r1", turn("one"))
    base = (await store.open("r2")).head
    await store.delete()
    clock.now_us += 1
    assert (await store.add("r3", turn("new"))).seq == base.seq
    with pytest.raises(Conflict):
        await store.commit("r2", base, [turn("two")])
    assert texts(await store.read()) == ["new"]


async def test_a_session_that_is_deleted_while_it_is_begun_is_not_begun(store: SessionStore) -> None:
    await store.open("r1")
    await store.try_open("r2")
    assert not await store.delete()
    assert not await store.renew("r1")
    with pytest.raises(Conflict) as caught:
        await store.commit("r1", SessionHead(), [turn("late")])
    assert caught.value.code == "conversation_changed"
    assert await store.ttls() == [-2, -2]
    assert (await store.add("r2", turn("anew"))).seq == 1


async def test_making_room_takes_nobody_the_session_that_is_begun(store: SessionStore) -> None:
    (evicted,) = (await store.seat("r1"), await store.other("x").seat(max_sessions=1))[1]
    await store.open("r2")
    await sessions.delete_sessions_data(store.state, [evicted])
    assert (await store.commit("r2", SessionHead(), [turn()])).seq == 1


async def test_only_the_session_that_is_meant_is_deleted(store: SessionStore) -> None:
    other = store.other("other")
    for one in (store, other):
        await one.add("r1", turn())
        await one.seat()
    await store.delete()
    assert texts(await other.read()) == ["hello"]
    assert await store.state.call("EXISTS", other.seat_key) == 1
    assert await store.state.call("ZRANGE", store.index_key, 0, -1) == [b"key1 other"]


# Times to live


async def test_each_use_prolongs_its_life(store: SessionStore) -> None:
    await store.add("r1", turn())
    assert all(TTL_S - 60 < ttl <= TTL_S for ttl in await store.ttls())
    await store.open("r2", ttl_s=7200)
    assert all(7200 - 60 < ttl <= 7200 for ttl in await store.ttls())
    await store.commit("r2", (await store.open("r2")).head, [turn()], ttl_s=1800)
    assert all(1800 - 60 < ttl <= 1800 for ttl in await store.ttls())


async def test_looking_does_not_prolong_its_life(store: SessionStore) -> None:
    await store.add("r1", turn())
    for key in (store.head_key, store.turns_key):
        await store.state.call("EXPIRE", key, 100)
    await store.read()
    await sessions.read_head(store.state, NAME)
    assert max(await store.ttls()) <= 100


async def test_a_session_outlives_a_turn_that_takes_longer_than_it_lives(store: SessionStore) -> None:
    await store.add("r1", turn(), ttl_s=5)
    await store.open("r2", ttl_s=5)
    assert all(TURN_TTL_S - 5 < ttl <= TURN_TTL_S for ttl in await store.ttls())
    for key in (store.head_key, store.turns_key):
        await store.state.call("EXPIRE", key, 5)
    await store.renew("r2")
    assert all(TURN_TTL_S - 5 < ttl <= TURN_TTL_S for ttl in await store.ttls())
    await store.release("r2", ttl_s=5)
    assert all(0 < ttl <= 5 for ttl in await store.ttls())
    await store.open("r2")
    await store.renew("r2")
    assert min(await store.ttls()) > TURN_TTL_S


async def test_a_lease_without_a_session_lives_on_as_it_is_renewed(store: SessionStore) -> None:
    await store.open("r1")
    await store.state.call("EXPIRE", store.head_key, 5)
    await store.renew("r1")
    assert (await store.ttls())[0] > TURN_TTL_S - 5
    await store.state.call("EXPIRE", store.head_key, 5)
    await store.open("r1", ttl_s=5)
    assert (await store.ttls())[0] > TURN_TTL_S - 5


async def test_nothing_is_without_a_time_to_live(store: SessionStore) -> None:
    await store.add("r1", turn())
    await store.seat()
    await store.open("r2")
    await store.try_open("r3")
    await store.release("r2")
    await store.other("new").open("r4")
    await store.other("new").try_open("r5")
    for name in await store.state.call("KEYS", "*"):
        if name.decode() != keys.PROBE:
            assert 0 < await store.state.call("TTL", name) <= TTL_S


# A clock that goes back


async def test_a_lease_from_before_the_clock_went_back_ends_as_any_other(
    store: SessionStore, clock: ClockedState
) -> None:
    await store.open("r1")
    clock.now_us -= 3600 * SECOND_US
    assert await store.try_open("r2") == TurnHeld(12.0)
    clock.now_us += LEASE_US
    await store.open("r2")


async def test_the_holder_goes_on_when_the_clock_went_back(store: SessionStore, clock: ClockedState) -> None:
    await store.add("r1", turn("one"))
    base = (await store.open("r2")).head
    clock.now_us -= 3600 * SECOND_US
    assert await store.renew("r2")
    head = await store.commit("r2", base, [turn("two")])
    assert (head.created_at, head.used_at) == (START_S, START_S)


# What is stored is damaged


@pytest.mark.parametrize("where", ["head", "turns"])
async def test_what_is_no_session_is_one_that_cannot_be_read(store: SessionStore, where: str) -> None:
    head = await store.add("r1", turn())
    key = store.head_key if where == "head" else store.turns_key
    await store.state.call("DEL", key)
    await store.state.call("SET", key, "x", "EX", 60)
    asks = [store.read, lambda: store.try_open("r2"), lambda: store.commit("r2", head, [turn()])]
    if where == "head":
        asks.append(lambda: sessions.read_head(store.state, NAME))
    for ask in asks:
        with pytest.raises(SessionDamaged, match="Delete it to begin anew"):
            await ask()
    assert await store.delete()
    assert (await store.add("r3", turn("anew"))).seq == 1


@pytest.mark.parametrize("field", ["seq", "messages", "bytes", "dropped", "turns", "created_us", "used_us"])
@pytest.mark.parametrize("damage", [b"", b"-1", b"\xff"])
async def test_a_damaged_head_is_an_error_and_no_empty_session(store: SessionStore, field: str, damage: bytes) -> None:
    await store.add("r1", turn())
    await store.state.call("HSET", store.head_key, field, damage)
    for ask in (store.read, lambda: store.try_open("r2")):
        with pytest.raises(StateError, match="cannot be read"):
            await ask()
    assert await store.delete()
    assert (await store.add("r3", turn("anew"))).seq == 1


@pytest.mark.parametrize("field", ["seq", "turns"])
async def test_nothing_is_committed_onto_a_damaged_head(store: SessionStore, field: str) -> None:
    head = await store.add("r1", turn())
    await store.state.call("HSET", store.head_key, field, "x")
    with pytest.raises(StateError, match="cannot be read"):
        await store.commit("r2", head, [turn()])
    assert await store.state.call("LLEN", store.turns_key) == 1


@pytest.mark.parametrize("damage", [b"", b"\x05", b"\x00", b"\x00{}", b"\x00[1", b"\x01zstd", b"\x00\xff"])
@pytest.mark.parametrize("where", ["turn", "instructions"])
async def test_a_damaged_value_is_an_error_and_no_empty_history(store: SessionStore, damage: bytes, where: str) -> None:
    await store.add("r1", turn(), turn(), instructions=SYSTEM)
    if where == "turn":
        await store.state.call("LSET", store.turns_key, 1, damage)
    else:
        await store.state.call("HSET", store.head_key, "instructions", damage)
    for attempt in (store.read(), store.try_open("r2")):
        with pytest.raises(StateError, match="cannot be read"):
            await attempt


async def test_turns_that_were_lost_are_an_error_and_no_empty_history(store: SessionStore) -> None:
    head = await store.add("r1", turn(), turn())
    for lost in (("RPOP", store.turns_key), ("DEL", store.turns_key)):
        await store.state.call(*lost)
        with pytest.raises(StateError, match="cannot be read"):
            await store.read()
        with pytest.raises(StateError, match="cannot be read"):
            await store.try_open("r2")
        with pytest.raises(StateError, match="cannot be read"):
            await store.commit("r2", head, [turn()])


async def test_turns_whose_head_was_lost_come_back_to_nobody(store: SessionStore) -> None:
    await store.add("r1", turn("old"), turn("older"))
    await store.state.call("DEL", store.head_key)
    assert await store.read() is None
    assert (await store.open("r2")).turns == ()
    await store.commit("r2", SessionHead(), [turn("new")])
    assert texts(await store.read()) == ["new"]


@pytest.mark.parametrize("where", ["head_key", "turns_key"])
async def test_another_type_in_its_place_is_an_error_until_it_is_deleted(store: SessionStore, where: str) -> None:
    head = await store.add("r1", turn())
    await store.state.call("SET", getattr(store, where), "x", "EX", 60)
    for ask in (store.read, lambda: store.try_open("r2"), lambda: store.commit("r2", head, [turn()])):
        with pytest.raises(StateError):
            await ask()
    assert await store.state.call("GET", getattr(store, where)) == b"x"
    assert await store.delete()
    assert (await store.add("r2", turn("anew"))).seq == 1


async def test_nothing_is_half_committed_where_the_list_is_of_another_type(store: SessionStore) -> None:
    head = await store.add("r1", turn())
    before = await store.state.call("HGETALL", store.head_key)
    await store.state.call("SET", store.turns_key, "x", "EX", 60)
    with pytest.raises(StateError):
        await store.commit("r2", head, [turn()])
    assert await store.state.call("HGETALL", store.head_key) == before


@pytest.mark.parametrize("until", [b"", b"x", b"-5"])
async def test_a_lease_that_cannot_be_read_holds_nobody_up(store: SessionStore, until: bytes) -> None:
    await store.add("r1", turn("one"))
    await store.open("r2")
    await store.state.call("HSET", store.head_key, "until_us", until)
    assert texts(await store.open("r3")) == ["one"]


# The seat


async def test_the_seat_says_what_the_session_adds_to_a_prompt(store: SessionStore) -> None:
    await store.seat(expected_tokens=12, most_tokens=34, messages=5, created_at=START_S)
    assert await store.state.call("GET", store.seat_key) == f"12 34 5 {START_US}".encode()
    expiry = await store.state.call("ZSCORE", store.index_key, "key1 trip")
    assert int(float(expiry)) == START_US + TTL_S * SECOND_US


async def test_the_seat_and_the_index_live_as_long_as_the_session(store: SessionStore) -> None:
    async def ttls() -> list[int]:
        return [await store.state.call("TTL", key) for key in (store.seat_key, store.index_key)]

    await store.seat(ttl_s=100)
    assert all(40 < ttl <= 100 for ttl in await ttls())
    await store.seat(ttl_s=1000)
    assert all(940 < ttl <= 1000 for ttl in await ttls())
    await store.seat(ttl_s=100)
    seat, index = await ttls()
    assert (seat <= 100, index > 900) == (True, True)


async def test_the_longest_idle_session_goes(store: SessionStore, clock: ClockedState) -> None:
    for session_id in "abc":
        clock.now_us += SECOND_US
        await store.other(session_id).seat(max_sessions=3)
    clock.now_us += SECOND_US
    await store.other("a").seat(max_sessions=3)
    evicted = await store.other("d", "key2").seat(max_sessions=3)
    assert [(gone.tag, gone.scope, gone.id) for gone in evicted] == [(NAME.tag, "key1", "b")]
    assert evicted[0].seated_us == START_US + 2 * SECOND_US
    members = await store.state.call("ZRANGE", store.index_key, 0, -1)
    assert members == [b"key1 c", b"key1 a", b"key2 d"]


async def test_a_session_that_is_there_already_puts_nobody_out(store: SessionStore) -> None:
    for session_id in ("a", "b", "a", "b", "a"):
        assert await store.other(session_id).seat(max_sessions=2) == ()


async def test_expired_sessions_take_no_place(store: SessionStore, clock: ClockedState) -> None:
    await store.other("a").seat(ttl_s=10, max_sessions=2)
    await store.other("b").seat(ttl_s=100, max_sessions=2)
    clock.now_us += 10 * SECOND_US
    assert await store.other("c").seat(max_sessions=2) == ()
    assert [gone.id for gone in await store.other("d").seat(max_sessions=2)] == ["b"]


async def test_the_session_itself_never_goes(store: SessionStore, clock: ClockedState) -> None:
    await store.other("a").seat(max_sessions=1)
    clock.now_us -= 100 * SECOND_US
    evicted = await store.other("b").seat(max_sessions=1)
    assert [gone.id for gone in evicted] == ["a"]


async def test_a_bound_that_was_lowered_is_reached_in_steps(store: SessionStore, clock: ClockedState) -> None:
    for number in range(40):
        clock.now_us += 1
        await store.other(f"s{number:02}").seat()
    gone: list[str] = []
    for _ in range(3):
        evicted = await store.other("s39").seat(max_sessions=5)
        assert len(evicted) <= sessions.EVICTED_AT_ONCE
        gone += [one.id for one in evicted]
    assert gone == [f"s{number:02}" for number in range(35)]


async def test_what_is_left_of_a_session_that_had_to_go_is_deleted(store: SessionStore, clock: ClockedState) -> None:
    await store.add("r1", turn())
    await store.seat()
    clock.now_us += 60 * SECOND_US
    evicted = await store.other("next").seat(max_sessions=1)
    await sessions.delete_sessions_data(store.state, evicted)
    assert await store.state.call("EXISTS", store.head_key, store.turns_key, store.seat_key) == 0
    await sessions.delete_sessions_data(store.state, ())


@pytest.mark.parametrize("use", ["a turn that runs", "a turn that was committed"])
async def test_a_session_that_had_to_go_stays_if_it_is_used_again(
    store: SessionStore, clock: ClockedState, use: str
) -> None:
    await store.add("r1", turn("one"))
    await store.seat()
    clock.now_us += 60 * SECOND_US
    evicted = await store.other("next").seat(max_sessions=1)
    if use == "a turn that runs":
        await store.open("r2")
    else:
        await store.add("r2", turn("two"))
    await sessions.delete_sessions_data(store.state, evicted)
    assert texts(await store.read())[0] == "one"
    assert await store.state.call("EXISTS", store.seat_key) == 1


async def test_a_turn_that_was_given_up_saves_no_session(store: SessionStore, clock: ClockedState) -> None:
    await store.add("r1", turn())
    await store.seat()
    await store.open("r2")
    clock.now_us += LEASE_US
    await sessions.delete_sessions_data(store.state, await store.other("next").seat(max_sessions=1))
    assert await store.read() is None


async def test_a_channel_is_a_word_and_part_of_no_other(store: SessionStore) -> None:
    await store.open("r1")
    await store.try_open("r2", channel=CHANNEL + "0")
    await store.try_open("r3", channel=CHANNEL)
    assert await store.field("waiters") == f"{CHANNEL}0 {CHANNEL}".encode()
