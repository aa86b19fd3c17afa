"""A proxy that misbehaves on command, between any client and any server over TCP or unix sockets.

It runs in the test's own event loop and forwards bytes without knowing the protocol. Faults are attributes and methods
and take effect at once, on open connections too:

- ``delay_s``: every chunk, in both directions, is handed on this much later, in order;
- ``cut_after_bytes``: a connection is reset once the server has sent this many bytes over it;
- ``freeze()`` / ``thaw()``: nothing is handed on, and nothing is lost;
- ``black_hole``: bytes vanish; connections are accepted and stay open;
- ``deaf``: what the server sends vanishes, what it is sent arrives;
- ``dead_links``: the same for single connections, by the order in which they were accepted, from 1;
- ``refuse()`` / ``accept()``: new connections are refused;
- ``reset_all()``: every open connection is reset now; ``reset(number)``: a single one, of ``open_links``;
- ``lead_to(target)``: new connections lead elsewhere, and the open ones are reset, as in a failover.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias

#: Host and port, or the path of a unix socket.
Target: TypeAlias = tuple[str, int] | Path

_CHUNK_BYTES = 65536


class FaultProxy:
    """Forwards connections to ``target``; use ``fault_proxy`` to make one."""

    def __init__(self, target: Target, tls: ssl.SSLContext | None) -> None:
        self._target = target
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._open = asyncio.Event()
        self._open.set()
        self._links: set[asyncio.Task[None]] = set()
        self._writers: dict[int, asyncio.StreamWriter] = {}
        self.port = 0
        self.delay_s = 0.0
        self.cut_after_bytes: int | None = None
        self.black_hole = False
        self.deaf = False
        self.dead_links: set[int] = set()
        #: Connections accepted so far.
        self.accepted = 0

    async def accept(self) -> None:
        """Listens, on the same port as before."""
        self._server = await asyncio.start_server(self._link, "127.0.0.1", self.port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Stops listening; open connections live on."""
        assert self._server is not None
        self._server.close()

    def freeze(self) -> None:
        """Hands nothing on until ``thaw``."""
        self._open.clear()

    def thaw(self) -> None:
        """Hands on what was kept, and what comes."""
        self._open.set()

    def reset_all(self) -> None:
        """Resets every open connection."""
        for number in self.open_links:
            self.reset(number)

    @property
    def open_links(self) -> list[int]:
        """The open connections, by the order in which they were accepted."""
        return sorted(self._writers)

    def reset(self, number: int) -> None:
        """Resets one open connection."""
        _reset(self._writers[number])

    def lead_to(self, target: Target) -> None:
        """Lets new connections lead elsewhere, and resets the open ones."""
        self._target = target
        self.reset_all()

    async def close(self) -> None:
        """Ends the proxy."""
        if self._server is not None:
            self._server.close()
        for link in tuple(self._links):
            link.cancel()
        await asyncio.gather(*self._links, return_exceptions=True)

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.accepted = number = self.accepted + 1
        self._links.add(task)
        self._writers[number] = writer
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await self._forward(number, reader, writer)
        finally:
            writer.transport.abort()
            del self._writers[number]
            self._links.discard(task)

    async def _forward(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        match self._target:
            case Path():
                upstream_reader, upstream_writer = await asyncio.open_unix_connection(str(self._target))
            case (host, port):
                upstream_reader, upstream_writer = await asyncio.open_connection(host, port)
        try:
            pumps = {
                asyncio.ensure_future(self._pump(number, reader, upstream_writer, None)),
                asyncio.ensure_future(self._pump(number, upstream_reader, writer, writer)),
            }
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        finally:
            upstream_writer.transport.abort()

    async def _pump(
        self,
        number: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        downstream: asyncio.StreamWriter | None,
    ) -> None:
        """One direction; ``downstream`` is the client's writer where bytes to the client are counted."""
        late: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        async def hand_on() -> None:
            sent_bytes = 0
            while True:
                due_at, data = await late.get()
                if not data:  # the other side has finished
                    return
                await asyncio.sleep(max(0.0, due_at - loop.time()))
                await self._open.wait()
                if self.black_hole or number in self.dead_links or (self.deaf and downstream is not None):
                    continue
                if downstream is not None and self.cut_after_bytes is not None:
                    room = self.cut_after_bytes - sent_bytes
                    if room < len(data):
                        writer.write(data[: max(0, room)])
                        await asyncio.sleep(0)
                        _reset(downstream)
                        return
                writer.write(data)
                sent_bytes += len(data)
                await writer.drain()

        sender = asyncio.ensure_future(hand_on())
        try:
            while data := await reader.read(_CHUNK_BYTES):
                if sender.done():
                    return
                late.put_nowait((loop.time() + self.delay_s, data))
            late.put_nowait((loop.time(), b""))
            await sender
        finally:
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Ends a connection with RST instead of FIN, after what was written before."""
    if writer.transport.is_closing():
        return
    raw: socket.socket | None = writer.get_extra_info("socket")
    if raw is not None and raw.family != socket.AF_UNIX:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@asynccontextmanager
async def fault_proxy(target: Target, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[FaultProxy]:
    """A proxy in front of ``target``, listening on ``127.0.0.1:proxy.port``; ``tls`` makes it speak TLS to the
    client."""
    proxy = FaultProxy(target, tls)
    await proxy.accept()
    try:
        yield proxy
    finally:
        await proxy.close()
