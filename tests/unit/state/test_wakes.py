"""Who waits on one worker, and who of them is woken."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

from app.state import keys
from app.state.wakes import Wakes

LONG_S = 30.0


def test_each_worker_has_a_channel_of_its_own() -> None:
    first, second = Wakes("w1"), Wakes("w2")
    assert first.channel == first.ear.channel == keys.wake_channel("w1")
    assert second.channel != first.channel


async def test_whoever_waits_for_a_name_is_woken_and_nobody_else() -> None:
    wakes = Wakes("w1")
    with wakes.expect("a") as one, wakes.expect("a") as two, wakes.expect("b") as other:
        waits = [asyncio.create_task(wake.wait(LONG_S)) for wake in (one, two)]
        await asyncio.sleep(0)
        wakes.ear.heard(b"a")
        assert await asyncio.gather(*waits) == [True, True]
        assert not await other.wait(0.01)


async def test_a_wake_before_the_wait_is_not_lost() -> None:
    wakes = Wakes("w1")
    with wakes.expect("a") as wake:
        wakes.ear.heard(b"a")
        assert await wake.wait(LONG_S)
        assert not await wake.wait(0.01)


async def test_one_wake_ends_one_wait() -> None:
    wakes = Wakes("w1")
    with wakes.expect("a") as wake:
        assert not await wake.wait(0.01)
        for _ in range(3):
            wakes.ear.heard(b"a")
            assert await wake.wait(LONG_S)


async def test_a_gap_wakes_everybody() -> None:
    wakes = Wakes("w1")
    with wakes.expect("a") as one, wakes.expect("b") as other:
        wakes.ear.gap()
        assert await one.wait(LONG_S)
        assert await other.wait(LONG_S)


async def test_whoever_has_left_is_not_missed() -> None:
    wakes = Wakes("w1")
    with wakes.expect("a") as stays:
        with wakes.expect("a") as leaves:
            pass
        wakes.ear.heard(b"a")
        assert await stays.wait(LONG_S)
        assert not await leaves.wait(0.01)
    with wakes.expect("a") as later:
        assert not await later.wait(0.01)


async def test_nothing_is_left_of_those_who_waited() -> None:
    wakes = Wakes("w1")
    before = dict(vars(wakes)["_waiting"])
    with ExitStack() as stack:
        for name in "aab":
            stack.enter_context(wakes.expect(name))
    assert vars(wakes)["_waiting"] == before


async def test_a_name_that_is_no_text_wakes_nobody() -> None:
    wakes = Wakes("w1")
    with wakes.expect("a") as wake:
        wakes.ear.heard(b"\xff")
        assert not await wake.wait(0.01)


async def test_who_waits_can_be_cancelled() -> None:
    wakes = Wakes("w1")
    with wakes.expect("a") as wake:
        task = asyncio.create_task(wake.wait(LONG_S))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
