"""A client of chat completions byte by byte, in the test's event loop: what no client library would do."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Callable
from typing import Any

#: No wait for the gateway takes longer.
PATIENCE_S = 10.0

#: Stands in every prompt, and may stand in no log and no error.
PROMPT_CANARY = "canary-prompt-4711"


def chat(content: str = PROMPT_CANARY, **fields: Any) -> bytes:
    """The body of a chat completion."""
    messages = [{"role": "user", "content": content}]
    return json.dumps({"model": "claude-opus-5-5", "messages": messages, **fields}).encode()


def post(body: bytes, *, path: str = "/v1/chat/completions", headers: str = "", version: str = "1.1") -> bytes:
    """A whole request; ``headers`` are further lines, each ended by CRLF."""
    head = f"POST {path} HTTP/{version}\r\nhost: gateway\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n{headers}\r\n".encode() + body


async def until(what: Callable[[], object], *, within_s: float = PATIENCE_S) -> None:
    """Returns as soon as ``what`` is true; fails when it is not in time."""
    async with asyncio.timeout(within_s):
        while not what():  # noqa: ASYNC110 - what it watches tells nobody
            await asyncio.sleep(0.002)


class Reply:
    """A reply as it came; header names in lower case."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def error(self) -> dict[str, Any]:
        """The error object of OpenAI's shape."""
        error: dict[str, Any] = json.loads(self.body)["error"]
        return error


class Wire:
    """One connection to the gateway; leave it by ``close`` or ``reset``."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port: int, *, receive_buffer_bytes: int | None = None) -> Wire:
        """Connects; with a small receive buffer the client counts as one that hardly reads."""
        connection = socket.socket()
        if receive_buffer_bytes is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        connection.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
        except OSError:
            connection.close()
            raise
        limit = 2**16 if receive_buffer_bytes is None else max(1024, receive_buffer_bytes // 4)
        return cls(*await asyncio.open_connection(sock=connection, limit=limit))

    def send(self, data: bytes) -> None:
        """Sends bytes as they are."""
        self.writer.write(data)

    async def head(self) -> tuple[int, dict[str, str]]:
        """Status and headers of the next reply."""
        async with asyncio.timeout(PATIENCE_S):
            raw = await self.reader.readuntil(b"\r\n\r\n")
        status_line, *lines = raw.decode("latin-1").strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return int(status_line.split()[1]), headers

    async def chunk(self) -> bytes:
        """The next chunk of a chunked body; empty at its end."""
        async with asyncio.timeout(PATIENCE_S):
            size = int(await self.reader.readuntil(b"\r\n"), 16)
            data = await self.reader.readexactly(size + 2)
        return data[:-2]

    async def until(self, marker: bytes) -> bytes:
        """Everything of a chunked body up to the chunk that brings ``marker``."""
        data = b""
        while marker not in data:
            part = await self.chunk()
            assert part, f"the body ended before {marker!r}: {data!r}"
            data += part
        return data

    async def reply(self) -> Reply:
        """A whole reply, framed either way."""
        status, headers = await self.head()
        return Reply(status, headers, await self.rest(headers))

    async def rest(self, headers: dict[str, str]) -> bytes:
        """The body of a reply whose headers have come, framed either way."""
        if headers.get("transfer-encoding") == "chunked":
            parts = []
            while part := await self.chunk():
                parts.append(part)
            return b"".join(parts)
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.readexactly(int(headers.get("content-length", "0")))

    async def ended(self, within_s: float = PATIENCE_S) -> bytes:
        """What still comes until the gateway closes the connection."""
        async with asyncio.timeout(within_s):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""

    def close(self) -> None:
        """Leaves in good order (FIN)."""
        self.writer.close()

    def reset(self) -> None:
        """Leaves by a TCP reset, unless the gateway has closed the connection already."""
        if self.writer.transport.is_closing():
            return
        connection = self.writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()
