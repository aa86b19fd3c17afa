"""How an account stands, read on both stores: what runs, what is refilled, rolled over or ran out, usage by day."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from app.domain.auth import Caller, tenant_tag
from app.domain.limits import NO_LIMITS, Demand, Gauge, Hold, Limits, Use
from app.domain.usage_report import AccountReading, Counts
from app.errors import StateError
from app.schemas.admin import NewKey
from app.state import api_keys, connect, keys, limits
from app.state.connection import StateConnection
from app.state.limit_words import limit_words
from app.state.limits import TENANT, Account
from app.state.usage import read_account
from tests.support.redis import RedisServer

TAG = tenant_tag("acme")
KEY = Account(TAG, "key1")
OTHER = Account(TAG, "key2")
MODEL = "claude-opus-5"
USE = Use(input_tokens=10, cache_write_tokens=20, cache_read_tokens=30, output_tokens=40, nano=5_000)

MINUTE_US = 60_000_000
DAY_US = 86_400_000_000

_call_ids = map(str, itertools.count())


async def read(
    state: StateConnection,
    account: Account = KEY,
    *,
    own: Limits = NO_LIMITS,
    tenant: Limits = NO_LIMITS,
    days: int = 7,
) -> AccountReading:
    return await read_account(state, next(_call_ids), account, own=own, tenant=tenant, days=days)


async def admitted(
    state: StateConnection,
    request_id: str,
    account: Account = KEY,
    *,
    own: Limits = NO_LIMITS,
    tenant: Limits = NO_LIMITS,
    **demand: Any,
) -> Hold:
    caller = Caller(tag=account.tag, source="jwt", tenant="acme", key_id=account.key_id)
    verdict = await limits.admit(
        state,
        request_id,
        caller,
        Demand(model=MODEL, max_tokens=100, **demand),
        scope="inference",
        known_version=0,
        defaults=limit_words(own),
        tenant=limit_words(tenant),
        usual_output=50,
    )
    assert verdict.admitted
    return verdict.hold


async def settled(state: StateConnection, request_id: str, use: Use = USE, account: Account = KEY) -> None:
    await limits.settle(state, request_id, account, MODEL, use, admitted=True, again=False)


async def ran_out(state: StateConnection, request_id: str, account: Account = KEY) -> None:
    """The worker of a request is gone, since longer than its lease lasts."""
    for scope in (account.key_id, TENANT):
        await state.call("ZADD", keys.live(account.tag, scope), "XX", 1, request_id)


async def now_us(state: StateConnection) -> int:
    seconds, micros = await state.call("TIME")
    return int(seconds) * 1_000_000 + int(micros)


async def everything(state: StateConnection) -> dict[bytes, Any]:
    readers: dict[bytes, Callable[[bytes], tuple[Any, ...]]] = {
        b"string": lambda name: ("GET", name),
        b"hash": lambda name: ("HGETALL", name),
        b"zset": lambda name: ("ZRANGE", name, 0, -1, "WITHSCORES"),
    }
    names = await state.call("KEYS", f"cw:{{{TAG}}}:*")
    return {name: await state.call(*readers[await state.call("TYPE", name)](name)) for name in names}


async def test_an_account_that_was_never_used_has_everything_left(state: StateConnection) -> None:
    own = Limits(requests_per_minute=60, output_tokens_per_minute=1000)
    reading = await read(state, own=own, days=3)
    assert reading.key.requests == Gauge(limit=60, left=60, full_in_s=0.0)
    assert reading.key.input_tokens is None
    assert reading.key.output_tokens == Gauge(limit=1000, left=1000, full_in_s=0.0)
    assert (reading.key.in_flight, reading.key.total_nano, reading.key.reserved_nano) == (0, 0, 0)
    assert reading.days == ({}, {}, {})
    assert reading.record is None
    assert await state.call("KEYS", f"cw:{{{TAG}}}:*") == []


async def test_a_running_request_is_in_flight_and_holds_its_worst_case(state: StateConnection) -> None:
    own = Limits(concurrency=3, budget_day_nano=10**9)
    await admitted(state, "a", own=own, worst_input_nano=500, output_nano_per_token=10)
    reading = await read(state, own=own)
    for standing in (reading.key, reading.tenant):
        assert (standing.in_flight, standing.reserved_nano, standing.day_nano) == (1, 1500, 0)
    assert reading.days[0] == {}


async def test_what_was_used_is_told_by_model_and_by_class(state: StateConnection) -> None:
    own = Limits(input_tokens_per_minute=1_000_000, concurrency=3)
    await admitted(state, "a", own=own)
    await settled(state, "a")
    await admitted(state, "b", own=own)
    await settled(state, "b", Use(output_tokens=1, nano=7, estimated=True))
    await admitted(state, "c", own=own)
    await settled(state, "c", Use(requests=0, cache_hits=1))
    reading = await read(state, own=own)
    assert reading.days[0] == {
        MODEL: Counts(
            requests=2,
            cache_hits=1,
            input_tokens=10,
            cache_write_tokens=20,
            cache_read_tokens=30,
            output_tokens=41,
            nano=5_007,
            estimated_nano=7,
        )
    }
    for standing in (reading.key, reading.tenant):
        assert (standing.day_nano, standing.month_nano, standing.total_nano) == (5_007, 5_007, 5_007)
        assert (standing.in_flight, standing.reserved_nano) == (0, 0)
    assert reading.key.input_tokens is not None
    assert reading.key.input_tokens.left >= 1_000_000 - 30


async def test_spend_of_all_keys_is_the_tenants_and_usage_that_of_the_key(state: StateConnection) -> None:
    for request_id, account in (("a", KEY), ("b", OTHER)):
        await admitted(state, request_id, account)
        await settled(state, request_id, account=account)
    reading = await read(state)
    assert (reading.key.total_nano, reading.tenant.total_nano) == (5_000, 10_000)
    assert reading.days[0][MODEL].requests == 1


async def test_a_balance_is_refilled_up_to_now(state: StateConnection) -> None:
    own = Limits(requests_per_minute=60, input_tokens_per_minute=600, output_tokens_per_minute=6)
    at = await now_us(state) - MINUTE_US // 2
    await state.call("SET", keys.rates(TAG, KEY.key_id), f"{at} 0 -{1200 * MINUTE_US} {6 * MINUTE_US}")
    standing = (await read(state, own=own)).key
    assert standing.requests is not None
    assert standing.input_tokens is not None
    assert 30 <= standing.requests.left <= 59
    assert 1 <= standing.requests.full_in_s <= 30
    assert standing.input_tokens.left == 0
    assert 120 <= standing.input_tokens.full_in_s <= 150
    assert standing.output_tokens == Gauge(limit=6, left=6, full_in_s=0.0)


async def test_a_clock_that_went_back_refills_nothing(state: StateConnection) -> None:
    at = await now_us(state) + 60 * MINUTE_US
    await state.call("SET", keys.rates(TAG, KEY.key_id), f"{at} {15 * MINUTE_US} - -")
    standing = (await read(state, own=Limits(requests_per_minute=60))).key
    assert standing.requests == Gauge(limit=60, left=15, full_in_s=45.0)


async def test_spend_begins_anew_with_the_day_and_the_month(state: StateConnection) -> None:
    day, month = (first := (await read(state)).key).day, first.month
    await state.call("SET", keys.spend(TAG, KEY.key_id), f"{day - 1} 11 {month} 22 33 44")
    await state.call("SET", keys.spend(TAG, TENANT), f"{day - 40} 11 {month - 1} 22 33 0")
    reading = await read(state)
    key, tenant = reading.key, reading.tenant
    assert (key.day, key.day_nano, key.month, key.month_nano) == (day, 0, month, 22)
    assert (key.total_nano, key.reserved_nano) == (33, 44)
    assert (tenant.day_nano, tenant.month_nano, tenant.total_nano) == (0, 0, 33)


async def test_days_are_read_across_midnight_and_no_more_than_were_asked_for(state: StateConnection) -> None:
    today = (await read(state)).today
    for ago in range(4):
        await state.call("HSET", f"{keys.usage(TAG, KEY.key_id)}{today - ago}", f"{MODEL} requests", ago + 1)
    await state.call("HSET", f"{keys.usage(TAG, OTHER.key_id)}{today}", f"{MODEL} requests", 100)
    reading = await read(state, days=3)
    assert [day[MODEL].requests for day in reading.days] == [1, 2, 3]
    assert (await read(state, days=31)).days[4:] == ({},) * 27


async def test_what_cannot_be_read_is_left_out(state: StateConnection) -> None:
    today = (await read(state)).today
    await state.call("SET", keys.spend(TAG, KEY.key_id), "nonsense")
    await state.call("SET", keys.rates(TAG, KEY.key_id), "nonsense")
    name = f"{keys.usage(TAG, KEY.key_id)}{today}"
    junk = (f"{MODEL} later_class", 1, f"{MODEL} cost", "x", b"\xff output", 2, f"{MODEL} input", 3, "", 4)
    await state.call("HSET", name, *junk)
    reading = await read(state, own=Limits(requests_per_minute=5))
    assert reading.days[0] == {MODEL: Counts(input_tokens=3), "\ufffd": Counts(output_tokens=2)}
    assert reading.key.total_nano == 0
    assert reading.key.requests == Gauge(limit=5, left=5, full_in_s=0.0)


async def test_a_lease_that_ran_out_is_charged_and_not_in_flight(state: StateConnection) -> None:
    own = Limits(concurrency=2, budget_day_nano=10**9)
    await admitted(state, "killed", own=own, input_tokens=10, input_nano=40, output_nano_per_token=10)
    await ran_out(state, "killed")
    for _ in range(2):
        reading = await read(state, own=own)
        for standing in (reading.key, reading.tenant):
            assert (standing.in_flight, standing.reserved_nano, standing.day_nano) == (0, 0, 40)
        assert reading.days[0] == {MODEL: Counts(requests=1, input_tokens=10, nano=40, estimated_nano=40)}
    await settled(state, "killed", Use(input_tokens=12, output_tokens=3, nano=50))
    reading = await read(state, own=own)
    assert (reading.key.day_nano, reading.tenant.day_nano) == (50, 50)
    assert reading.days[0] == {MODEL: Counts(requests=1, input_tokens=12, output_tokens=3, nano=50)}


@pytest.mark.parametrize("reader", [KEY, OTHER, Account(TAG, TENANT)])
async def test_all_streams_of_a_killed_worker_are_charged_at_once(state: StateConnection, reader: Account) -> None:
    for number in range(50):
        await admitted(state, f"killed-{number}", KEY if number % 2 else OTHER, input_nano=2)
    for number in range(50):
        await ran_out(state, f"killed-{number}", KEY if number % 2 else OTHER)
    reading = await read(state, reader)
    assert (reading.tenant.in_flight, reading.tenant.total_nano) == (0, 100)
    for account in (KEY, OTHER):
        assert (await read(state, account)).days[0][MODEL].requests == 25


async def test_reading_writes_nothing_while_no_lease_has_run_out(state: StateConnection) -> None:
    own = Limits(requests_per_minute=5, concurrency=5, budget_total_nano=10**9)
    await admitted(state, "a", own=own, tenant=own)
    await settled(state, "a")
    await admitted(state, "b", own=own, tenant=own)
    before = await everything(state)
    await read(state, own=own, tenant=own)
    assert await everything(state) == before


async def test_a_tenant_is_read_over_all_its_keys(state: StateConnection) -> None:
    tenant = Limits(concurrency=5, budget_day_nano=10**9)
    for request_id, account in (("a", KEY), ("b", OTHER)):
        await admitted(state, request_id, account, tenant=tenant)
    await settled(state, "b", account=OTHER)
    reading = await read(state, Account(TAG, TENANT), tenant=tenant, days=0)
    assert reading.tenant == (await read(state, tenant=tenant)).tenant
    assert (reading.tenant.in_flight, reading.tenant.total_nano) == (1, 5_000)
    assert reading.days == ()


async def test_the_record_of_a_stored_key_comes_along(state: StateConnection) -> None:
    issued = await api_keys.create(state, NewKey(tenant="acme", name="batch"), actor="test:1", now=1.0)
    stored = Account(TAG, issued.key.id)
    assert (await read(state, stored)).record == issued.key
    await state.call("HSET", keys.api_key(TAG, issued.key.id), "doc", "nonsense")
    with pytest.raises(StateError, match="cannot be read"):
        await read(state, stored)


async def test_every_key_that_a_reading_writes_has_a_time_to_live(state: StateConnection) -> None:
    await admitted(state, "killed", input_nano=2)
    await ran_out(state, "killed")
    await read(state)
    for name in await state.call("KEYS", "*"):
        assert await state.call("TTL", name) > 0


async def test_thirty_one_days_are_one_round_trip(server: RedisServer) -> None:
    state = connect(server.url, timeout_s=5.0)
    today = (await read(state, days=31)).today
    counts = [word for model in range(20) for word in (f"model-{model} output", 10**12)]
    for ago in range(31):
        await state.call("HSET", f"{keys.usage(TAG, KEY.key_id)}{today - ago}", *counts)
    before = _reads(server)
    readings = [await read(state, days=31) for _ in range(5)]
    # Our own question about it is 2 reads at most: the command, and the end of its connection.
    assert _reads(server) - before <= 5 + 2
    assert {len(day) for reading in readings for day in reading.days} == {20}
    await state.close()


def _reads(server: RedisServer) -> int:
    info = server.ask("INFO", "stats")
    assert isinstance(info, bytes)
    return next(int(line.split(b":")[1]) for line in info.splitlines() if line.startswith(b"total_reads_processed"))
