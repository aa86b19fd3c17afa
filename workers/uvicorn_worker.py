"""Our gunicorn worker: uvicorn on uvloop and httptools, with bounded connections and a graceful end."""

from __future__ import annotations

import faulthandler
import functools
import logging
import os
import signal
import socket
import sys
from contextlib import suppress
from typing import Any

from uvicorn_worker import UvicornWorker

from app.api.request_ids import RequestIds
from app.config import Config
from app.observability.log import lines
from workers.http_protocol import ConnectionLimits, GatewayProtocol
from workers.listener import CannotListen, bind_again
from workers.uvicorn_server import GatewayServer, GracePeriods

log = logging.getLogger(__name__)

#: Exit status that tells gunicorn's master that trying again is no use.
BOOT_ERROR = 3

#: Seconds between two heartbeats; gunicorn kills a worker that stays silent for its ``timeout``.
HEARTBEAT_S = 1


class GatewayWorker(UvicornWorker):  # type: ignore[misc]
    """One worker process; ``workers.gateway`` starts it and hands it the settings by ``app.config``."""

    def __init__(self, age: int, ppid: int, sockets: Any, app: Any, timeout: float, cfg: Any, log: Any) -> None:
        config: Config = app.config
        self.sockets: list[socket.socket]
        self.CONFIG_KWARGS: dict[str, Any] = {
            "loop": "uvloop",
            "ws": "none",
            "lifespan": "on",
            "interface": "asgi3",
            "workers": 1,
            "proxy_headers": False,
            "server_header": False,
            "access_log": False,
            "backlog": config.backlog,
            "timeout_keep_alive": config.keep_alive_s,
            "timeout_notify": HEARTBEAT_S,
        }
        super().__init__(age, ppid, sockets, app, timeout, cfg, log)
        app.configure_logging()

    def init_process(self) -> None:
        """Runs in the new process; the log has its thread before anything can be said there."""
        lines().start()
        super().init_process()

    def init_signals(self) -> None:
        """Ctrl-C and the end of the terminal reach the whole process group; only the master acts on them."""
        super().init_signals()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        faulthandler.enable()  # a worker that gunicorn aborts for blocking its loop says where it stood
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self.app.signals_held_while_forking)

    def run(self) -> None:
        """Serves until told to leave."""
        if self.app.config.workers > 1:
            # Of its own and only now, when the application can answer: the kernel spreads connections over everyone who
            # listens, and what it gives to a worker that is still starting would wait.
            try:
                self.sockets = [bind_again(sock) for sock in self.sockets]
            except CannotListen as exc:
                log.error("%s", exc.message)  # noqa: TRY400 - another program's doing
                sys.exit(BOOT_ERROR)
        super().run()

    async def _serve(self) -> None:
        config: Config = self.app.config
        limits = ConnectionLimits(
            header_timeout_s=config.header_timeout_s,
            max_header_bytes=config.max_header_bytes,
            write_buffer_bytes=config.stream_buffer_bytes,
            write_timeout_s=config.write_timeout_s,
        )
        self.config.app = self.wsgi
        self.config.http = functools.partial(
            GatewayProtocol,
            limits=limits,
            new_request_id=RequestIds().new,
            on_refused=getattr(self.wsgi, "note_refused", _nobody_counts),
        )
        server = GatewayServer(
            self.config,
            parent_pid=self.ppid,
            periods=GracePeriods.within(config.graceful_timeout_s, drain_delay_s=config.drain_delay_s),
            on_ready=lambda: self.app.ready_board.mark(self.age),
            on_leaving=getattr(self.wsgi, "begin_drain", _nothing_to_drain),
        )
        await server.serve(sockets=self.sockets)
        if not server.started:
            sys.exit(BOOT_ERROR)
        # Everything is closed. asyncio would still wait for threads, such as one that is importing the SDK.
        flush_output()
        os._exit(0)


def flush_output() -> None:
    """Writes out what was logged and printed, should somebody still read it."""
    lines().close()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, AttributeError):  # gone, or None because it was closed from the start
            stream.flush()


def _nobody_counts(_status: int) -> None:
    """For an application that has no metrics."""


def _nothing_to_drain() -> None:
    """For an application that has no notion of readiness."""
