"""The store in memory, where it differs from a server; what both do is in ``tests/integration/state``."""

from __future__ import annotations

import asyncio

import pytest

from app.domain.histograms import Histogram
from app.state.memory import MemoryConnection
from app.state.scripts import script_from_text


@pytest.mark.parametrize("turns", range(9))
async def test_call_that_is_cancelled_ends_so_at_any_moment(turns: int) -> None:
    store = MemoryConnection()
    call = asyncio.create_task(store.call("PING"))
    for _ in range(turns):
        await asyncio.sleep(0)
    assert call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await store.close()


SCRIPT = script_from_text("answer", b"return 1")


@pytest.mark.parametrize("turns", range(18))
async def test_a_script_that_is_cancelled_ends_so_at_any_moment(turns: int) -> None:
    store = MemoryConnection()
    call = asyncio.create_task(store.run_script(SCRIPT, ()))  # its text has to be sent as well
    for _ in range(turns):
        await asyncio.sleep(0)
    if call.cancel():
        with pytest.raises(asyncio.CancelledError):
            await call
    else:
        assert call.result() == 1
    await store.close()


async def test_every_call_takes_its_time_also_one_that_is_refused() -> None:
    times = Histogram()
    store = MemoryConnection(times=times)
    await store.call("PING")
    await store.pipeline([("GET", "a"), ("NO SUCH COMMAND",)])
    assert sum(times.counts) == 3
    assert times.total_s > 0
    await store.close()
