"""Gauges of the last hours, on both stores."""

from __future__ import annotations

from app.domain import minutes
from app.state import keys
from app.state.connection import StateConnection
from app.state.hourly_peaks import read_hourly_peaks
from app.state.minutes import add_minute_command

NAMES = (minutes.SESSIONS_SHARE, minutes.MEMORY_SHARE)


async def running_hour(state: StateConnection) -> int:
    return int((await state.call("TIME"))[0]) // 3600


async def kept(state: StateConnection, hour: int, *pairs: str | int) -> None:
    await state.pipeline([("HSET", f"{keys.HOURS}{hour}", *pairs), ("EXPIRE", f"{keys.HOURS}{hour}", 60)])


async def test_peaks_of_the_running_hour_are_read_without_what_was_counted(state: StateConnection) -> None:
    peaks = {minutes.SESSIONS_SHARE: 700, minutes.REPLICAS: 3}
    await state.pipeline([add_minute_command({minutes.REQUESTS: 5}, peaks)])
    found = await read_hourly_peaks(state, NAMES, last=3)
    assert list(found.values()) == [{minutes.SESSIONS_SHARE: 700}]
    assert abs(next(iter(found)) - await running_hour(state)) <= 1


async def test_hours_without_any_are_left_out(state: StateConnection) -> None:
    assert await read_hourly_peaks(state, NAMES, last=96) == {}


async def test_only_so_many_hours_are_read_oldest_first(state: StateConnection) -> None:
    running = await running_hour(state)
    for back in range(5):
        await kept(state, running - back, minutes.MEMORY_SHARE, 100 + back)
    found = await read_hourly_peaks(state, NAMES, last=3)
    assert list(found) == sorted(found)
    assert 2 <= len(found) <= 3  # the hour may turn meanwhile


async def test_what_cannot_be_read_is_left_out(state: StateConnection) -> None:
    running = await running_hour(state)
    await kept(state, running, minutes.SESSIONS_SHARE, "much", minutes.MEMORY_SHARE, "-5")
    await state.call("SET", f"{keys.HOURS}{running - 1}", "no hash", "EX", 60)
    assert await read_hourly_peaks(state, NAMES, last=3) == {}
