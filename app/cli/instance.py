"""One gateway per port: its directory with PID file, log and state, and whether it runs.

The PID file is locked for as long as the master lives (POSIX record lock: not inherited by the workers, gone with the
process), so a stale file or a PID that now belongs to somebody else is never taken for a gateway. A second file holds
what ``status`` cannot know otherwise; it is written when the gateway is ready.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
from msgspec import Struct

from app.cli.errors import CommandFailed


class InstanceFacts(Struct, frozen=True, kw_only=True):
    """What a running gateway says about itself.

    Args:
        url: where to reach it from this machine.
        started_at: Unix seconds.
        stop_limit_s: it needs no longer than this to stop.
        mode: where answers come from, in words.
        state: where state is kept, in words.
        mock: whether answers come from the simulator.
    """

    pid: int
    version: str
    url: str
    workers: int
    started_at: float
    stop_limit_s: float
    mode: str
    state: str
    mock: bool = False


class Instance:
    """The gateway of one port, running or not.

    Args:
        root: the directory of all instances.
        port: its port.
    """

    def __init__(self, root: Path, port: int) -> None:
        self.port = port
        self.directory = root / str(port)
        self.log_path = self.directory / "gateway.log"
        self._pid_path = self.directory / "gateway.pid"
        self._facts_path = self.directory / "gateway.json"
        self._lock: int | None = None

    def prepare(self) -> None:
        """Makes the directory, for this user only.

        Raises:
            OSError: it cannot be made.
        """
        for directory in (self.directory.parent, self.directory):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def claim(self) -> None:
        """Makes this process the gateway of the port.

        Raises:
            CommandFailed: another process is.
            OSError: the directory cannot be written.
        """
        self.prepare()
        lock = os.open(self._pid_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise CommandFailed(self.in_the_way()) from None
        os.ftruncate(lock, 0)
        os.write(lock, b"%d\n" % os.getpid())
        self._lock = lock
        self._facts_path.unlink(missing_ok=True)

    def release(self) -> None:
        """The gateway has stopped."""
        if self._lock is not None:
            self._facts_path.unlink(missing_ok=True)
            self._pid_path.unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = None

    def tell(self, facts: InstanceFacts) -> None:
        """The gateway is ready."""
        unfinished = self._facts_path.with_suffix(".new")
        unfinished.write_bytes(msgspec.json.encode(facts))
        unfinished.chmod(0o600)
        unfinished.replace(self._facts_path)

    def running_pid(self) -> int | None:
        """The master's PID, or ``None`` when none runs. Not for the process that has claimed the instance."""
        try:
            lock = os.open(self._pid_path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            text = os.pread(lock, 32, 0).strip()
            return int(text) if text.isdigit() else None
        finally:
            os.close(lock)
        return None

    def facts(self) -> InstanceFacts | None:
        """What the running gateway says about itself; ``None`` while it is not ready."""
        try:
            return msgspec.json.decode(self._facts_path.read_bytes(), type=InstanceFacts)
        except (OSError, msgspec.DecodeError):
            return None

    def in_the_way(self) -> str:
        """What to say when this instance keeps a new one from its port."""
        pid = self.running_pid()
        who = f"a gateway is running there (pid {pid})" if pid else "a gateway is starting or stopping there"
        return (
            f"Port {self.port} is taken: {who}. Stop it with 'claude-wrapper stop {self.port}', "
            f"or take another port: 'claude-wrapper --port {self.port + 1}'."
        )


def running_instances(root: Path) -> Iterator[Instance]:
    """Every gateway that runs, by port."""
    ports = sorted(int(path.name) for path in root.iterdir() if path.name.isdigit()) if root.is_dir() else []
    for port in ports:
        instance = Instance(root, port)
        if instance.running_pid() is not None:
            yield instance


def others(root: Path) -> str:
    """A word about gateways on other ports, for somebody who has named the wrong one."""
    with suppress(OSError):
        ports = [str(instance.port) for instance in running_instances(root)]
        if ports:
            return f" One runs on port {', '.join(ports)}."
    return ""
