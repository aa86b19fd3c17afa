"""``start``, ``stop``, ``--daemon``: the gateway in the background."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.gateway import gateway_command
from tests.support.processes import clean_environment, eventually, is_alive


class Shell:
    """Runs commands over one data directory, and stops what they leave behind."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir

    def __call__(self, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            gateway_command(*args),
            env=clean_environment({"CLAUDE_WRAPPER_DATA_DIR": str(self.data_dir)} | env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def start(self, *args: str, **env: str) -> tuple[str, psutil.Process]:
        """The port and the master of a gateway that was started."""
        ran = self(*args, "--mock", "--port", "0", **env)
        assert ran.returncode == 0, ran.stderr
        found = re.search(r"pid (\d+), .*\n.*stop (\d+)", ran.stdout)
        assert found is not None, ran.stdout
        return found[2], psutil.Process(int(found[1]))


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(tmp_path / "data")
    yield shell
    if shell.data_dir.is_dir():
        for directory in shell.data_dir.iterdir():
            shell("stop", directory.name, "--now")


@pytest.mark.parametrize("command", ["start", "--daemon"])
def test_started_gateway_is_found_and_stopped_by_its_port(shell: Shell, command: str) -> None:
    port, master = shell.start(command)
    family = [master, *master.children(recursive=True)]
    status = shell("status", port)
    assert (status.returncode, f"(pid {master.pid})" in status.stdout) == (0, True)
    stopped = shell("--stop", port)
    assert stopped.returncode == 0
    assert stopped.stdout == f"Stopped the gateway on port {port} (pid {master.pid}).\n"
    eventually(lambda: not any(is_alive(process) for process in family), within_s=30)
    assert shell("status", port).returncode == 3
    assert shell("stop", port).stdout == f"No gateway runs on port {port}.\n"


def test_block_is_shown_and_the_log_is_where_it_says(shell: Shell) -> None:
    ran = shell("start", "--mock", "--port", "0")
    assert "is ready." in ran.stdout
    assert "export OPENAI_BASE_URL=" in ran.stdout
    found = re.search(r"log (\S+)", ran.stdout)
    assert found is not None
    assert "is ready." in Path(found[1]).read_text()
    assert ran.stderr == ""


def test_log_of_production_is_json_from_the_first_line_to_the_last(shell: Shell) -> None:
    port, _ = shell.start("start", "--production", "--workers", "1", "--host", "127.0.0.1", "--api-key", "k")
    shell("stop", port)
    records = [json.loads(line) for line in (shell.data_dir / port / "gateway.log").read_text().splitlines()]
    first, last = records[0], records[-1]
    assert (first["message"], first["address"]) == ("Claude Wrapper is ready.", f"http://127.0.0.1:{port}")
    assert (first["workers"], first["protected"]) == (1, True)
    assert last["message"] == "Stopped."


def test_key_is_not_among_the_arguments_of_the_process(shell: Shell) -> None:
    port, master = shell.start("start", "--api-key", "sk-very-secret")
    shown = " ".join(word for process in [master, *master.children(recursive=True)] for word in process.cmdline())
    assert "very-secret" not in shown
    assert "API key required" in (shell.data_dir / port / "gateway.log").read_text()


def test_start_on_a_port_that_is_taken_by_ours_says_who(shell: Shell) -> None:
    port, master = shell.start("start")
    again = shell("start", "--mock", "--port", port)
    assert again.returncode == 1
    assert f"(pid {master.pid})" in again.stderr


def test_start_that_fails_says_why_and_where_the_log_is(shell: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ran = shell("start", "--mock", "--port", str(port))
    assert ran.returncode == 1
    assert "The gateway did not start. Its log: " in ran.stderr
    assert f"Port {port} on 127.0.0.1 is taken." in ran.stderr


def test_start_with_a_wrong_setting_starts_nothing(shell: Shell) -> None:
    ran = shell("start", "--mock", "--port", "0", CLAUDE_WRAPPER_MODELS_FILE="/no/such/file.toml")
    assert ran.returncode == 2
    assert ran.stderr.startswith("claude-wrapper: CLAUDE_WRAPPER_MODELS_FILE: ")
    assert ran.stderr.count("\n") == 1
    assert not shell.data_dir.exists()


def test_gateway_in_the_background_survives_the_end_of_its_terminal(shell: Shell) -> None:
    port, master = shell.start("start")
    assert master.terminal() is None
    assert shell("status", port).returncode == 0


def test_killed_gateway_is_not_running_and_its_port_can_be_used_again(shell: Shell) -> None:
    port, master = shell.start("start")
    master.send_signal(signal.SIGKILL)
    eventually(lambda: shell("status", port).returncode == 3, within_s=30)
    ran = shell("start", "--mock", "--port", port)
    assert ran.returncode == 0, ran.stderr
