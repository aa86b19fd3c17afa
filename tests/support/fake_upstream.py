"""A way to Anthropic without a network: scripted replies, and a record of what was sent and closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import msgspec

from app.domain.upstream import UpstreamReply, UpstreamRequest
from app.errors import CapacityError, GatewayError


class FakeReply:
    """One scripted reply: chunks of bytes, errors to raise between them, events to wait for, ``...`` for ever."""

    def __init__(self, *parts: bytes | GatewayError | Any, headers: Mapping[str, str] | None = None) -> None:
        self.status = 200
        self.headers: Mapping[str, str] = headers or {}
        self.attempts = 1
        self.parts = parts
        self.taken = 0
        self.begun = asyncio.Event()
        self.closed = False

    async def read(self) -> bytes:
        return b"".join([part async for part in self.chunks()])

    async def chunks(self) -> AsyncIterator[bytes]:
        for part in self.parts:
            self.taken += 1
            self.begun.set()
            if part is ...:
                await asyncio.get_running_loop().create_future()
            if isinstance(part, GatewayError):
                raise part
            if isinstance(part, asyncio.Event):
                await part.wait()
            else:
                yield part

    async def close(self) -> None:
        self.closed = True


class FakeUpstream:
    """Hands out the scripted replies in turn; an error among them is raised, ``...`` never answers."""

    def __init__(self, *replies: FakeReply | GatewayError | Any) -> None:
        self.replies = list(replies)
        self.requests: list[UpstreamRequest] = []
        self.cancelled = 0
        self.closed = False

    async def send(self, request: UpstreamRequest) -> UpstreamReply:
        self.requests.append(request)
        reply = self.replies.pop(0)
        if not isinstance(reply, CapacityError):
            request.watch.sending()
        if reply is ...:
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        if isinstance(reply, GatewayError):
            raise reply
        return reply  # type: ignore[no-any-return]

    async def close(self) -> None:
        self.closed = True

    def sent(self, index: int) -> Any:
        """The body of a request, decoded."""
        return msgspec.json.decode(self.requests[index].body)


def message(
    *content: Mapping[str, Any], stop_reason: str = "end_turn", id_: str = "msg_1", output_tokens: int = 3
) -> bytes:
    """A plain Messages reply."""
    return msgspec.json.encode(
        {
            "id": id_,
            "type": "message",
            "role": "assistant",
            "model": "claude-opus-5-5",
            "content": list(content),
            "stop_reason": stop_reason,
            "stop_sequence": None,
            "usage": {"input_tokens": 5, "output_tokens": output_tokens},
        }
    )


def text(value: str) -> dict[str, Any]:
    """A text block."""
    return {"type": "text", "text": value}


def event(kind: str, **fields: Any) -> bytes:
    """One server-sent event as Anthropic writes it."""
    return b"event: " + kind.encode() + b"\ndata: " + msgspec.json.encode({"type": kind, **fields}) + b"\n\n"


def stream(*texts: str, stop_reason: str = "end_turn", id_: str = "msg_1", output_tokens: int = 3) -> list[bytes]:
    """The events of a text answer, one delta a text."""
    return [
        event("message_start", message=msgspec.json.decode(message(id_=id_, output_tokens=1))),
        event("content_block_start", index=0, content_block=text("")),
        *[event("content_block_delta", index=0, delta={"type": "text_delta", "text": value}) for value in texts],
        event("content_block_stop", index=0),
        event(
            "message_delta",
            delta={"stop_reason": stop_reason, "stop_sequence": None},
            usage={"output_tokens": output_tokens},
        ),
        event("message_stop"),
    ]


def data_frames(frames: bytes) -> Sequence[Any]:
    """The JSON of the ``data:`` frames of a chat stream, ``[DONE]`` as that text."""
    values = [line.removeprefix(b"data: ") for line in frames.split(b"\n\n") if line.startswith(b"data: ")]
    return [value.decode() if value == b"[DONE]" else msgspec.json.decode(value) for value in values]
