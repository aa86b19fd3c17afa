"""Minutes and hours on both stores: workers of all replicas add up, exactly, by the server's clock, within bounds."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Iterable
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain import minutes
from app.domain.buckets import total
from app.domain.limits import Use
from app.errors import StateError
from app.observability.metrics import WorkerMetrics
from app.observability.record import RequestRecord
from app.state import connect, keys
from app.state import minutes as stored
from app.state.connection import Command, StateConnection
from app.state.minutes import BucketReader, add_minute_command
from tests.support.redis import RedisServer
from tests.support.server_clock import START_US, ClockedState

MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US
START = START_US // MINUTE_US


class CountedReads(ClockedState):
    """A store that counts how many buckets were read."""

    reads = 0

    def pipeline(self, commands: Iterable[Command], *, large: bool = False) -> Awaitable[list[Any]]:
        asked = list(commands)
        self.reads += sum(command[0] == "HGETALL" for command in asked)
        return super().pipeline(asked, large=large)


@pytest.fixture
def clocked(state: StateConnection) -> CountedReads:
    return CountedReads(state)


def reader_of(clocked: ClockedState) -> BucketReader:
    return BucketReader(cast("StateConnection", clocked))


async def add(
    state: StateConnection | ClockedState, figures: dict[str, int], peaks: dict[str, int] | None = None
) -> int:
    (minute,) = await state.pipeline([add_minute_command(figures, peaks or {})])
    if isinstance(minute, StateError):
        raise minute
    return int(minute)


async def test_what_is_added_is_read_in_its_minute_and_in_its_hour(clocked: CountedReads) -> None:
    assert await add(clocked, {minutes.REQUESTS: 3, minutes.NANO_OF_TENANT + "acme": 5}) == START
    assert await add(clocked, {minutes.REQUESTS: 2}) == START
    clocked.now_us += MINUTE_US
    await add(clocked, {minutes.REQUESTS: 1})
    reader = reader_of(clocked)
    assert [bucket.requests for bucket in await reader.minutes(3)] == [0, 5, 1]
    assert [(bucket.requests, bucket.nano_of_tenant) for bucket in await reader.hours(1)] == [(6, {"acme": 5})]


async def test_buckets_tell_when_they_were_and_how_much_of_them_has_passed(clocked: CountedReads) -> None:
    clocked.now_us += 20 * 1_000_000
    found = await reader_of(clocked).minutes(2)
    assert [(bucket.number, bucket.start_at, bucket.seconds) for bucket in found] == [
        (START - 1, 60 * START - 60, 60),
        (START, 60 * START, 21),
    ]


async def test_sums_beyond_what_lua_counts_to_are_exact(state: StateConnection) -> None:
    for nano in (2**60 + 1, 2**60 + 2):
        await add(state, {minutes.NANO: nano})
    assert total(await BucketReader(state).hours(2)).nano == 2**61 + 3


async def test_of_gauges_the_highest_is_kept(state: StateConnection) -> None:
    for sessions in (9, 70, 100, 8):
        await add(state, {}, {minutes.SESSIONS_LIVE: sessions})
    assert total(await BucketReader(state).minutes(2)).peaks == {minutes.SESSIONS_LIVE: 100}
    assert total(await BucketReader(state).hours(2)).peaks == {minutes.SESSIONS_LIVE: 100}


async def test_every_addition_sets_the_time_to_live(clocked: CountedReads) -> None:
    names = {keys.minute(START): keys.MINUTE_TTL_S, keys.hour(START // 60): keys.HOUR_TTL_S}
    for figures, peaks in (({minutes.REQUESTS: 1}, {}), ({}, {minutes.REPLICAS: 1})):
        await add(clocked, figures, peaks)
        for name, ttl_s in names.items():
            assert ttl_s - 60 < await clocked.call("TTL", name) <= ttl_s
            await clocked.call("EXPIRE", name, 10)


async def test_a_bucket_that_is_over_is_read_once(clocked: CountedReads) -> None:
    await add(clocked, {minutes.REQUESTS: 1})
    reader = reader_of(clocked)
    first = await reader.minutes(60)
    assert clocked.reads == 60
    assert await reader.minutes(60) == first
    assert clocked.reads == 61
    clocked.now_us += MINUTE_US
    await add(clocked, {minutes.REQUESTS: 2})
    assert [bucket.requests for bucket in await reader.minutes(3)] == [0, 1, 2]
    assert clocked.reads == 63, "the minute that ended since, and the running one"


async def test_no_more_is_read_and_remembered_than_is_kept(clocked: CountedReads) -> None:
    reader = reader_of(clocked)
    assert len(await reader.hours(10**9)) == stored.MOST_HOURS
    clocked.now_us += stored.MOST_HOURS * HOUR_US
    clocked.reads = 0
    await reader.hours(2)
    assert clocked.reads == 2
    await reader.hours(stored.MOST_HOURS)
    assert clocked.reads == 2 + stored.MOST_HOURS - 1, "nothing was left of the hours before"


async def test_tenants_that_find_no_room_are_one(clocked: CountedReads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "MOST_OF_MINUTE", 10)
    monkeypatch.setattr(stored, "MOST_OF_HOUR", 20)
    tenants = {f"{minutes.NANO_OF_TENANT}t{number}": 1 for number in range(25)}
    await add(clocked, {minutes.REQUESTS: 1})
    await add(clocked, tenants)
    await add(clocked, tenants | {minutes.OF_MODEL + "claude-x": 1})
    for most, (bucket,) in ((10, await reader_of(clocked).minutes(1)), (20, await reader_of(clocked).hours(1))):
        told_apart = len(bucket.nano_of_tenant) - 1
        assert told_apart == most - 1, "beside the count of requests"
        assert bucket.nano_of_tenant["t0"] == 2
        assert bucket.nano_of_tenant[minutes.OTHER] == 2 * (25 - told_apart)
        assert bucket.of_model == {"claude-x": 1}


async def test_what_cannot_be_read_is_left_out_and_written_anew(clocked: CountedReads) -> None:
    name = keys.minute(START)
    await clocked.call("HSET", name, minutes.REQUESTS, "many", minutes.ERRORS, "-3", minutes.REPLICAS, "few")
    await clocked.call("EXPIRE", name, 60)
    reader = reader_of(clocked)
    (running,) = await reader.minutes(1)
    assert (running.requests, running.errors, running.peaks) == (0, 0, {})
    await add(clocked, {minutes.REQUESTS: 4}, {minutes.REPLICAS: 2})
    (running,) = await reader.minutes(1)
    assert (running.requests, running.peaks) == (4, {minutes.REPLICAS: 2})


async def test_a_key_that_is_no_bucket_is_read_as_an_empty_one(clocked: CountedReads) -> None:
    await clocked.call("SET", keys.hour(START // 60), "x", "EX", 60)
    (hour,) = await reader_of(clocked).hours(1)
    assert hour.requests == 0
    with pytest.raises(StateError):
        await add(clocked, {minutes.REQUESTS: 1})
    assert await clocked.call("EXISTS", keys.minute(START)) == 0, "nothing was added to one of both"


def answered(worker: WorkerMetrics, status: int, *, duration_s: float, cache: str = "") -> None:
    """A request of a worker is over."""
    record = RequestRecord(
        *("r1", "POST", "/v1/chat/completions"), status=status, model_label="claude-x", cache=cache, began_at=100.0
    )
    worker.answered(record, route="/v1/chat/completions", duration_s=duration_s)


async def test_what_workers_count_is_what_is_read(state: StateConnection) -> None:
    workers = [WorkerMetrics(), WorkerMetrics()]
    for worker in workers:
        answered(worker, 200, duration_s=0.5, cache="hit")
        answered(worker, 502, duration_s=9.0)
        answered(worker, 429, duration_s=0.001)
        worker.used(tenant="acme", model="claude-x", use=Use(input_tokens=5, output_tokens=7, nano=900))
        await add(state, worker.take_minute())
    whole = total(await BucketReader(state).minutes(2))
    assert (whole.requests, whole.errors, whole.client_errors, whole.refused) == (6, 2, 2, 2)
    assert (whole.response.count, whole.response.mean_s) == (2, 0.5)
    assert (whole.cache_hit_rate, whole.of_model) == (1.0, {"claude-x": 6})
    assert (whole.tokens, whole.nano) == ({"input": 10, "output": 14}, 1800)
    assert whole.nano_of_tenant == {"acme": 1800}
    assert whole.nano_of_model == {"claude-x": 1800}


async def test_replicas_that_add_at_once_add_up(server: RedisServer) -> None:
    replicas = [connect(server.url, timeout_s=5.0) for _ in range(3)]

    async def flush(replica: StateConnection, times: int) -> None:
        for _ in range(times):
            await add(replica, {minutes.REQUESTS: 2, minutes.NANO: 10**15 + 1})

    await asyncio.gather(*(flush(replica, 20) for replica in replicas))
    whole = total(await BucketReader(replicas[0]).minutes(3))
    assert (whole.requests, whole.nano) == (120, 60 * (10**15 + 1))
    await asyncio.gather(*(replica.close() for replica in replicas))


FIGURES = st.dictionaries(
    st.sampled_from([minutes.REQUESTS, minutes.NANO, minutes.TOKENS + "input"]), st.integers(0, 2**50)
)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(FIGURES, st.integers(0, 45)), max_size=12))
def test_flushes_add_up_whenever_they_come(flushes: list[tuple[dict[str, int], int]]) -> None:
    """On the store in this process; a real server has the tests above."""
    asyncio.run(_flushes_add_up(flushes))


async def _flushes_add_up(flushes: list[tuple[dict[str, int], int]]) -> None:
    state = connect("memory://")
    clocked = ClockedState(state)
    expected = Counter[str]()
    for figures, seconds in flushes:
        await add(clocked, figures)
        expected.update(figures)
        clocked.now_us += seconds * 1_000_000
    for whole in (total(await reader_of(clocked).minutes(12)), total(await reader_of(clocked).hours(2))):
        assert whole.requests == expected[minutes.REQUESTS]
        assert whole.nano == expected[minutes.NANO]
        assert whole.tokens.get("input", 0) == expected[minutes.TOKENS + "input"]
    await state.close()
