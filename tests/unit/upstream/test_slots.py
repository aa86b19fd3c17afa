from __future__ import annotations

import asyncio

import pytest

from app.errors import Overloaded, ShuttingDown
from app.upstream.slots import Slots


async def settle() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_a_free_slot_is_taken_without_a_turn_of_the_loop():
    slots = Slots(limit=1, wait_s=1)
    with pytest.raises(StopIteration):
        slots.take().send(None)
    assert slots.free == 0


async def test_beyond_the_limit_a_call_without_patience_is_refused():
    slots = Slots(limit=1, wait_s=0)
    await slots.take()
    with pytest.raises(Overloaded) as raised:
        await slots.take()
    assert raised.value.retry_after_s == 1.0


async def test_a_wait_that_is_too_long_is_refused_and_leaves_nothing():
    slots = Slots(limit=1, wait_s=0.01)
    await slots.take()
    with pytest.raises(Overloaded):
        await slots.take()
    assert slots.waiting == 0
    slots.give_back()
    assert slots.free == 1


async def test_who_waits_longest_goes_first():
    slots = Slots(limit=1, wait_s=5)
    await slots.take()
    order = []

    async def call(name: str) -> None:
        await slots.take()
        order.append(name)
        slots.give_back()

    calls = [asyncio.create_task(call(name)) for name in "abc"]
    await settle()
    slots.give_back()
    await asyncio.gather(*calls)
    assert order == ["a", "b", "c"]
    assert slots.free == 1


async def test_a_cancelled_wait_leaves_nothing():
    slots = Slots(limit=1, wait_s=5)
    await slots.take()
    waiting = asyncio.create_task(slots.take())
    await settle()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert slots.waiting == 0
    slots.give_back()
    assert slots.free == 1


async def test_a_slot_handed_to_a_call_cancelled_in_the_same_moment_goes_on_to_the_next():
    slots = Slots(limit=1, wait_s=5)
    await slots.take()
    first, second = asyncio.create_task(slots.take()), asyncio.create_task(slots.take())
    await settle()
    slots.give_back()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await second
    slots.give_back()
    assert (slots.free, slots.waiting) == (1, 0)


async def test_closing_refuses_those_who_wait_and_those_who_come():
    slots = Slots(limit=1, wait_s=5)
    await slots.take()
    waiting = asyncio.create_task(slots.take())
    await settle()
    slots.close()
    with pytest.raises(ShuttingDown):
        await waiting
    with pytest.raises(ShuttingDown):
        await slots.take()
    slots.give_back()
    assert slots.free == 1
