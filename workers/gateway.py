"""The gateway's processes: gunicorn's master, in this process, and its workers.

gunicorn is started without its own application class, which would put the working directory first on ``sys.path`` (an
``app`` package there would be imported instead of ours). The master imports the application once, and makes none: its
workers share what was imported, and one that is replaced serves again within moments. Ours differs from gunicorn's
master in five points: Ctrl-C is graceful, and only the second one forces; the end of its terminal is taken for Ctrl-C;
a reload (SIGHUP) stops the old workers only when all new ones answer, and keeps them when the new ones cannot start; a
worker that is leaving does not count as one that serves; it watches the processes that the gateway needs beside it
(``workers.companions``).
"""

from __future__ import annotations

import gc
import logging
import mmap
import os
import signal
import socket
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer

from app.config import Config, SettingError
from app.observability.board import MetricsBoard
from app.observability.log import configure
from app.observability.seats import Seat, Seats
from workers.companions import Companions
from workers.gunicorn_conf import gunicorn_settings
from workers.listener import listen, release_claims
from workers.open_files import raise_open_files_limit
from workers.uvicorn_worker import BOOT_ERROR, flush_output

log = logging.getLogger(__name__)

#: Builds the ASGI application in a worker.
AppFactory = Callable[[Config], Any]

#: So many generations of workers may live at a time, of which all but one are leaving, and each counts in ``/metrics``.
_GENERATIONS = 4

#: The master looks this often whether its new workers are ready.
_BOOT_POLL_S = 0.02


def run_gateway(
    config: Config,
    listener: socket.socket,
    *,
    create_app: AppFactory | None = None,
    companions: Companions | None = None,
    on_ready: Callable[[], None] = lambda: None,
    on_stopping: Callable[[], None] = lambda: None,
) -> int:
    """Runs the master in this process until it is told to stop.

    Args:
        config: the settings; ``port`` is the listener's.
        listener: the bound socket of ``workers.listener.bind``.
        create_app: the application, made in the workers; ``app.main.create_app`` by default.
        companions: processes that live as long as the gateway; stopped last.
        on_ready: called once, in the master, when all workers answer.
        on_stopping: called once, in the master, when it has been told to stop.

    Returns:
        The exit status: 0 after a stop that was asked for.

    Raises:
        CannotListen: another program has taken the port meanwhile.
    """
    raise_open_files_limit()
    companions = companions or Companions()
    master_pid = os.getpid()
    application = GatewayApplication(config, create_app)
    arbiter = GatewayArbiter(application, listener, companions, on_ready=on_ready, on_stopping=on_stopping)
    application.configure_logging()
    if create_app is None:
        _import_application()
    try:
        arbiter.run()
    except SystemExit as exc:
        status = exc.code if isinstance(exc.code, int) else 1
    except BaseException:
        if os.getpid() != master_pid:
            flush_output()
            os._exit(1)
        raise
    finally:
        if os.getpid() == master_pid:
            companions.stop()
    if os.getpid() != master_pid:
        # A worker is done here. It must not run what the master's callers still have to do.
        flush_output()
        os._exit(status)
    return status


def _import_application() -> None:
    """Imports what every worker needs; what there is then is no garbage, and workers need not look at it again."""
    import_module("app.main")
    gc.freeze()


class ReadyBoard:
    """Memory that the workers share with the master: who is ready, by age."""

    _SIZE = 4096

    def __init__(self) -> None:
        self._flags = mmap.mmap(-1, self._SIZE)

    def clear(self, age: int) -> None:
        """A worker of this age is about to be started."""
        self._flags[age % self._SIZE] = 0

    def mark(self, age: int) -> None:
        """The worker of this age accepts connections."""
        self._flags[age % self._SIZE] = 1

    def is_ready(self, age: int) -> bool:
        """Whether the worker of this age accepts connections."""
        return self._flags[age % self._SIZE] == 1


class GatewayApplication(BaseApplication):  # type: ignore[misc]
    """What gunicorn asks for: its settings, and in a worker the application."""

    #: Held back around a fork: until it has handlers of its own, a worker would swallow them.
    signals_held_while_forking = frozenset({signal.SIGTERM, signal.SIGQUIT, signal.SIGINT})

    def __init__(self, config: Config, create_app: AppFactory | None) -> None:
        self.config = config
        self.others_serve = False
        """Whether the next worker need not hurry, as others answer meanwhile."""
        self.ready_board = ReadyBoard()
        self.seats = Seats(MetricsBoard(1 + _GENERATIONS * (config.workers + 1)))
        self.seat: Seat | None = None
        """Where the next worker leaves its figures for the others."""
        self._create_app = create_app
        super().__init__()

    def load_config(self) -> None:
        """Takes over the settings."""
        for name, value in gunicorn_settings(self.config).items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """The application, in a worker."""
        try:
            if self._create_app is not None:
                return self._create_app(self.config)
            from app.main import create_app

            return create_app(self.config, open_first=self.others_serve, seat=self.seat)
        except SettingError as exc:
            log.error("%s", exc)  # noqa: TRY400 - the operator's mistake, not ours
            sys.exit(BOOT_ERROR)

    def configure_logging(self) -> None:
        """Sends the log of this process where it belongs; gunicorn and uvicorn tell their life only with --debug."""
        config = self.config
        configure(
            format="json" if config.log_format == "json" else "text",
            level=logging.DEBUG if config.debug else logging.INFO,
            secrets=config.secrets,
        )
        server_level = logging.INFO if config.debug else logging.WARNING
        for name in ("gunicorn.error", "uvicorn.error"):
            logging.getLogger(name).setLevel(server_level)
        logging.getLogger("uvicorn.access").propagate = False  # uvicorn asks for handlers to know whether to log access


def _has_terminal() -> bool:
    """Whether this process has a controlling terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


class GatewayArbiter(Arbiter):  # type: ignore[misc]
    """gunicorn's master."""

    def __init__(
        self,
        app: GatewayApplication,
        listener: socket.socket,
        companions: Companions,
        *,
        on_ready: Callable[[], None],
        on_stopping: Callable[[], None],
    ) -> None:
        super().__init__(app)
        if app.config.workers == 1:
            listen(listener, app.config.backlog)
        self.LISTENERS = [listener]
        self.WORKERS: dict[int, Any] = {}
        self._companions = companions
        self._on_ready: Callable[[], None] | None = on_ready
        self._on_stopping: Callable[[], None] | None = on_stopping
        self._outdated_age = 0
        """Workers up to this age are replaced by younger ones."""
        self._leaving: set[int] = set()
        """Pids of workers that have been told to leave."""
        self._ends_with_terminal = _has_terminal() and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN  # nohup

    # Signals

    def handle_int(self) -> None:
        """Ctrl-C: as SIGTERM. While the workers leave, a second one makes gunicorn stop them at once."""
        self.handle_term()

    def handle_term(self) -> None:
        """SIGTERM: stop when the requests in flight are done."""
        if self._on_stopping is not None:
            self._on_stopping()
            self._on_stopping = None
        super().handle_term()

    def handle_hup(self) -> None:
        """SIGHUP: replace every worker by a new one; from a terminal that was closed: stop, as at Ctrl-C."""
        if self._ends_with_terminal and not _has_terminal():
            self.handle_term()
            return
        log.info("Replacing all workers.")
        self._outdated_age = self.worker_age
        self.manage_workers()

    def handle_usr2(self) -> None:
        """SIGUSR2: gunicorn would start a second master; a new version is deployed by starting a new gateway."""
        log.warning("SIGUSR2 is not supported; SIGHUP replaces the workers.")

    def wait_for_signals(self, timeout: float = 1.0) -> list[int]:
        """Waits for signals, and shortly while workers are starting."""
        signals: list[int] = super().wait_for_signals(_BOOT_POLL_S if self._booting() else timeout)
        return signals

    # Workers

    def spawn_worker(self) -> Any:
        """Starts a worker; in the new process this does not return."""
        self.app.ready_board.clear(self.worker_age + 1)
        self.app.seat = self.app.seats.assign(self.worker_age + 1)
        self.app.others_serve = self._on_ready is None and bool(self._ready())
        held = signal.pthread_sigmask(signal.SIG_BLOCK, self.app.signals_held_while_forking)
        try:
            return super().spawn_worker()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, held)

    def manage_workers(self) -> None:
        """Starts the workers that are missing and dismisses those that are too many or outdated."""
        self._leaving &= self.WORKERS.keys()
        self.app.seats.free({worker.age for worker in self.WORKERS.values()})
        current = self._current()
        for _ in range(self.num_workers - len(current)):
            self.spawn_worker()
        for worker in current[: max(0, len(current) - self.num_workers)]:
            self._dismiss(worker)
        if self._booting():
            return
        for worker in list(self.WORKERS.values()):
            if worker.age <= self._outdated_age:
                self._dismiss(worker)
        if self._on_ready is not None:
            release_claims()
            self._on_ready()
            self._on_ready = None

    def stop(self, graceful: bool = True) -> None:
        """Stops all workers."""
        self._companions.release()
        super().stop(graceful)

    def murder_workers(self) -> None:
        """Kills workers that hang; called on every turn of the master."""
        super().murder_workers()
        self._companions.watch()

    def reap_workers(self) -> None:
        """Takes note of processes that have ended."""
        self._companions.watch()  # before gunicorn reaps them as strangers
        try:
            super().reap_workers()
        except HaltServer:
            if not self._ready():
                raise
            log.error("A new worker cannot start; the ones that run go on.")  # noqa: TRY400 - it has said why
            for worker in self._current():
                if self._outdated_age and not self.app.ready_board.is_ready(worker.age):
                    self._dismiss(worker)
            self._outdated_age = 0

    def _current(self) -> list[Any]:
        """The workers that serve or will serve, oldest first."""
        staying = [w for pid, w in self.WORKERS.items() if w.age > self._outdated_age and pid not in self._leaving]
        return sorted(staying, key=lambda worker: int(worker.age))

    def _ready(self) -> list[Any]:
        """The workers that answer, those included that have been told to leave."""
        return [worker for worker in self.WORKERS.values() if self.app.ready_board.is_ready(worker.age)]

    def _booting(self) -> bool:
        return not all(self.app.ready_board.is_ready(worker.age) for worker in self._current())

    def _dismiss(self, worker: Any) -> None:
        if worker.pid not in self._leaving:
            self._leaving.add(worker.pid)
            self.kill_worker(worker.pid, signal.SIGTERM)
