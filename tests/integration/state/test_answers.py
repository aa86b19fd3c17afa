"""Slots of answers on both stores: who leads, who follows, what is found, and what becomes of leaders that die."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from app.errors import StateError
from app.state import answers, connect, keys
from app.state.answers import (
    LARGE_BYTES,
    LEASE_S,
    Follow,
    Hit,
    Join,
    Large,
    Lead,
    Reused,
    Slot,
    fetch_large,
    is_followed,
    join_flight,
    land_flight,
    read_join,
    renew_flight,
    unfollow,
)
from app.state.connection import StateConnection
from tests.integration.state.test_pushes import until
from tests.support.redis import RedisServer
from tests.support.server_clock import ClockedState

ANSWER = Slot("answer", "tag", "ab12")
ONCE = Slot("once", "tag", "cd34")
PRINT, OTHER_PRINT = b"\x01" * 32, b"\x02" * 32
CHANNEL = keys.wake_channel("w1")
LEASE_US = int(LEASE_S * 1e6)


async def join(state: StateConnection, slot: Slot, request_id: str, **options: Any) -> Join:
    """Joins as the gateway does, beside other commands."""
    fields = {"channel": CHANNEL, "fingerprint": PRINT if slot.kind == "once" else b"", "max_age_s": None, **options}
    _, reply = await state.pipeline([("PING",), join_flight(slot, request_id, **fields)])
    return read_join(reply)


async def land(state: StateConnection, slot: Slot, leader: str, value: bytes | None, **options: Any) -> bool:
    fields = {"fingerprint": PRINT if slot.kind == "once" else b"", "ttl_s": 300, **options}
    return await land_flight(state, slot, leader, value=value, **fields)


async def renew(state: StateConnection, slot: Slot, leader: str) -> bool:
    return await renew_flight(state, slot, leader, fingerprint=PRINT if slot.kind == "once" else b"")


async def run_out(state: StateConnection, slot: Slot) -> None:
    """The leader has died: its lease has run out."""
    await state.call("HSET", slot.flight_key, "until_us", 1)


def same(found: Join, value: bytes) -> bool:
    return isinstance(found, Hit) and found.value == value


@pytest.fixture(params=[ANSWER, ONCE], ids=["answer", "once"])
def slot(request: pytest.FixtureRequest) -> Slot:
    assert isinstance(request.param, Slot)
    return request.param


# Leading and following


async def test_the_first_leads_and_the_others_follow_it(state: StateConnection, slot: Slot) -> None:
    assert await join(state, slot, "r1") == Lead()
    assert await join(state, slot, "r2") == Follow("r1")
    assert await join(state, slot, "r3") == Follow("r1")


async def test_a_flight_is_followed_until_the_last_worker_that_waits_has_left(
    state: StateConnection, slot: Slot
) -> None:
    channels = [keys.wake_channel(worker) for worker in ("w2", "w3")]
    assert not await is_followed(state, slot)
    await join(state, slot, "r1")
    assert not await is_followed(state, slot)
    for channel in channels:
        await join(state, slot, f"of {channel}", channel=channel)
    await unfollow(state, slot, channel=channels[0])
    assert await is_followed(state, slot)
    await unfollow(state, slot, channel=channels[1])
    assert not await is_followed(state, slot)
    assert await join(state, slot, "r2") == Follow("r1")


async def test_leaving_a_flight_that_is_over_brings_nothing_back(state: StateConnection, slot: Slot) -> None:
    await join(state, slot, "r1")
    await land(state, slot, "r1", None)
    await unfollow(state, slot, channel=CHANNEL)

    assert not await state.call("EXISTS", slot.flight_key)


async def test_a_leader_that_joins_again_leads_again(state: StateConnection, slot: Slot) -> None:
    assert [await join(state, slot, "r1") for _ in range(3)] == [Lead()] * 3


async def test_of_a_hundred_that_join_at_once_one_leads(state: StateConnection, slot: Slot) -> None:
    joined = await asyncio.gather(*(join(state, slot, f"r{number}") for number in range(100)))
    assert Counter(type(one) for one in joined) == {Lead: 1, Follow: 99}
    leader = f"r{joined.index(Lead())}"
    assert {one.leader for one in joined if isinstance(one, Follow)} == {leader}


async def test_over_many_connections_one_leads_too(server: RedisServer) -> None:
    connections = [connect(server.url, timeout_s=5.0) for _ in range(10)]
    for round_ in range(20):
        slot = replace(ANSWER, digest=f"{round_:02x}")
        joined = await asyncio.gather(
            *(
                join(state, slot, f"r{worker}-{number}")
                for number in range(10)
                for worker, state in enumerate(connections)
            )
        )
        assert Counter(type(one) for one in joined) == {Lead: 1, Follow: 99}
    await asyncio.gather(*(state.close() for state in connections))


async def test_slots_do_not_know_each_other(state: StateConnection) -> None:
    others = [ANSWER, ONCE, replace(ANSWER, tag="other"), replace(ANSWER, digest="ef")]
    assert [await join(state, slot, f"r{number}") for number, slot in enumerate(others)] == [Lead()] * 4


async def test_after_a_lease_has_run_out_one_of_the_followers_leads(state: StateConnection, slot: Slot) -> None:
    await join(state, slot, "r1")
    await run_out(state, slot)
    joined = await asyncio.gather(*(join(state, slot, f"f{number}") for number in range(100)))
    assert Counter(type(one) for one in joined) == {Lead: 1, Follow: 99}


async def test_a_lease_lasts_as_long_as_it_says(state: StateConnection) -> None:
    clock = ClockedState(state)
    assert await join(clock, ANSWER, "r1") == Lead()
    clock.now_us += LEASE_US - 1
    assert await join(clock, ANSWER, "r2") == Follow("r1")
    clock.now_us += 1
    assert await join(clock, ANSWER, "r2") == Lead()


async def test_a_renewed_lease_lasts_on(state: StateConnection) -> None:
    clock = ClockedState(state)
    await join(clock, ANSWER, "r1")
    for _ in range(5):
        clock.now_us += LEASE_US - 1
        assert await renew(clock, ANSWER, "r1")
    assert await join(clock, ANSWER, "r2") == Follow("r1")


async def test_a_lost_flight_is_put_back_with_its_fingerprint(state: StateConnection) -> None:
    await join(state, ONCE, "r1")
    await state.call("DEL", ONCE.flight_key)
    assert await renew(state, ONCE, "r1")
    assert await join(state, ONCE, "r2") == Follow("r1")
    assert await join(state, ONCE, "r3", fingerprint=OTHER_PRINT) == Reused()


async def test_who_was_taken_over_leads_no_more(state: StateConnection, slot: Slot) -> None:
    await join(state, slot, "r1")
    await run_out(state, slot)
    assert await join(state, slot, "r2") == Lead()
    assert not await renew(state, slot, "r1")
    assert await renew(state, slot, "r2")
    assert await join(state, slot, "r3") == Follow("r2")


async def test_a_leader_that_was_only_late_leads_on(state: StateConnection, slot: Slot) -> None:
    await join(state, slot, "r1")
    await run_out(state, slot)
    assert await renew(state, slot, "r1")
    assert await join(state, slot, "r2") == Follow("r1")


async def test_a_clock_that_goes_back_makes_no_leader_live_longer(state: StateConnection) -> None:
    clock = ClockedState(state)
    await join(clock, ANSWER, "r1")
    clock.now_us -= 3_600_000_000
    assert await join(clock, ANSWER, "r2") == Follow("r1")
    clock.now_us += LEASE_US
    assert await join(clock, ANSWER, "r2") == Lead()


# Landing


async def test_what_has_landed_is_found(state: StateConnection, slot: Slot) -> None:
    await join(state, slot, "r1")
    assert await land(state, slot, "r1", b"answer")
    found = await join(state, slot, "r2")
    assert same(found, b"answer")
    assert await state.call("EXISTS", slot.flight_key) == 0


async def test_landing_without_an_answer_stores_nothing_and_lets_others_try(state: StateConnection, slot: Slot) -> None:
    await join(state, slot, "r1")
    assert await land(state, slot, "r1", None)
    assert await state.call("KEYS", "cw:{tag*") == []
    assert await join(state, slot, "r2") == Lead()


async def test_landing_again_changes_nothing(state: StateConnection, slot: Slot) -> None:
    await join(state, slot, "r1")
    assert await land(state, slot, "r1", b"answer")
    assert not await land(state, slot, "r1", b"answer")
    assert same(await join(state, slot, "r2"), b"answer")


async def test_the_answer_of_a_leader_whose_flight_was_lost_is_kept(state: StateConnection, slot: Slot) -> None:
    await join(state, slot, "r1")
    await state.call("DEL", slot.flight_key)
    assert not await land(state, slot, "r1", b"answer")
    assert same(await join(state, slot, "r2"), b"answer")


async def test_a_leader_that_was_taken_over_does_not_end_the_flight_of_the_other(state: StateConnection) -> None:
    await join(state, ANSWER, "r1")
    await run_out(state, ANSWER)
    await join(state, ANSWER, "r2")
    assert not await land(state, ANSWER, "r1", None)
    assert await join(state, ANSWER, "r3") == Follow("r2")
    assert not await land(state, ANSWER, "r1", b"late")
    assert same(await join(state, ANSWER, "r3"), b"late")
    assert await land(state, ANSWER, "r2", b"newer")
    assert same(await join(state, ANSWER, "r3"), b"newer")


async def test_an_idempotency_key_keeps_its_first_answer(state: StateConnection) -> None:
    await join(state, ONCE, "r1")
    await run_out(state, ONCE)
    await join(state, ONCE, "r2")
    await land(state, ONCE, "r1", b"first")
    assert await land(state, ONCE, "r2", b"second")
    assert same(await join(state, ONCE, "r3"), b"first")
    assert await state.call("EXISTS", ONCE.flight_key) == 0


@pytest.mark.parametrize("size", [0, 1, LARGE_BYTES - 100, LARGE_BYTES + 1, 1024**2])
async def test_values_of_any_size_come_back(state: StateConnection, slot: Slot, size: int) -> None:
    value = os.urandom(size)
    await join(state, slot, "r1")
    await land(state, slot, "r1", value)
    found = await join(state, slot, "r2")
    if size < LARGE_BYTES:
        assert same(found, value)
    else:
        assert isinstance(found, Large)
    assert await fetch_large(state, slot) == value


async def test_a_value_that_packs_well_travels_with_the_admission(state: StateConnection) -> None:
    await join(state, ANSWER, "r1")
    await land(state, ANSWER, "r1", b"ab" * 1024**2)
    assert same(await join(state, ANSWER, "r2"), b"ab" * 1024**2)


async def test_large_and_gone_is_nothing(state: StateConnection) -> None:
    assert await fetch_large(state, ANSWER) is None


# Age


async def test_an_answer_says_its_age(state: StateConnection) -> None:
    clock = ClockedState(state)
    await join(clock, ANSWER, "r1")
    await land(clock, ANSWER, "r1", b"answer")
    clock.now_us += 2_500_000
    assert await join(clock, ANSWER, "r2") == Hit(b"answer", 2.5)


@pytest.mark.parametrize("size", [10, LARGE_BYTES + 1000])
async def test_an_answer_that_is_too_old_is_made_anew(state: StateConnection, size: int) -> None:
    clock = ClockedState(state)
    await join(clock, ANSWER, "r1")
    await land(clock, ANSWER, "r1", os.urandom(size))
    clock.now_us += 2_000_000
    assert isinstance(await join(clock, ANSWER, "r2", max_age_s=2.0), Hit | Large)
    assert await join(clock, ANSWER, "r3", max_age_s=1.999) == Lead()
    assert await land(clock, ANSWER, "r3", b"new")
    assert await join(clock, ANSWER, "r4", max_age_s=0.5) == Hit(b"new", 0.0)


async def test_no_answer_is_fresh_enough_for_age_zero(state: StateConnection) -> None:
    clock = ClockedState(state)
    await join(clock, ANSWER, "r1")
    await land(clock, ANSWER, "r1", b"answer")
    assert await join(clock, ANSWER, "r2", max_age_s=0) == Lead()


async def test_an_answer_of_the_future_is_a_new_one(state: StateConnection) -> None:
    clock = ClockedState(state)
    await join(clock, ANSWER, "r1")
    await land(clock, ANSWER, "r1", b"answer")
    clock.now_us -= 5_000_000
    assert await join(clock, ANSWER, "r2", max_age_s=1.0) == Hit(b"answer", 0.0)


# Idempotency keys


async def test_another_body_under_the_same_key_is_told_while_the_first_runs_and_after(state: StateConnection) -> None:
    await join(state, ONCE, "r1")
    assert await join(state, ONCE, "r2", fingerprint=OTHER_PRINT) == Reused()
    await land(state, ONCE, "r1", b"answer")
    assert await join(state, ONCE, "r2", fingerprint=OTHER_PRINT) == Reused()
    assert same(await join(state, ONCE, "r3"), b"answer")


async def test_another_body_under_the_same_key_finds_no_large_answer_either(state: StateConnection) -> None:
    await join(state, ONCE, "r1")
    await land(state, ONCE, "r1", os.urandom(2 * LARGE_BYTES))
    assert await join(state, ONCE, "r2", fingerprint=OTHER_PRINT) == Reused()


async def test_a_key_whose_first_request_has_failed_is_free_for_another_body(state: StateConnection) -> None:
    await join(state, ONCE, "r1")
    await land(state, ONCE, "r1", None)
    assert await join(state, ONCE, "r2", fingerprint=OTHER_PRINT) == Lead()


# Who is woken


class Heard:
    """What is published on some channels."""

    def __init__(self, state: StateConnection, *channels: str) -> None:
        self.messages: list[bytes] = []
        self._state = state
        self._channels = channels
        self._ready = asyncio.Event()

    async def __aenter__(self) -> list[bytes]:
        self._task = asyncio.create_task(
            self._state.listen(*self._channels, on_subscribed=self._ready.set, on_message=self.messages.append)
        )
        await asyncio.wait_for(self._ready.wait(), 5)
        return self.messages

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])


async def test_every_channel_of_a_follower_is_woken_once(state: StateConnection, slot: Slot) -> None:
    channels = [keys.wake_channel(f"w{number}") for number in range(3)]
    async with Heard(state, *channels, CHANNEL) as messages:
        await join(state, slot, "r1", channel=CHANNEL)
        for number in range(9):
            await join(state, slot, f"f{number}", channel=channels[number % 3])
        await land(state, slot, "r1", b"answer")
        await until(lambda: len(messages) >= 3)
        await state.call("PUBLISH", CHANNEL, "last")
        await until(lambda: messages[-1:] == [b"last"])
        assert messages == [f"wake {slot.digest}".encode()] * 3 + [b"last"]


async def test_who_follows_a_leader_that_fails_or_dies_is_woken(state: StateConnection) -> None:
    async with Heard(state, CHANNEL) as messages:
        await join(state, ANSWER, "r1", channel="cw:other")
        await join(state, ANSWER, "f1")
        await run_out(state, ANSWER)
        await join(state, ANSWER, "r2", channel="cw:other")
        await land(state, ANSWER, "r2", None)
        await until(lambda: bool(messages))
        assert messages == [b"wake ab12"]


async def test_an_answer_that_comes_late_wakes_those_who_follow_another_leader(state: StateConnection) -> None:
    async with Heard(state, CHANNEL) as messages:
        await join(state, ANSWER, "r1", channel="cw:other")
        await run_out(state, ANSWER)
        await join(state, ANSWER, "r2", channel="cw:other")
        await join(state, ANSWER, "f1")
        await land(state, ANSWER, "r1", b"late")
        await until(lambda: bool(messages))
        assert messages == [b"wake ab12"]


# Times to live, and damage


async def test_everything_has_its_time_to_live(state: StateConnection, slot: Slot) -> None:
    await join(state, slot, "r1")
    await join(state, slot, "r2")
    assert keys.FLIGHT_TTL_S - 5 <= await state.call("TTL", slot.flight_key) <= keys.FLIGHT_TTL_S
    await state.call("EXPIRE", slot.flight_key, 20)
    await renew(state, slot, "r1")
    assert keys.FLIGHT_TTL_S - 5 <= await state.call("TTL", slot.flight_key) <= keys.FLIGHT_TTL_S
    await land(state, slot, "r1", b"answer", ttl_s=200)
    assert 195 <= await state.call("TTL", slot.value_key) <= 200


@pytest.mark.parametrize("value", [b"", b"x", b"1 2", b"-5 \nx", b"\xff\x00\n", b"1  \n", b"nan 00\n\x00x", b"1" * 200])
async def test_an_answer_that_cannot_be_read_is_none(state: StateConnection, slot: Slot, value: bytes) -> None:
    await state.call("SET", slot.value_key, value, "EX", 60)
    assert await join(state, slot, "r1") == Lead()
    await land(state, slot, "r1", b"answer")
    assert same(await join(state, slot, "r2"), b"answer")


@pytest.mark.parametrize("packed", [b"", b"damaged", b"\x01damaged"])
async def test_an_answer_that_cannot_be_unpacked_is_deleted_by_whoever_finds_it(
    state: StateConnection, slot: Slot, packed: bytes
) -> None:
    print_ = PRINT.hex() if slot.kind == "once" else ""
    await state.call("SET", slot.value_key, f"1800000000000000 {print_}\n".encode() + packed, "EX", 60)
    assert isinstance(await join(state, slot, "r1"), Large)
    assert await fetch_large(state, slot) is None
    assert await join(state, slot, "r1") == Lead()


async def test_keys_of_another_type_count_as_absent(state: StateConnection, slot: Slot) -> None:
    await state.call("HSET", slot.value_key, "field", "1")
    await state.call("SET", slot.flight_key, "1", "EX", 60)
    assert await join(state, slot, "r1") == Lead()
    assert await join(state, slot, "r2") == Follow("r1")
    assert await land(state, slot, "r1", b"answer")
    assert same(await join(state, slot, "r3"), b"answer")
    await state.call("SET", slot.flight_key, "1", "EX", 60)
    assert await renew(state, slot, "r4")


_FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "leader": st.binary(max_size=8),
        "until_us": st.one_of(st.binary(max_size=8), st.integers(-(10**17), 10**17).map(lambda us: b"%d" % us)),
        "fingerprint": st.binary(max_size=8),
        "wake ": st.binary(max_size=8),
    },
)


@pytest.mark.parametrize("store", ["memory", "redis"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fields=_FIELDS)
def test_a_damaged_flight_ends_with_the_lease_at_the_latest(
    request: pytest.FixtureRequest, store: str, fields: dict[str, bytes]
) -> None:
    url = "memory://" if store == "memory" else request.getfixturevalue("shared_server").url

    async def body() -> None:
        state = connect(url, timeout_s=5.0)
        await state.call("FLUSHALL")
        clock = ClockedState(state)
        if fields:
            await state.call("HSET", ANSWER.flight_key, *(word for field in fields.items() for word in field))
            await state.call("EXPIRE", ANSWER.flight_key, 60)
        assert isinstance(await join(clock, ANSWER, "r1"), Lead | Follow)
        clock.now_us += LEASE_US
        assert await join(clock, ANSWER, "r1") == Lead()
        assert await renew(clock, ANSWER, "r1")
        assert await land(clock, ANSWER, "r1", b"answer")
        assert same(await join(clock, ANSWER, "r2"), b"answer")
        await state.close()

    asyncio.run(body())


async def test_a_store_that_is_full_frees_the_flight_all_the_same(server: RedisServer) -> None:
    state = connect(server.url, timeout_s=5.0)
    await join(state, ANSWER, "r1")
    server.ask("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(StateError):
        await join(state, ANSWER, "r2")
    await land(state, ANSWER, "r1", b"answer")
    server.ask("CONFIG", "SET", "maxmemory", "0")
    assert await state.call("EXISTS", ANSWER.flight_key) == 0
    await state.close()


def test_scripts_know_the_lease_that_the_gateway_renews() -> None:
    assert answers.RENEW_EVERY_S * 3 <= answers.LEASE_S
