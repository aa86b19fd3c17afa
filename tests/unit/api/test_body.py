"""Bounds of a request body: declared size, running total, pauses, a client that leaves."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.api.body import read_body
from app.errors import BodyTooLarge, ClientDisconnected, InvalidRequest, RequestTimeout


class Client:
    """An ASGI receive channel that hands out parts and counts how many were taken."""

    def __init__(self, *parts: bytes, leaves: bool = False, pauses: bool = False) -> None:
        self.messages: list[dict[str, Any]] = [
            {"type": "http.request", "body": part, "more_body": leaves or pauses or i < len(parts) - 1}
            for i, part in enumerate(parts)
        ]
        if leaves:
            self.messages.append({"type": "http.disconnect"})
        self.taken = 0

    async def receive(self) -> Any:
        if self.taken == len(self.messages):
            await asyncio.get_running_loop().create_future()
        self.taken += 1
        return self.messages[self.taken - 1]


def scope(**headers: str) -> Any:
    return {"headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]}


async def read(client: Client, request: Any, *, max_bytes: int = 10, pause_s: float = 5.0) -> bytes:
    return await read_body(request, client.receive, max_bytes=max_bytes, pause_s=pause_s)


async def test_parts_are_joined() -> None:
    assert await read(Client(b"ab", b"cd", b"e"), scope()) == b"abcde"


async def test_a_declared_size_over_the_bound_is_refused_before_a_byte_is_read() -> None:
    client = Client(b"x" * 11)
    with pytest.raises(BodyTooLarge):
        await read(client, scope(content_length="11"))
    assert client.taken == 0


async def test_an_undeclared_body_is_refused_at_the_part_that_passes_the_bound() -> None:
    client = Client(b"x" * 6, b"x" * 6, b"x" * 6)
    with pytest.raises(BodyTooLarge):
        await read(client, scope())
    assert client.taken == 2


async def test_a_body_of_exactly_the_bound_is_accepted() -> None:
    assert await read(Client(b"x" * 10), scope(content_length="10")) == b"x" * 10


@pytest.mark.parametrize("value", ["-1", "1e3", "", "10, 10"])
async def test_a_content_length_that_is_no_number_is_refused(value: str) -> None:
    with pytest.raises(InvalidRequest, match="Content-Length"):
        await read(Client(b"x"), scope(content_length=value))


async def test_a_client_that_pauses_for_too_long_is_told_so() -> None:
    with pytest.raises(RequestTimeout):
        await read(Client(b"x", pauses=True), scope(), pause_s=0.01)


async def test_a_client_that_leaves_is_not_a_request() -> None:
    with pytest.raises(ClientDisconnected):
        await read(Client(b"x", leaves=True), scope())


@pytest.mark.parametrize("encoding", ["gzip", "br", "Deflate", "identity, gzip"])
async def test_a_compressed_body_is_refused_by_the_name_of_its_header(encoding: str) -> None:
    client = Client(b"\x1f\x8b")
    with pytest.raises(InvalidRequest, match="Content-Encoding") as raised:
        await read(client, scope(content_encoding=encoding))
    assert (raised.value.code, raised.value.param) == ("invalid_value", "header.content-encoding")
    assert client.taken == 0


async def test_a_body_that_says_it_is_not_compressed_is_accepted() -> None:
    assert await read(Client(b"ab"), scope(content_encoding="identity")) == b"ab"
