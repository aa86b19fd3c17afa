"""Functions of ``ledger.lua`` by themselves, on both stores: the calendar, and buckets that refill without drift."""

from __future__ import annotations

import datetime
import random
from importlib.resources import files
from typing import Any

import pytest

from app.state.connection import StateConnection
from app.state.scripts import script_from_text
from tests.support.ledger_model import UNIT, month_number, next_month_starts

_LEDGER = files("app.state").joinpath("scripts", "ledger.lua").read_bytes()

#: From 1970 into 2189: leap years, and 2000 and 2100 that are special.
DAYS = 80_000


async def run(state: StateConnection, code: str, *args: int) -> Any:
    """Runs Lua after ``ledger.lua``."""
    return await state.run_script(script_from_text("test", _LEDGER + b"\n" + code.encode()), (), args)


async def test_months_are_those_of_the_civil_calendar(state: StateConnection) -> None:
    code = """
    local months = {}
    for day = tonumber(ARGV[1]), tonumber(ARGV[2]) do
      local month, next_starts = month_of(day)
      months[#months + 1] = text(month) .. ' ' .. text(next_starts)
    end
    return months"""
    months: list[bytes] = []
    for start in range(0, DAYS, 4000):
        months += await run(state, code, start, start + 3999)
    assert months == [f"{month_number(day)} {next_month_starts(day)}".encode() for day in range(DAYS)]


def test_the_calendar_of_the_model_is_that_of_the_year() -> None:
    for day in range(0, DAYS, 7):
        date = datetime.date(1970, 1, 1) + datetime.timedelta(days=day)
        assert month_number(day) == date.year * 12 + date.month - 1
        later = datetime.date(1970, 1, 1) + datetime.timedelta(days=next_month_starts(day))
        assert later.day == 1
        assert 0 < (later - date).days <= 31


@pytest.mark.parametrize("limit", [1, 3, 7, 1009, 99_999_989, 100_000_000])
async def test_a_hundred_thousand_small_steps_refill_what_one_large_step_does(
    state: StateConnection, limit: int
) -> None:
    code = """
    local limit, at, balance = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
    local rates = { at = at, input = balance }
    for step = 1, 100000 do
      at = at + step % 7 + 1
      -- as it is stored and read again between two requests
      rates = read_rates(text(rates.at) .. ' - ' .. text(rates.input) .. ' -')
      refill(rates, 'input', limit, at)
      rates.at = at
    end
    return { text(rates.at), text(rates.input) }"""
    start, debt = 1_800_000_000_000_000, -50 * limit * UNIT if limit < 1_000_000 else -limit * UNIT // 2
    passed = sum(step % 7 + 1 for step in range(1, 100_001))
    at, balance = await run(state, code, limit, start, debt)
    assert (int(at), int(balance)) == (start + passed, min(limit * UNIT, debt + passed * limit))


async def test_large_numbers_are_written_as_whole_numbers(state: StateConnection) -> None:
    numbers = [0, 1, -1, 10**15, -(10**15), 1_800_014_400_123_456, 2**53 - 1, 100_000_000 * UNIT]
    numbers += [random.Random(3).randrange(2**53) for _ in range(50)]
    code = """
    local texts = {}
    for at, number in ipairs(ARGV) do
      texts[at] = text(tonumber(number))
    end
    return texts"""
    assert await run(state, code, *numbers) == [str(number).encode() for number in numbers]
