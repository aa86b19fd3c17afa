"""Anthropic's side of a chat completion, for scripts of ``tests.support.raw_upstream``."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

from tests.support.chat_wire import until
from tests.support.fake_upstream import event, message, stream, text
from tests.support.raw_upstream import Peer, ReceivedRequest

#: The first events of a text answer, up to its first delta.
HEAD = b"".join(stream("Par")[:3])

#: What is left of it.
TAIL = b"".join(stream("Par")[3:])

MESSAGE = message(text("Paris."))

_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nrequest-id: req_up\r\ntransfer-encoding: chunked\r\n\r\n"
)

Script = Callable[[Peer], Awaitable[object]]


def delta(value: str) -> bytes:
    """One more piece of text."""
    return event("content_block_delta", index=0, delta={"type": "text_delta", "text": value})


def overloaded() -> bytes:
    """An error event."""
    return event("error", error={"type": "overloaded_error", "message": "Overloaded"}, request_id="req_1")


def error_body(kind: str, what: str) -> bytes:
    """The body of an error reply."""
    return json.dumps({"type": "error", "error": {"type": kind, "message": what}, "request_id": "req_1"}).encode()


def begin_stream(peer: Peer, data: bytes = b"") -> None:
    """The head of a streamed reply, and its first chunk."""
    peer.write(_STREAM_HEAD)
    if data:
        peer.chunk(data)


def end_stream(peer: Peer) -> None:
    """The end of a chunked body."""
    peer.write(b"0\r\n\r\n")


def wants_stream(request: ReceivedRequest) -> bool:
    """Whether a Messages request asks for events."""
    return json.loads(request.body).get("stream") is True


def answer(peer: Peer, request: ReceivedRequest) -> None:
    """The whole answer, in the form that was asked for."""
    if wants_stream(request):
        begin_stream(peer, HEAD + TAIL)
        end_stream(peer)
    else:
        peer.reply(200, MESSAGE, content_type="application/json")


async def keep_answering(peer: Peer) -> None:
    """A script: every request is answered, over the same connection."""
    while True:
        answer(peer, await peer.request())


class Gone:
    """When the gateway closed its upstream connections, by the loop's clock."""

    def __init__(self) -> None:
        self.reached = 0
        self.times: list[float] = []

    async def watch(self, peer: Peer) -> None:
        """Waits until the connection is closed, and notes when."""
        self.reached += 1
        await peer.gone()
        self.times.append(asyncio.get_running_loop().time())

    async def were_reached(self, count: int = 1) -> None:
        """Returns once so many connections are being watched."""
        await until(lambda: self.reached >= count)

    async def latest(self, count: int = 1) -> float:
        """When the last of so many connections was closed."""
        await until(lambda: len(self.times) >= count)
        return max(self.times)
