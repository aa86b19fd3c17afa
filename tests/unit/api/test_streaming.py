"""Server-sent events to a client: early errors, comments, slow readers, clients that leave, workers that stop."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.api.streaming import PING, EventStream
from app.errors import ClientDisconnected, InternalError, ShuttingDown, UpstreamTimeout


class Source:
    """Frames handed in by the test; an error among them is raised."""

    def __init__(self, *items: bytes | Exception, last: bool = True) -> None:
        self.queue: asyncio.Queue[bytes | Exception] = asyncio.Queue()
        for item in items:
            self.queue.put_nowait(item)
        self.last = last
        self.holds_back = False
        self.finished = False
        self.closed = False

    async def next(self) -> bytes:
        item = await self.queue.get()
        if isinstance(item, Exception):
            raise item
        self.finished = self.last and self.queue.empty()
        return item

    async def close(self) -> None:
        self.closed = True


class Client:
    """An ASGI client: ``stalls`` makes it take nothing after that many messages."""

    def __init__(self, stalls: int | None = None) -> None:
        self.messages: list[dict[str, Any]] = []
        self.left = asyncio.Event()
        self.arrived = asyncio.Event()
        self.stalls = stalls
        self.stalled = asyncio.Event()
        self.stalled_on: list[bytes] = []

    async def receive(self) -> Any:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if self.stalls is not None and len(self.messages) >= self.stalls:
            self.stalled_on.append(message["body"])
            self.stalled.set()
            await asyncio.get_running_loop().create_future()
        self.messages.append(message)
        self.arrived.set()

    @property
    def bodies(self) -> list[bytes]:
        return [message["body"] for message in self.messages if message["type"] == "http.response.body"]


def event_stream(source: Source, *, keepalive_s: float = 60.0) -> EventStream:
    return EventStream(
        source,
        headers=lambda: [(b"x-test", b"1")],
        error_frame=lambda error: f"error:{error.code}".encode(),
        keepalive_s=keepalive_s,
        unexpected=lambda _: InternalError("A bug."),
    )


async def test_frames_leave_as_they_come_and_the_last_one_ends_the_reply() -> None:
    source, client = Source(b"one", b"two"), Client()
    await event_stream(source).serve(client.receive, client.send)
    start, *bodies = client.messages
    assert start["status"] == 200
    assert (b"x-accel-buffering", b"no") in start["headers"]
    assert (b"x-test", b"1") in start["headers"]
    assert [(body["body"], body["more_body"]) for body in bodies] == [(b"one", True), (b"two", False)]
    assert source.closed


async def test_an_error_before_the_first_frame_is_left_to_a_status() -> None:
    source, client = Source(UpstreamTimeout("slow", phase="first_byte")), Client()
    with pytest.raises(UpstreamTimeout):
        await event_stream(source).serve(client.receive, client.send)
    assert client.messages == []
    assert source.closed


async def test_an_error_after_the_first_frame_comes_in_band_and_ends_the_reply() -> None:
    source, client = Source(b"one", UpstreamTimeout("slow", phase="idle"), last=False), Client()
    stream = event_stream(source)
    await stream.serve(client.receive, client.send)
    assert client.bodies == [b"one", b"error:timeout"]
    assert client.messages[-1]["more_body"] is False
    assert isinstance(stream.error, UpstreamTimeout)


async def test_silence_is_filled_with_comments_before_the_first_frame_too() -> None:
    source, client = Source(), Client()
    task = asyncio.create_task(event_stream(source, keepalive_s=0.01).serve(client.receive, client.send))
    while len(client.bodies) < 2:
        client.arrived.clear()
        await asyncio.wait_for(client.arrived.wait(), 5)
    source.queue.put_nowait(b"answer")
    await task
    assert client.messages[0]["type"] == "http.response.start"
    assert client.bodies[:2] == [PING, PING]
    assert client.bodies[-1] == b"answer"


async def test_an_error_after_a_comment_comes_in_band() -> None:
    source, client = Source(last=False), Client()
    task = asyncio.create_task(event_stream(source, keepalive_s=0.01).serve(client.receive, client.send))
    await asyncio.wait_for(client.arrived.wait(), 5)
    source.queue.put_nowait(UpstreamTimeout("slow", phase="first_byte"))
    await task
    assert client.bodies[-1] == b"error:timeout"


async def test_a_client_that_leaves_ends_the_source() -> None:
    source, client = Source(b"one", last=False), Client()
    task = asyncio.create_task(event_stream(source).serve(client.receive, client.send))
    await asyncio.wait_for(client.arrived.wait(), 5)
    client.left.set()
    with pytest.raises(ClientDisconnected):
        await task
    assert source.closed


async def test_a_client_that_leaves_before_the_first_frame_ends_the_source() -> None:
    source, client = Source(), Client()
    client.left.set()
    with pytest.raises(ClientDisconnected):
        await event_stream(source).serve(client.receive, client.send)
    assert source.closed
    assert client.messages == []


async def test_a_client_that_takes_nothing_gets_no_comments() -> None:
    source, client = Source(b"one", b"two", last=False), Client(stalls=2)
    task = asyncio.create_task(event_stream(source, keepalive_s=0.01).serve(client.receive, client.send))
    await asyncio.wait_for(client.stalled.wait(), 5)
    await asyncio.sleep(0.05)
    client.left.set()
    with pytest.raises(ClientDisconnected):
        await task
    assert client.stalled_on == [b"two"]


async def test_a_bug_after_the_first_frame_is_told_in_band() -> None:
    source, client = Source(b"one", ZeroDivisionError(), last=False), Client()
    await event_stream(source).serve(client.receive, client.send)
    assert client.bodies == [b"one", b"error:internal_error"]
    assert source.closed


async def test_a_bug_before_the_first_frame_is_left_to_a_status() -> None:
    source, client = Source(ZeroDivisionError()), Client()
    with pytest.raises(InternalError):
        await event_stream(source).serve(client.receive, client.send)
    assert client.messages == []


async def test_a_worker_that_stops_says_so_in_band() -> None:
    source, client = Source(b"one", last=False), Client()
    stream = event_stream(source)
    task = asyncio.create_task(stream.serve(client.receive, client.send))
    await asyncio.wait_for(client.arrived.wait(), 5)
    await asyncio.sleep(0)
    task.cancel()
    await task
    assert client.bodies == [b"one", b"error:server_shutting_down"]
    assert source.closed


async def test_a_worker_that_stops_before_the_first_frame_leaves_it_to_a_status() -> None:
    source, client = Source(), Client()
    task = asyncio.create_task(event_stream(source).serve(client.receive, client.send))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(ShuttingDown):
        await task
    assert source.closed


async def test_no_comment_leaves_while_a_bounded_wait_may_still_decide_on_the_status() -> None:
    source, client = Source(), Client()
    source.holds_back = True
    stream = event_stream(source, keepalive_s=0.01)
    task = asyncio.create_task(stream.serve(client.receive, client.send))
    await asyncio.sleep(0.05)
    assert not client.messages
    source.queue.put_nowait(UpstreamTimeout("late", phase="first_byte"))
    with pytest.raises(UpstreamTimeout):
        await task
    assert not stream.started


async def test_a_comment_leaves_soon_after_the_wait_is_over() -> None:
    source, client = Source(), Client()
    source.holds_back = True
    task = asyncio.create_task(event_stream(source, keepalive_s=0.01).serve(client.receive, client.send))
    await asyncio.sleep(0.03)
    source.holds_back = False
    async with asyncio.timeout(5):
        await client.arrived.wait()
        source.queue.put_nowait(b"last")
        await task
    assert client.bodies[0] == PING
