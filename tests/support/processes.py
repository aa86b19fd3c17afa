"""A child process under test: what it prints, how it is stopped, and that it is never left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

PROJECT = Path(__file__).parents[2]

#: Variables of the developer's own shell that would change what a process under test does.
_FOREIGN = re.compile(
    r"(CLAUDE_WRAPPER_|ANTHROPIC_|OPENAI_|KUBERNETES_|PORT$|XDG_STATE_HOME$|(HTTP|HTTPS|ALL|NO)_PROXY$)"
)


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment without the settings of whoever runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not _FOREIGN.match(name.upper())}
    return kept | dict(extra or {})


def eventually(what: Callable[[], bool], *, within_s: float, message: str = "") -> None:
    """Returns as soon as ``what`` is true; fails when it is not in time."""
    deadline = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < deadline, message or f"not true within {within_s} s"
        time.sleep(0.02)


class ChildProcess:
    """A process that was started for a test.

    Attributes:
        pid: its process id.
    """

    def __init__(self, command: Sequence[str], *, env: Mapping[str, str], cwd: Path, output: Path) -> None:
        self._output = output
        self._logs_at_the_end: str | None = None
        with output.open("wb") as file:
            self._process = subprocess.Popen(
                command,
                env=dict(env),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        self.pid = self._process.pid

    @property
    def logs(self) -> str:
        """Everything it has printed so far, on both streams."""
        return self._logs_at_the_end if self._logs_at_the_end is not None else self._output.read_text(errors="replace")

    def wait_for(self, pattern: str, *, within_s: float) -> re.Match[str]:
        """The first match in what it prints; fails with its output when it ends before, or takes too long."""
        deadline = time.monotonic() + within_s
        while True:
            over = self._process.poll() is not None
            match = re.search(pattern, self.logs)
            if match:
                return match
            assert not over, f"it ended with {self._process.returncode}:\n{self.logs}"
            assert time.monotonic() < deadline, f"no {pattern!r} within {within_s} s:\n{self.logs}"
            time.sleep(0.02)

    def send(self, sent: signal.Signals) -> None:
        """Sends a signal to this process alone."""
        os.kill(self.pid, sent)

    def interrupt(self) -> None:
        """What Ctrl-C in a terminal does: SIGINT to the whole process group."""
        os.killpg(self.pid, signal.SIGINT)

    def wait(self, *, within_s: float) -> int:
        """Its exit status; fails when it does not end in time."""
        try:
            return self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it did not end within {within_s} s:\n{self.logs}") from None

    def is_running(self) -> bool:
        """Whether it lives."""
        return self._process.poll() is None

    def children(self) -> list[psutil.Process]:
        """Its descendants that live now."""
        return psutil.Process(self.pid).children(recursive=True)

    def commands(self) -> dict[int, str]:
        """The command line of each descendant that lives now, by pid."""
        found = {}
        for child in self.children():
            try:
                found[child.pid] = " ".join(child.cmdline())
            except psutil.Error:  # ended meanwhile, or not reaped yet
                continue
        return found

    def close(self) -> None:
        """Ends it and everything it has started."""
        try:
            family = self.children()
        except psutil.NoSuchProcess:
            family = []
        if self.is_running():
            self.send(signal.SIGTERM)
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
        for process in family:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        self._process.wait()
        self._logs_at_the_end = self.logs


@contextmanager
def child_process(
    command: Sequence[str], *, output: Path, env: Mapping[str, str] | None = None, cwd: Path = PROJECT
) -> Iterator[ChildProcess]:
    """Runs a command for the time of a test."""
    process = ChildProcess(command, env=clean_environment(env), cwd=cwd, output=output)
    try:
        yield process
    finally:
        process.close()


def is_alive(process: psutil.Process) -> bool:
    """Whether a process lives; a zombie that nobody has reaped does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
