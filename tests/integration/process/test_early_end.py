"""A gateway that is ended while it is still starting leaves nothing behind."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.support.gateway import gateway_command
from tests.support.processes import ChildProcess, child_process, eventually, is_alive


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
