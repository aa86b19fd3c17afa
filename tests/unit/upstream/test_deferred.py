"""The lane is opened beside the event loop, once, whoever waits for it."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator

import pytest

from app.domain.upstream import UpstreamRequest
from app.upstream.deferred import DeferredUpstream
from tests.support.fake_upstream import FakeReply, FakeUpstream

REQUEST = UpstreamRequest(path="/v1/messages", body=b"{}")


class Opening:
    """Opens a fake lane when told to; fails the first ``failures`` times."""

    def __init__(self, lane: FakeUpstream, *, failures: int = 0) -> None:
        self.lane = lane
        self.failures = failures
        self.may_open = threading.Event()
        self.times = 0

    def __call__(self) -> FakeUpstream:
        self.times += 1
        assert self.may_open.wait(5)
        if self.times <= self.failures:
            raise OSError("no disk")
        return self.lane


async def test_calls_wait_for_one_opening() -> None:
    opening = Opening(FakeUpstream(FakeReply(), FakeReply(), FakeReply()))
    upstream = DeferredUpstream(opening)
    calls = [asyncio.create_task(upstream.send(REQUEST)) for _ in range(3)]
    await asyncio.sleep(0)
    opening.may_open.set()
    await asyncio.gather(*calls)
    assert opening.times == 1
    assert len(opening.lane.requests) == 3


async def test_a_client_that_leaves_does_not_undo_the_opening() -> None:
    opening = Opening(FakeUpstream(FakeReply()))
    upstream = DeferredUpstream(opening)
    leaving = asyncio.create_task(upstream.send(REQUEST))
    staying = asyncio.create_task(upstream.send(REQUEST))
    await asyncio.sleep(0)
    leaving.cancel()
    opening.may_open.set()
    await staying
    assert leaving.cancelled()
    assert opening.times == 1


async def test_an_opening_that_failed_is_tried_again_by_the_next_call() -> None:
    opening = Opening(FakeUpstream(FakeReply()), failures=1)
    opening.may_open.set()
    upstream = DeferredUpstream(opening)
    with pytest.raises(OSError, match="no disk"):
        await upstream.start()
    await upstream.send(REQUEST)
    assert opening.times == 2


async def test_closing_closes_the_lane() -> None:
    opening = Opening(FakeUpstream())
    opening.may_open.set()
    upstream = DeferredUpstream(opening)
    await upstream.start()
    await upstream.close()
    assert opening.lane.closed


async def test_closing_before_the_first_call_opens_nothing() -> None:
    opening = Opening(FakeUpstream())
    await DeferredUpstream(opening).close()
    assert opening.times == 0


@pytest.fixture
def thawed() -> Iterator[None]:
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("thawed")
async def test_what_opening_has_made_is_left_out_of_every_collection() -> None:
    modules: list[list[str]] = []

    def open_() -> FakeUpstream:
        modules.append(["stands for what an import makes"])
        return FakeUpstream()

    await DeferredUpstream(open_).start()
    assert not any(found is modules[0] for found in gc.get_objects())


@pytest.mark.usefixtures("thawed")
async def test_the_collector_runs_again_after_opening() -> None:
    await DeferredUpstream(FakeUpstream).start()
    assert gc.isenabled()
