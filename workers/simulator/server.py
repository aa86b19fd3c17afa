"""Runs the simulator as a process: listens, says where, and leaves when asked to or when its parent is gone."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
import signal
import sys
from collections.abc import Callable
from typing import Final

import uvloop

from workers.simulator.protocol import Connection
from workers.simulator.service import Simulator
from workers.simulator.settings import SimulatorSettings

BACKLOG: Final = 2048

_PR_SET_PDEATHSIG: Final = 1
_PARENT_CHECK_S: Final = 1.0


def run(
    settings: SimulatorSettings,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    uds: str | None = None,
    exit_with_parent: bool = False,
    parent_pid: int | None = None,
    on_ready: Callable[[str], None] | None = None,
    ready_fd: int | None = None,
) -> None:
    """Serves until SIGTERM or SIGINT, and blocks meanwhile. Prints nothing.

    Args:
        settings: what it simulates.
        host: address to listen on.
        port: TCP port; 0 takes a free one.
        uds: path of a unix socket to listen on instead.
        exit_with_parent: leave when the process that started this one is gone.
        parent_pid: its process id, so that it may even be gone before this function runs; None takes whoever it is now.
        on_ready: called with the base URL (``http://127.0.0.1:8123``, or ``unix:<path>``) once it listens.
        ready_fd: a file descriptor that gets the base URL and a newline once it listens, and is closed then.

    Raises:
        OSError: the address cannot be listened on.
    """
    parent = os.getppid() if parent_pid is None else parent_pid
    # Nothing a request makes is part of a cycle; without this the collector walks every request's objects.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000)
    if exit_with_parent:
        _die_with_parent()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, host, port, uds, parent if exit_with_parent else None, on_ready, ready_fd))


async def _serve(
    settings: SimulatorSettings,
    host: str,
    port: int,
    uds: str | None,
    parent: int | None,
    on_ready: Callable[[str], None] | None,
    ready_fd: int | None,
) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    simulator = Simulator(settings)
    connections: set[Connection] = set()

    def connect() -> Connection:
        return Connection(simulator, loop, connections)

    if uds is not None:
        server = await loop.create_unix_server(connect, uds, backlog=BACKLOG)
        base_url = f"unix:{uds}"
    else:
        server = await loop.create_server(connect, host, port, backlog=BACKLOG, reuse_address=True)
        bound_host, bound_port = server.sockets[0].getsockname()[:2]
        base_url = f"http://[{bound_host}]:{bound_port}" if ":" in bound_host else f"http://{bound_host}:{bound_port}"
    if on_ready is not None:
        on_ready(base_url)
    if ready_fd is not None:
        os.write(ready_fd, base_url.encode() + b"\n")
        os.close(ready_fd)
    try:
        await _until_stopped(stop, parent)
    finally:
        server.close()
        for connection in list(connections):
            connection.close()
        if uds is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(uds)  # noqa: PTH108 - no Path for a socket's name


async def _until_stopped(stop: asyncio.Event, parent: int | None) -> None:
    """Waits for the stop signal, or for the parent to be gone."""
    if parent is None:
        await stop.wait()
        return
    while os.getppid() == parent:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PARENT_CHECK_S):
                await stop.wait()
                return


def _die_with_parent() -> None:
    """Asks Linux for SIGTERM at the parent's death; elsewhere, and for one gone by now, ``_until_stopped`` sees it.

    NOTE: Linux means the thread that started us; a parent that starts us from a thread must keep that thread.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
