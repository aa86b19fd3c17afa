"""Request records on both stores: what is asked for comes newest first, by pages, whatever else is in the stream."""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec
import pytest

from app.state import keys, request_log
from app.state.connection import StateConnection
from app.state.request_log import MOST_AT_ONCE, MOST_RECORDS, RecordFilter, add_records_commands, read_records

ANY = RecordFilter()


def record(number: int, **fields: Any) -> bytes:
    at = dt.datetime.now(dt.UTC).isoformat()
    usual = {"timestamp": at, "level": "INFO", "type": "chat", "tenant": "acme", "request_id": f"r{number}"}
    return msgspec.json.encode(usual | fields)


async def write(state: StateConnection, *records: bytes) -> None:
    replies = await state.pipeline(add_records_commands(records))
    assert not [reply for reply in replies if isinstance(reply, Exception)]


async def read(
    state: StateConnection, asked: RecordFilter = ANY, *, limit: int = 100, before_id: str | None = None
) -> tuple[list[str], str | None]:
    """The ids of the requests of a page, and where the next one begins."""
    page = await read_records(state, asked, limit=limit, before_id=before_id)
    return [msgspec.json.decode(one.json)["request_id"] for one in page.records], page.next


async def test_the_newest_come_first(state: StateConnection) -> None:
    await write(state, record(1), record(2))
    await write(state, record(3))
    assert await read(state) == (["r3", "r2", "r1"], None)


async def test_a_store_without_records_has_an_empty_page(state: StateConnection) -> None:
    await write(state)
    assert await read(state) == ([], None)


async def test_pages_go_on_where_the_one_before_ended(state: StateConnection) -> None:
    await write(state, *(record(number) for number in range(5)))
    seen: list[str] = []
    before = None
    for expected in (["r4", "r3"], ["r2", "r1"], ["r0"]):
        found, before = await read(state, limit=2, before_id=before)
        assert found == expected
        seen += found
    assert before is None
    assert len(seen) == len(set(seen)) == 5


async def test_a_page_that_ends_with_the_last_record_has_no_next_one(state: StateConnection) -> None:
    await write(state, record(1), record(2))
    assert await read(state, limit=2) == (["r2", "r1"], None)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (RecordFilter(level="warning"), ["r2"]),
        (RecordFilter(type="sessions"), ["r3"]),
        (RecordFilter(tenant="globex"), ["r3", "r1"]),
        (RecordFilter(tenant="globex", type="chat"), ["r1"]),
        (RecordFilter(level="ERROR"), []),
    ],
)
async def test_records_are_found_by_what_they_say(
    state: StateConnection, asked: RecordFilter, expected: list[str]
) -> None:
    await write(
        state,
        record(0),
        record(1, tenant="globex"),
        record(2, level="WARNING"),
        record(3, tenant="globex", type="sessions"),
    )
    assert (await read(state, asked))[0] == expected


async def test_records_are_found_by_their_time(state: StateConnection) -> None:
    now = dt.datetime.now(dt.UTC)
    times = [now - dt.timedelta(seconds=ago) for ago in (30, 20, 10)]
    await write(state, *(record(number, timestamp=at.isoformat()) for number, at in enumerate(times)))
    since, until = times[1].timestamp(), times[2].timestamp()
    assert (await read(state, RecordFilter(since=since)))[0] == ["r2", "r1"]
    assert (await read(state, RecordFilter(until=until)))[0] == ["r1", "r0"]
    assert (await read(state, RecordFilter(since=since, until=until)))[0] == ["r1"]


async def test_what_was_written_long_before_is_not_looked_at(state: StateConnection) -> None:
    tomorrow = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    await write(state, record(1, timestamp=tomorrow.isoformat()))
    since = (tomorrow - dt.timedelta(minutes=5)).timestamp()
    assert await read(state, RecordFilter(since=since)) == ([], None), "its clock is a day ahead"


async def test_what_cannot_be_read_is_left_out(state: StateConnection) -> None:
    await write(state, record(1), b"no json", b"[]", b"{}", record(2, timestamp="2026-11-24T10:00:00"), record(3))
    assert (await read(state))[0] == ["r3", "r1"]


async def test_a_reading_ends_after_so_many_records_and_tells_where_to_go_on(
    state: StateConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_log, "MOST_WALKED", 20)
    monkeypatch.setattr(request_log, "_BATCH", 10)
    await write(state, record(0, tenant="rare"), *(record(number) for number in range(1, 30)))
    rare = RecordFilter(tenant="rare")
    found, before = await read(state, rare)
    assert (found, before is None) == ([], False)
    assert await read(state, rare, before_id=before) == (["r0"], None)


async def test_of_too_many_at_once_the_newest_are_written(state: StateConnection) -> None:
    await write(state, *(record(number) for number in range(MOST_AT_ONCE + 3)))
    found, _ = await read(state, limit=1000)
    assert (len(found), found[-1]) == (MOST_AT_ONCE, "r3")


async def test_the_stream_is_bounded_and_lives_as_long_as_declared(state: StateConnection) -> None:
    for _ in range(MOST_RECORDS // MOST_AT_ONCE + 5):
        await write(state, *[record(1)] * MOST_AT_ONCE)
    assert MOST_RECORDS <= await state.call("XLEN", keys.REQUESTS) < 1.1 * MOST_RECORDS
    assert keys.REQUESTS_TTL_S - 60 < await state.call("TTL", keys.REQUESTS) <= keys.REQUESTS_TTL_S
