"""What every benchmark of the running gateway needs: who runs where, CPU and memory of a process, head and table.

The gateway (or the control) has one core, load and simulator share the other; with a single core all share it, and the
head says so.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import psutil

from tests.support.gateway import running_gateway
from tests.support.processes import child_process
from tests.support.simulator import Simulator, running_simulator
from workers import embedded_state

_PACKAGES = ("litestar", "msgspec", "uvicorn", "uvloop", "httptools", "gunicorn", "anthropic", "aiohttp")

_T = TypeVar("_T")

_CORES = sorted(os.sched_getaffinity(0))
GATEWAY_CORE, LOAD_CORE = _CORES[0], _CORES[-1]


@contextmanager
def started_on(core: int, starting: AbstractContextManager[_T]) -> Iterator[_T]:
    """Enters a context on one core: the processes that it starts stay there, this one goes back."""
    with ExitStack() as stack:
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {core})
        try:
            entered = stack.enter_context(starting)
        finally:
            os.sched_setaffinity(0, before)
        yield entered


class Served:
    """A process that serves, as seen from outside.

    Args:
        port: where it listens.
        pid: the process that does the work.
    """

    def __init__(self, port: int, pid: int) -> None:
        self.port = port
        self._process = psutil.Process(pid)
        self.pid = pid

    def cpu_s(self) -> float:
        """User and system time so far, of all its threads."""
        times = self._process.cpu_times()
        return times.user + times.system

    def rss_kb(self) -> float:
        """Resident memory."""
        return self._process.memory_info().rss / 1024


@contextmanager
def simulator(**settings: Any) -> Iterator[Simulator]:
    """A simulator on the load's core."""
    with started_on(LOAD_CORE, running_simulator(**settings)) as running:
        yield running


@contextmanager
def state_server() -> Iterator[str]:
    """A state server on the load's core, as it would be on another machine; yields its URL."""
    with tempfile.TemporaryDirectory() as directory:
        server = embedded_state.start(Path(directory))
        os.sched_setaffinity(server.pid or 0, {LOAD_CORE})
        try:
            yield server.url
        finally:
            server.stop()


@contextmanager
def gateway(upstream: Simulator, **settings: str) -> Iterator[Served]:
    """A gateway with one worker on its core, in front of a simulator; settings as environment variables."""
    with state_server() as state_url:
        environment = {
            "ANTHROPIC_BASE_URL": upstream.base_url,
            "ANTHROPIC_API_KEY": "sk-bench",
            "CLAUDE_WRAPPER_REDIS_URL": state_url,
        }
        starting = running_gateway("--no-interactive", env=environment | settings)
        with started_on(GATEWAY_CORE, starting) as running:
            yield Served(running.port, _only_worker(running.pid))


@contextmanager
def serving(module: str, answers: dict[str, Any], *args: str) -> Iterator[Served]:
    """A module that runs our processes (``tests.bench.control``, ``tests.bench.rungs``), on the gateway's core."""
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / "answers.json"
        file.write_text(json.dumps(answers))
        command = [sys.executable, "-m", module, *args, str(file)]
        with started_on(GATEWAY_CORE, child_process(command, output=Path(temporary) / "output")) as process:
            port = int(process.wait_for(r"ready (\d+)", within_s=30)[1])
            yield Served(port, _only_worker(process.pid))


def control(answers: dict[str, Any]) -> AbstractContextManager[Served]:
    """The control: the floor of any gateway on this server."""
    return serving("tests.bench.control", answers)


def _only_worker(master_pid: int) -> int:
    """gunicorn's worker: the child that was forked, not started."""
    master = psutil.Process(master_pid)
    workers = [child.pid for child in master.children() if child.cmdline() == master.cmdline()]
    assert len(workers) == 1, workers
    return workers[0]


def print_head(title: str) -> None:
    """What was run where."""
    cpu = next((line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")), platform.machine())
    sharing = "one core for everything" if GATEWAY_CORE == LOAD_CORE else "gateway and load on a core each"
    options = getattr(sys, "orig_argv", sys.argv)[1:]
    print(f"# {title}\n")
    print(f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, {cpu}, {len(_CORES)} cores, {sharing},", end=" ")
    print(f"load average {os.getloadavg()[0]:.1f} before the run.")
    print(f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in _PACKAGES) + ".")
    print(f"Command: `python {' '.join(options)}`\n", flush=True)


def _cpuinfo() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A Markdown table."""
    print("| " + " | ".join(columns) + " |")
    print("|" + "---|" * len(columns))
    for row in rows:
        print("| " + " | ".join(map(str, row)) + " |")
    print(flush=True)
