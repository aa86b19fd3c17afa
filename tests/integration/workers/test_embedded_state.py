"""The embedded state server as a process: who it belongs to, what survives, what is left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from workers.embedded_state import (
    EmbeddedState,
    EmbeddedStateError,
    find_server_binary,
    socket_path,
    start,
)

pytestmark = pytest.mark.skipif(find_server_binary() is None, reason="no valkey-server or redis-server on this machine")

linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="PR_SET_PDEATHSIG is Linux's")

#: A gateway's master for our purposes: starts the server of a directory, says its pid, and lives until it is ended.
OWNER = """
import os, sys, time
from pathlib import Path
from workers.embedded_state import start
state = start(Path(sys.argv[1]))
if "fork" in sys.argv:
    if os.fork() == 0:
        time.sleep(60)
        os._exit(0)
print(state.pid, flush=True)
time.sleep(60)
"""


class Owners:
    """Starts owners in processes of their own and ends them after the test."""

    def __init__(self) -> None:
        self._started: list[subprocess.Popen[str]] = []

    def __call__(self, directory: Path, *words: str) -> tuple[subprocess.Popen[str], psutil.Process]:
        owner = subprocess.Popen(
            [sys.executable, "-c", OWNER, str(directory), *words], stdout=subprocess.PIPE, text=True, process_group=0
        )
        self._started.append(owner)
        assert owner.stdout is not None
        return owner, psutil.Process(int(owner.stdout.readline()))

    def end(self) -> None:
        for owner in self._started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(owner.pid, signal.SIGKILL)
            owner.wait()
            assert owner.stdout is not None
            owner.stdout.close()


@pytest.fixture
def owners() -> Iterator[Owners]:
    started = Owners()
    yield started
    started.end()


@pytest.fixture
def state(tmp_path: Path) -> Iterator[EmbeddedState]:
    started = start(tmp_path)
    yield started
    started.stop()


def ask(url: str, command: str) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(url.removeprefix("unix://"))
        connection.sendall(command.encode() + b"\r\n")
        return connection.recv(65536)


def wait_until(condition: Callable[[], bool], limit_s: float = 5.0) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.01)


def gone(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_it_answers_as_soon_as_it_is_started(state: EmbeddedState) -> None:
    assert ask(state.url, "PING") == b"+PONG\r\n"


def test_it_is_reached_by_its_owner_only(state: EmbeddedState, tmp_path: Path) -> None:
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert socket_path(tmp_path).stat().st_mode & 0o777 == 0o700
    assert psutil.Process(state.pid).net_connections("inet") == []


def test_it_evicts_what_expires_soonest_and_keeps_what_it_writes(state: EmbeddedState) -> None:
    assert b"volatile-ttl" in ask(state.url, "CONFIG GET maxmemory-policy")
    assert b"everysec" in ask(state.url, "CONFIG GET appendfsync")
    assert b"yes" in ask(state.url, "CONFIG GET appendonly")


def test_stop_ends_it_and_may_be_called_twice(state: EmbeddedState, tmp_path: Path) -> None:
    process = psutil.Process(state.pid)
    state.stop()
    assert gone(process)
    assert not socket_path(tmp_path).exists()
    state.stop()
    assert state.pid is None


def test_a_restart_keeps_the_data(tmp_path: Path) -> None:
    first = start(tmp_path)
    ask(first.url, "SET key value")
    first.stop()
    second = start(tmp_path)
    assert ask(second.url, "GET key") == b"$5\r\nvalue\r\n"
    second.stop()


def test_a_killed_server_loses_nothing_it_has_answered(tmp_path: Path) -> None:
    first = start(tmp_path)
    ask(first.url, "SET key value")
    psutil.Process(first.pid).kill()
    first.stop()
    second = start(tmp_path)
    assert ask(second.url, "GET key") == b"$5\r\nvalue\r\n"
    second.stop()


def test_a_frozen_server_is_stopped_all_the_same(state: EmbeddedState) -> None:
    process = psutil.Process(state.pid)
    process.suspend()
    state.stop(timeout_s=0.1)
    assert gone(process)


def test_a_dead_server_is_revived_with_its_data(state: EmbeddedState, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.embedded_state.REVIVE_INTERVAL_S", 0.0)
    ask(state.url, "SET key value")
    assert state.revive() is False
    psutil.Process(state.pid).kill()
    wait_until(lambda: state.poll() is not None)
    assert state.revive() is True
    wait_until(lambda: socket_path_answers(state))
    assert ask(state.url, "GET key") == b"$5\r\nvalue\r\n"


def socket_path_answers(state: EmbeddedState) -> bool:
    try:
        return ask(state.url, "PING") == b"+PONG\r\n"
    except OSError:
        return False


def test_a_server_that_keeps_dying_is_not_revived_in_a_loop(state: EmbeddedState) -> None:
    psutil.Process(state.pid).kill()
    wait_until(lambda: state.poll() is not None)
    assert state.revive() is False


@linux_only
def test_the_server_dies_with_a_killed_owner(tmp_path: Path, owners: Owners) -> None:
    owner, server = owners(tmp_path)
    owner.kill()
    owner.wait()
    wait_until(lambda: gone(server))


@linux_only
def test_the_server_dies_with_a_killed_master_though_workers_live(tmp_path: Path, owners: Owners) -> None:
    owner, server = owners(tmp_path, "fork")
    owner.kill()
    owner.wait()
    wait_until(lambda: gone(server))
    successor = start(tmp_path)  # the worker that lives on does not hold the directory
    successor.stop()


def test_two_gateways_do_not_share_a_directory(tmp_path: Path, owners: Owners) -> None:
    owner, server = owners(tmp_path)
    with pytest.raises(EmbeddedStateError, match=rf"another gateway \(pid {owner.pid}\)"):
        start(tmp_path)
    assert not gone(server)


def test_an_orphan_is_shut_down_and_its_data_kept(tmp_path: Path, owners: Owners) -> None:
    first = start(tmp_path)
    ask(first.url, "SET key value")
    first.stop()
    orphan = _orphan(tmp_path)
    second = start(tmp_path)
    assert orphan.wait(5) is not None
    assert ask(second.url, "GET key") == b"$5\r\nvalue\r\n"
    second.stop()


@linux_only
def test_a_frozen_orphan_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.embedded_state._ORPHAN_TIMEOUT_S", 0.2)
    start(tmp_path).stop()
    orphan = _orphan(tmp_path)
    os.kill(orphan.pid, signal.SIGSTOP)
    state = start(tmp_path)
    assert orphan.wait(5) == -signal.SIGKILL
    state.stop()


def _orphan(directory: Path) -> subprocess.Popen[bytes]:
    """A server on the directory's socket that no gateway owns."""
    home = directory / "state"
    orphan = subprocess.Popen(
        [
            *(str(find_server_binary()), "--port", "0", "--unixsocket", str(socket_path(directory))),
            *("--dir", str(home), "--appendonly", "yes"),
        ],
        stdout=subprocess.DEVNULL,
    )
    wait_until(lambda: socket_path(directory).exists())
    return orphan


def test_a_left_over_socket_file_is_no_obstacle(tmp_path: Path) -> None:
    start(tmp_path).stop()
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(socket_path(tmp_path)))
    state = start(tmp_path)
    assert ask(state.url, "PING") == b"+PONG\r\n"
    state.stop()


def test_a_directory_too_deep_for_a_socket_gets_a_short_one(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120)
    state = start(deep)
    try:
        assert state.url == f"unix://{socket_path(deep)}"
        assert ask(state.url, "PING") == b"+PONG\r\n"
        assert socket_path(deep).parent.stat().st_mode & 0o777 == 0o700
    finally:
        state.stop()


def test_a_server_that_cannot_start_shows_its_log(tmp_path: Path) -> None:
    state = start(tmp_path)
    state.stop()
    next((tmp_path / "state" / "appendonlydir").glob("*.manifest")).write_text("this is not a manifest\n")
    with pytest.raises(EmbeddedStateError, match=r"(?s)ended at once.*AOF"):
        start(tmp_path)


def test_a_failed_start_gives_the_directory_back(tmp_path: Path) -> None:
    start(tmp_path).stop()
    manifest = next((tmp_path / "state" / "appendonlydir").glob("*.manifest"))
    good = manifest.read_text()
    manifest.write_text("this is not a manifest\n")
    with pytest.raises(EmbeddedStateError):
        start(tmp_path)
    manifest.write_text(good)
    start(tmp_path).stop()


def test_a_directory_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EmbeddedStateError, match="CLAUDE_WRAPPER_DATA_DIR"):
        start(tmp_path / "file")


def test_it_starts_fast(tmp_path: Path) -> None:
    seconds = []
    for _ in range(4):
        started_at = time.monotonic()
        state = start(tmp_path)
        seconds.append(time.monotonic() - started_at)
        state.stop()
    assert min(seconds) < 0.3
