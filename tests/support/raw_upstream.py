"""A server for tests that speaks HTTP byte by byte, or does not: each test scripts what happens on a connection.

async def script(peer: Peer) -> None:
    await peer.request()
    peer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")

async with raw_upstream(script) as upstream: ... upstream.base_url
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class ReceivedRequest:
    """One request as it came over the wire; header names in lower case."""

    line: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for known, value in self.headers if known == name), None)


class Peer:
    """The server's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self.reader = reader
        self.writer = writer
        self.number = number
        """0 for the first connection that was accepted."""

    async def head(self) -> tuple[str, list[tuple[str, str]]]:
        """Reads a request line and headers."""
        raw = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *lines = raw[:-4].split("\r\n")
        return line, [(name.lower(), value) for name, _, value in (one.partition(": ") for one in lines)]

    async def request(self) -> ReceivedRequest:
        """Reads one whole request."""
        line, headers = await self.head()
        length = int(dict(headers).get("content-length", "0"))
        return ReceivedRequest(line, headers, await self.reader.readexactly(length))

    def write(self, data: bytes) -> None:
        if self.writer.is_closing():  # uvloop's own word for it is RuntimeError
            raise ConnectionResetError("the client is gone")
        self.writer.write(data)

    def reply(self, status: int, body: bytes = b"{}", **headers: str) -> None:
        """Writes a whole reply with a content length; ``_`` in a header's name stands for ``-``."""
        lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.write("\r\n".join([*lines, "", ""]).encode() + body)

    def chunk(self, data: bytes) -> None:
        self.write(b"%x\r\n%b\r\n" % (len(data), data))

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """Ends the connection with a TCP reset."""
        connection = self.writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def gone(self) -> None:
        """Waits until the client has closed the connection; what still comes before that is dropped."""
        with suppress(ConnectionError):
            while await self.reader.read(65536):
                pass


@dataclass
class RawUpstream:
    """A running server."""

    base_url: str
    peers: list[Peer] = field(default_factory=list)


Script = Callable[[Peer], Awaitable[object]]


@asynccontextmanager
async def raw_upstream(script: Script, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[RawUpstream]:
    """Runs a server on loopback that runs ``script`` for every connection; errors of a script fail the test."""
    failures: list[BaseException] = []
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        peer = Peer(reader, writer, len(upstream.peers))
        upstream.peers.append(peer)
        try:
            await script(peer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client went away, which is what many tests are about
        except BaseException as exc:
            failures.append(exc)
        finally:
            writer.close()
            tasks.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls, limit=2**20)
    port = server.sockets[0].getsockname()[1]
    upstream = RawUpstream(f"{'https' if tls else 'http'}://127.0.0.1:{port}")
    try:
        yield upstream
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for peer in upstream.peers:
            peer.writer.transport.abort()
        await asyncio.sleep(0)
    if failures:
        raise failures[0]


async def keep_answering(peer: Peer) -> None:
    """A script: every request gets the same small reply, over the same connection."""
    while True:
        await peer.request()
        peer.reply(200, b'{"ok":true}')
