"""The lead, on both stores: one has it, and it is got back when its holder is gone."""

from __future__ import annotations

import asyncio
import time

from app.state import keys
from app.state.connection import StateConnection
from app.state.leader import lead, resign


async def test_the_first_one_leads_and_keeps_the_lead(state: StateConnection) -> None:
    first = await lead(state, "a")
    assert (first.is_held, first.is_new) == (True, True)
    assert not (await lead(state, "b")).is_held
    again = await lead(state, "a")
    assert (again.is_held, again.is_new) == (True, False)


async def test_of_many_that_ask_at_once_one_leads(state: StateConnection) -> None:
    answers = await asyncio.gather(*(lead(state, str(number)) for number in range(20)))
    assert sum(answer.is_held for answer in answers) == 1


async def test_the_lease_is_prolonged_by_its_holder_alone(state: StateConnection) -> None:
    await lead(state, "a")
    await state.call("EXPIRE", keys.LEADER, 4)
    await lead(state, "b")
    assert await state.call("TTL", keys.LEADER) <= 4
    await lead(state, "a")
    assert await state.call("TTL", keys.LEADER) > 4


async def test_a_lease_that_has_run_out_is_anybodys(state: StateConnection) -> None:
    await lead(state, "a")
    await state.call("PEXPIRE", keys.LEADER, 1)
    async with asyncio.timeout(10):
        while not (await lead(state, "b")).is_held:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.005)
    assert not (await lead(state, "a")).is_held


async def test_a_lead_that_is_given_back_is_free_at_once(state: StateConnection) -> None:
    await lead(state, "a")
    await resign(state, "b")
    assert not (await lead(state, "b")).is_held
    await resign(state, "a")
    assert (await lead(state, "b")).is_new
    await resign(state, "a")
    assert not (await lead(state, "c")).is_held


async def test_all_go_by_the_clock_of_the_store(state: StateConnection) -> None:
    first, second = await lead(state, "a"), await lead(state, "b")
    assert abs(first.at - time.time()) < 60
    assert first.at <= second.at
