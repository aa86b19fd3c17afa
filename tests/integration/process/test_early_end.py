"""A gateway that ends before it was ready, or with its terminal, leaves nothing behind."""

from __future__ import annotations

import os
import pty
import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.support.gateway import gateway_command
from tests.support.processes import ChildProcess, child_process, clean_environment, eventually, is_alive


def family_with_simulator(master: ChildProcess) -> list[psutil.Process]:
    """The descendants, as soon as the simulator is among them."""
    eventually(lambda: any("--with-parent" in command for command in master.commands().values()), within_s=30)
    return master.children()


@pytest.mark.parametrize("after_s", [0.0, 0.1, 0.3, 0.6])
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_simulator_goes_with_a_master_that_ends_at_its_start(
    tmp_path: Path, sent: signal.Signals, after_s: float
) -> None:
    command = gateway_command("serve", "--mock", "--port", "0")
    settings = {"CLAUDE_WRAPPER_DATA_DIR": str(tmp_path / "data"), "CLAUDE_WRAPPER_REDIS_URL": "memory://"}
    with child_process(command, env=settings, output=tmp_path / "output") as master:
        family = family_with_simulator(master)
        time.sleep(after_s)  # the moment is what is tested
        master.send(sent)
        master.wait(within_s=30)
        try:
            eventually(lambda: not any(is_alive(process) for process in family), within_s=30)
        finally:
            for process in filter(is_alive, family):
                process.kill()


def test_ctrl_c_during_start_stops_what_was_starting(tmp_path: Path) -> None:
    settings = {"CLAUDE_WRAPPER_DATA_DIR": str(tmp_path / "data"), "CLAUDE_WRAPPER_REDIS_URL": "memory://"}
    with child_process(gateway_command("start", "--mock", "--port", "0"), env=settings, output=tmp_path / "o") as start:
        family = family_with_simulator(start)
        start.interrupt()  # what runs in the background is in another process group
        assert start.wait(within_s=20) == 130
        assert start.logs == "claude-wrapper: Interrupted; the gateway that was starting is stopped.\n"
        eventually(lambda: not any(is_alive(process) for process in family), within_s=10)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_end_of_the_terminal_ends_the_gateway_in_good_order(tmp_path: Path, workers: str) -> None:
    settings = {"CLAUDE_WRAPPER_DATA_DIR": str(tmp_path / "data")}
    command = gateway_command("--mock", "--no-interactive", "--port", "0", "--workers", workers)
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(command[0], command, clean_environment(settings))
    shown = b""
    while b"is ready" not in shown:
        shown += os.read(terminal, 65536)
    family = psutil.Process(pid).children(recursive=True)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    eventually(lambda: not any(is_alive(process) for process in family), within_s=10)


@pytest.mark.parametrize("command", ["config", "--help"])
def test_output_that_cannot_be_written_is_one_line(tmp_path: Path, command: str) -> None:
    script = f'exec "$@" {command} > /dev/full'
    with child_process(["sh", "-c", script, "sh", *gateway_command()], output=tmp_path / "errors") as process:
        assert process.wait(within_s=20) == 1
        assert process.logs == "claude-wrapper: What this prints cannot be written: No space left on device.\n"
