"""The end of a worker: stop accepting, let requests finish, end those that do not in good order, exit with 0.

uvicorn's own server cancels what is left and does not wait for it, dies by the signal it was sent, and outlives its
master. Source: DESIGN.md sections 2 and 5.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any

from msgspec import Struct
from uvicorn.config import Config as UvicornConfig
from uvicorn.server import Server

log = logging.getLogger(__name__)

#: What a request's task is cancelled with at the limit; the application tells its client so.
SHUTTING_DOWN = "server_shutting_down"

#: Requests still open this long before the limit are cancelled, so that they can end in good order.
CLEAN_UP_S = 5.0

#: After SIGQUIT gunicorn leaves a worker two seconds: this long for its requests, and again for the application.
FORCED_S = 0.8

_POLL_S = 0.05


class GracePeriods(Struct, frozen=True, kw_only=True):
    """How long a worker takes to leave, in seconds.

    Args:
        drain_delay_s: it goes on accepting this long, while it says that it is not ready.
        finish_s: then requests in flight may finish.
        clean_up_s: then they are cancelled, and may tell their clients and settle.
        close_s: then the application closes what it holds.
    """

    drain_delay_s: float
    finish_s: float
    clean_up_s: float
    close_s: float

    @classmethod
    def within(cls, limit_s: float, *, drain_delay_s: float) -> GracePeriods:
        """The periods of a worker that is killed ``drain_delay_s + limit_s`` after SIGTERM."""
        margin_s = min(CLEAN_UP_S, limit_s / 2)
        return cls(
            drain_delay_s=drain_delay_s,
            finish_s=limit_s - margin_s,
            clean_up_s=0.6 * margin_s,
            close_s=0.3 * margin_s,
        )


class GatewayServer(Server):
    """uvicorn's server, with another end.

    Args:
        config: uvicorn's configuration.
        parent_pid: the master; when it is gone, the worker leaves.
        periods: how long the worker takes to leave.
        on_ready: called once the worker accepts connections.
        on_leaving: called when the worker has been told to leave, before it stops accepting.
    """

    def __init__(
        self,
        config: UvicornConfig,
        *,
        parent_pid: int,
        periods: GracePeriods,
        on_ready: Callable[[], None],
        on_leaving: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._parent_pid = parent_pid
        self._periods = periods
        self._on_ready = on_ready
        self._on_leaving = on_leaving
        self._leaving = False
        self._cancelled = False

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serves until told to leave: SIGTERM lets requests finish, SIGQUIT does not."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.leave)
        loop.add_signal_handler(signal.SIGQUIT, self.leave_at_once)
        await self._serve(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts the application, then accepts."""
        await super().startup(sockets)
        if self.started:
            self._on_ready()

    def leave(self) -> None:
        """Starts the end; saying it twice changes nothing."""
        if self._leaving:
            return
        self._leaving = True
        self._on_leaving()
        if self._periods.drain_delay_s and self.started:
            asyncio.get_running_loop().call_later(self._periods.drain_delay_s, self._stop_accepting)
        else:
            self._stop_accepting()

    def leave_at_once(self) -> None:
        """Ends without waiting for requests in flight."""
        self.leave()
        self.force_exit = True
        self._stop_accepting()

    def _stop_accepting(self) -> None:
        self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: heartbeat, date header, and whether to go on."""
        if os.getppid() != self._parent_pid and not self._leaving:
            log.error("The gateway's master process died; worker %d leaves.", os.getpid())
            self.leave()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stops accepting, waits, cancels, waits, closes the application."""
        await self._stop_listening(sockets or [])
        for connection in list(self.server_state.connections):
            connection.shutdown()
        if not await self._finished_within(self._periods.finish_s):
            await self._cancel_requests()
        try:
            async with asyncio.timeout(self._shortened(self._periods.close_s)):
                await self.lifespan.shutdown()
        except TimeoutError:
            log.error("The application did not close in time.")  # noqa: TRY400 - the trace is ours

    async def _stop_listening(self, sockets: list[socket.socket]) -> None:
        """Closes the listening sockets, but takes what the kernel has accepted for us, which it would reset."""
        waiting = [connection for sock in sockets for connection in _accepted(sock)]
        for server in self.servers:
            server.close()
        for sock in sockets:
            sock.close()
        for connection in waiting:
            await asyncio.get_running_loop().connect_accepted_socket(self._new_protocol, connection)

    def _new_protocol(self) -> asyncio.Protocol:
        make: Any = self.config.http_protocol_class
        protocol: asyncio.Protocol = make(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol

    async def _cancel_requests(self) -> None:
        open_requests = len(self.server_state.tasks)
        if open_requests:
            log.warning("Ending %d requests: the limit for finishing them has come.", open_requests)
        for connection in list(self.server_state.connections):
            connection.shutdown()
        for task in list(self.server_state.tasks):
            task.cancel(SHUTTING_DOWN)
        self._cancelled = True
        if not await self._finished_within(self._shortened(self._periods.clean_up_s)):
            for connection in list(self.server_state.connections):
                connection.transport.abort()
            if self.server_state.tasks:
                log.error("%d requests did not end when they were told to.", len(self.server_state.tasks))

    def _shortened(self, limit_s: float) -> float:
        return min(limit_s, FORCED_S) if self.force_exit else limit_s

    async def _finished_within(self, limit_s: float) -> bool:
        """Whether every request and connection has ended before the limit, or before SIGQUIT."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + limit_s
        beats = 0
        while self.server_state.tasks or self.server_state.connections:
            if (self.force_exit and not self._cancelled) or loop.time() >= deadline:
                return False
            if beats % 20 == 0 and self.config.callback_notify is not None:
                await self.config.callback_notify()
            beats += 1
            await asyncio.sleep(_POLL_S)
        return True


def _accepted(sock: socket.socket) -> Iterator[socket.socket]:
    """Connections that wait in the queue of a listening socket."""
    while True:
        try:
            connection, _ = sock.accept()
        except OSError:  # none left
            return
        connection.setblocking(False)
        yield connection
