"""A kept connection comes to its end in the moment in which its client sends another request: it is answered.

A load balancer that keeps connections cannot know of the end, nor repeat a request that may have been run.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from uvicorn.config import Config as UvicornConfig
from uvicorn.server import ServerState

from workers.http_protocol import ConnectionLimits, GatewayProtocol

REQUEST = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"

LIMITS = ConnectionLimits(header_timeout_s=30.0, max_header_bytes=65536, write_buffer_bytes=65536, write_timeout_s=30.0)


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Answers with two bytes; with the body of the request where it has one, as it comes."""
    if scope["method"] == "GET":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    more_body = True
    while more_body:
        message = await receive()
        more_body = message.get("more_body", False)
        await send({"type": "http.response.body", "body": message.get("body", b""), "more_body": more_body})


class Client:
    """A client whose request is in the kernel before the server's loop goes on."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    def send(self, data: bytes = REQUEST) -> None:
        assert self._socket.send(data) == len(data)

    async def receive(self) -> bytes:
        """What comes next; empty at the end of the connection."""
        async with asyncio.timeout(30):
            return await asyncio.get_running_loop().sock_recv(self._socket, 65536)


@asynccontextmanager
async def kept_connection() -> AsyncIterator[tuple[Client, GatewayProtocol]]:
    """A connection on which one request has been answered, from both of its ends."""
    loop = asyncio.get_running_loop()
    config = UvicornConfig(application, ws="none", lifespan="off", log_config=None, timeout_keep_alive=60)
    config.load()
    state = ServerState()

    def protocol() -> GatewayProtocol:
        return GatewayProtocol(
            config, state, {}, limits=LIMITS, new_request_id=lambda: "req_1", on_refused=lambda _: None
        )

    server = await loop.create_server(protocol, "127.0.0.1", 0)
    with socket.socket() as connection:
        connection.setblocking(False)
        await loop.sock_connect(connection, server.sockets[0].getsockname())
        client = Client(connection)
        client.send()
        assert (await client.receive()).startswith(b"HTTP/1.1 200")
        (ours,) = state.connections
        assert isinstance(ours, GatewayProtocol)
        yield client, ours
        server.close()
        ours.transport.abort()
        await asyncio.sleep(0)


def wait_for_the_last_request_is_over(connection: GatewayProtocol) -> None:
    connection.shutdown()
    connection._headers_late()


@pytest.mark.parametrize("end", [GatewayProtocol.shutdown, wait_for_the_last_request_is_over])
async def test_request_that_comes_as_the_worker_leaves_is_answered_and_the_last(
    end: Callable[[GatewayProtocol], None],
) -> None:
    async with kept_connection() as (client, ours):
        client.send()
        end(ours)
        reply = await client.receive()
        assert reply.startswith(b"HTTP/1.1 200")
        assert b"connection: close" in reply
        assert await client.receive() == b""


async def test_request_that_comes_as_the_connection_has_been_idle_for_too_long_is_answered() -> None:
    async with kept_connection() as (client, ours):
        client.send()
        ours.timeout_keep_alive_handler()
        reply = await client.receive()
        assert reply.startswith(b"HTTP/1.1 200")
        assert b"connection: close" not in reply
        client.send()
        assert (await client.receive()).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("end", [GatewayProtocol.shutdown, GatewayProtocol.timeout_keep_alive_handler])
async def test_connection_on_which_nothing_comes_is_closed(end: Callable[[GatewayProtocol], None]) -> None:
    async with kept_connection() as (client, ours):
        end(ours)
        assert await client.receive() == b""


@asynccontextmanager
async def begun_reply() -> AsyncIterator[tuple[Client, GatewayProtocol]]:
    """A kept connection with a reply on it that has begun; it ends when the client sends one more byte."""
    async with kept_connection() as (client, ours):
        client.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\na")
        reply = await client.receive()
        while not reply.endswith(b"1\r\na\r\n"):
            reply += await client.receive()
        assert b"connection: close" not in reply
        yield client, ours


async def ended(client: Client) -> None:
    """Ends the reply."""
    client.send(b"b")
    rest = b""
    while not rest.endswith(b"0\r\n\r\n"):
        rest += await client.receive()


async def test_request_behind_a_reply_that_had_begun_before_the_worker_left_is_answered() -> None:
    async with begun_reply() as (client, ours):
        ours.shutdown()
        await ended(client)
        client.send()
        reply = await client.receive()
        assert reply.startswith(b"HTTP/1.1 200")
        assert b"connection: close" in reply
        assert await client.receive() == b""


async def test_reply_that_runs_when_the_time_is_over_is_the_last() -> None:
    async with begun_reply() as (client, ours):
        ours.shutdown()
        ours.shutdown()
        await ended(client)
        assert ours.transport.is_closing()
        assert await client.receive() == b""


async def test_connection_on_which_nothing_comes_behind_its_last_reply_is_closed() -> None:
    async with begun_reply() as (client, ours):
        ours.shutdown()
        await ended(client)
        assert await client.receive() == b""
