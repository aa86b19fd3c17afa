"""``claude-wrapper`` in the foreground, as a user sees it."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.gateway import RunningGateway, gateway_command, running_gateway
from tests.support.processes import PROJECT, child_process, clean_environment, eventually, is_alive

CHAT = {"model": "sonnet", "messages": [{"role": "user", "content": "hello"}]}


def chat(gateway: RunningGateway, key: str = "any") -> dict[str, Any]:
    request = urllib.request.Request(
        f"{gateway.base_url}/v1/chat/completions",
        json.dumps(CHAT).encode(),
        {"content-type": "application/json", "authorization": f"Bearer {key}"},
    )
    with urllib.request.urlopen(request, timeout=20) as reply:
        answer: dict[str, Any] = json.load(reply)
        return answer


def run(*args: str, env: dict[str, str] | None = None, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        gateway_command(*args),
        env=clean_environment(env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


@pytest.fixture(scope="module")
def gateway() -> Iterator[RunningGateway]:
    """A mock with two workers."""
    with running_gateway("--mock", "--workers", "2") as gateway:
        yield gateway


def named(gateway: RunningGateway, word: str) -> psutil.Process:
    (pid,) = [pid for pid, command in gateway.process.commands().items() if word in command]
    return psutil.Process(pid)


def named_worker(gateway: RunningGateway) -> str:
    """The command line of a worker: it is forked, so it is the master's."""
    return " ".join(psutil.Process(gateway.pid).cmdline())


def test_mock_answers(gateway: RunningGateway) -> None:
    assert chat(gateway)["object"] == "chat.completion"


def test_one_clear_block_says_how_to_use_it(gateway: RunningGateway) -> None:
    block = gateway.logs
    for fact in (
        f"  address     {gateway.base_url}\n",
        "  mode        mock: answers come from the built-in simulator\n",
        f"  state       embedded valkey in {gateway.data_dir}/{gateway.port}\n",
        "  protection  open: no key is asked for\n",
        "  workers     2\n",
        f"  docs        {gateway.base_url}/docs\n",
        f"  dashboard   {gateway.base_url}/dashboard\n",
        f"  export OPENAI_BASE_URL={gateway.base_url}/v1\n",
    ):
        assert fact in block
    assert block.count("is ready") == 1
    assert "gunicorn" not in block.lower()


def test_master_has_imported_the_application_and_runs_nothing_of_it(gateway: RunningGateway) -> None:
    master = psutil.Process(gateway.pid)
    mapped = {Path(part.path).name for part in master.memory_maps()}
    assert [name for name in mapped if "hiredis" in name]
    assert not [name for name in mapped if "_http_parser" in name or "jiter" in name]  # no way to Anthropic
    assert master.num_threads() == 1  # a fork takes no thread along


def test_worker_that_replaces_another_has_opened_its_lane_before_it_serves() -> None:
    with running_gateway("--mock") as gateway:
        old = {pid for pid, command in gateway.process.commands().items() if command == named_worker(gateway)}
        gateway.process.send(signal.SIGHUP)
        eventually(lambda: not any(psutil.pid_exists(pid) for pid in old), within_s=30)
        (new,) = [pid for pid, command in gateway.process.commands().items() if command == named_worker(gateway)]
        mapped = {Path(part.path).name for part in psutil.Process(new).memory_maps()}
    assert [name for name in mapped if "_http_parser" in name]
    assert not [name for name in mapped if "jiter" in name]  # the SDK's


def test_second_gateway_on_the_port_is_told_who_has_it(gateway: RunningGateway) -> None:
    ran = run("--port", str(gateway.port), env={"CLAUDE_WRAPPER_DATA_DIR": str(gateway.data_dir)})
    assert ran.returncode == 1
    assert f"Port {gateway.port} is taken: a gateway is running there (pid {gateway.pid})" in ran.stderr
    assert f"--port {gateway.port + 1}" in ran.stderr
    assert ran.stderr.count("\n") == 1


def test_port_of_somebody_else_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ran = run("serve", str(port), env={"CLAUDE_WRAPPER_DATA_DIR": str(tmp_path)})
    assert ran.returncode == 1
    assert ran.stderr == (
        f"claude-wrapper: Port {port} on 127.0.0.1 is taken. Take another one: 'claude-wrapper --port {port + 1}'.\n"
    )


@pytest.mark.parametrize(
    ("word", "name"), [("valkey-server", "The embedded state server"), ("simulator", "The simulator")]
)
def test_companion_that_dies_is_started_again(gateway: RunningGateway, word: str, name: str) -> None:
    old = named(gateway, word)
    eventually(lambda: time.time() - old.create_time() > 2.1, within_s=30)
    old.kill()

    def is_back() -> bool:
        return any(word in command for pid, command in gateway.process.commands().items() if pid != old.pid)

    eventually(is_back, within_s=30)
    eventually(lambda: f"{name} died and was started again." in gateway.logs, within_s=30)

    def answers() -> bool:
        try:
            return bool(chat(gateway)["choices"])
        except OSError:
            return False

    eventually(answers, within_s=30)


def status_of(gateway: RunningGateway, data_dir: Path) -> dict[str, Any]:
    """``status --json``, once the workers have noticed that their state server is back."""
    found: dict[str, Any] = {}

    def is_healthy() -> bool:
        ran = run("status", str(gateway.port), "--json", env={"CLAUDE_WRAPPER_DATA_DIR": str(data_dir)})
        assert ran.returncode == 0
        found.update(json.loads(ran.stdout))
        return bool(found["health"] == "healthy")

    eventually(is_healthy, within_s=30)
    return found


def test_status_while_it_runs(gateway: RunningGateway) -> None:
    status = status_of(gateway, gateway.data_dir)
    assert (status["running"], status["pid"], status["url"], status["workers"]) == (
        True,
        gateway.pid,
        gateway.base_url,
        2,
    )
    ran = run("-t", str(gateway.port), env={"CLAUDE_WRAPPER_DATA_DIR": str(gateway.data_dir)})
    assert f"A gateway runs at {gateway.base_url} (pid {gateway.pid})." in ran.stdout


def test_status_knows_a_gateway_of_another_data_directory_by_its_answer(
    gateway: RunningGateway, tmp_path: Path
) -> None:
    status = status_of(gateway, tmp_path)
    assert (status["running"], status["pid"]) == (True, None)


def test_stop_says_when_it_cannot_stop_what_answers(gateway: RunningGateway, tmp_path: Path) -> None:
    ran = run("stop", str(gateway.port), env={"CLAUDE_WRAPPER_DATA_DIR": str(tmp_path)})
    assert ran.returncode == 1
    assert ran.stderr.startswith(f"claude-wrapper: A gateway answers on port {gateway.port}, but {tmp_path} ")
    assert "CLAUDE_WRAPPER_DATA_DIR" in ran.stderr


def test_status_of_another_port_names_the_one_that_runs(gateway: RunningGateway) -> None:
    ran = run("status", "1", env={"CLAUDE_WRAPPER_DATA_DIR": str(gateway.data_dir)})
    assert ran.returncode == 3
    assert ran.stdout == f"No gateway runs on port 1. One runs on port {gateway.port}.\n"


@pytest.mark.parametrize("flags", [["--mock"], []])
def test_doctor_finds_nothing_wrong_with_a_running_mock(gateway: RunningGateway, flags: list[str]) -> None:
    env = {"CLAUDE_WRAPPER_DATA_DIR": str(gateway.data_dir)}
    ran = run("doctor", *flags, "--json", str(gateway.port), env=env)
    findings = {finding["name"]: finding for finding in json.loads(ran.stdout)}
    assert ran.returncode == 0, ran.stdout
    assert {name for name, finding in findings.items() if finding["outcome"] == "ok"} >= {
        "python",
        "settings",
        "redis",
        "redis version",
        "redis memory",
        "port",
        "gateway",
    }
    assert "answered in" in findings["gateway"]["detail"]
    for name in ("credential", "upstream"):
        assert (findings[name]["outcome"], "simulator" in findings[name]["detail"]) == ("skip", True)


def test_doctor_checks_what_a_running_gateway_uses_and_not_what_was_typed() -> None:
    settings = {"ANTHROPIC_BASE_URL": "http://127.0.0.1:1", "CLAUDE_WRAPPER_REDIS_URL": "memory://"}
    with running_gateway(env=settings) as gateway:
        env = settings | {"CLAUDE_WRAPPER_DATA_DIR": str(gateway.data_dir)}
        ran = run("doctor", "--mock", "--json", str(gateway.port), env=env)
    findings = {finding["name"]: finding for finding in json.loads(ran.stdout)}
    assert (findings["credential"]["outcome"], findings["upstream tcp"]["outcome"]) == ("fail", "fail")


def test_everything_is_gone_when_the_master_is_killed() -> None:
    with running_gateway("--mock") as gateway:
        family = gateway.process.children()
        assert len(family) == 3
        gateway.process.send(signal.SIGKILL)
        eventually(lambda: not any(is_alive(child) for child in family), within_s=30)


def test_ctrl_c_stops_it_with_a_clear_last_line() -> None:
    with running_gateway("--mock") as gateway:
        family = gateway.process.children()
        gateway.process.interrupt()
        assert gateway.process.wait(within_s=30) == 0
        assert gateway.logs.endswith(
            "\nStopping: requests in flight may finish. Ctrl-C again stops at once.\nStopped.\n"
        )
        assert not any(is_alive(child) for child in family)
        left = [path.name for path in (gateway.data_dir / str(gateway.port)).iterdir()]
        assert left == ["state"]


def test_key_protects_and_is_not_shown() -> None:
    with running_gateway("--mock", "--api-key", "sk-test-very-secret") as gateway:
        assert "API key required" in gateway.logs
        assert "very-secret" not in gateway.logs
        assert chat(gateway, "sk-test-very-secret")["choices"]
        with pytest.raises(urllib.request.HTTPError, match="401"):  # type: ignore[attr-defined]
            chat(gateway, "sk-wrong")


def test_missing_credential_is_said_at_the_start() -> None:
    with running_gateway(env={"CLAUDE_WRAPPER_REDIS_URL": "memory://"}) as gateway:
        assert "WITHOUT A CREDENTIAL" in gateway.logs
        assert "claude-wrapper --mock" in gateway.logs
        assert "in memory; lost when it stops" in gateway.logs


def test_production_warns_loudly_when_open_and_logs_json() -> None:
    env = {"CLAUDE_WRAPPER_REDIS_URL": "memory://"}
    with running_gateway("--production", "--mock", "--workers", "1", "--verbose", env=env) as gateway:
        assert "WARNING: THIS API IS OPEN TO EVERYBODY" in gateway.logs
        assert "listening on 0.0.0.0" in gateway.logs
        chat(gateway)
        eventually(lambda: '"level":"INFO"' in gateway.logs, within_s=30, message=gateway.logs)


def test_it_runs_without_a_directory_to_write_to(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with running_gateway(
        "--mock", data_dir=tmp_path / "file", env={"CLAUDE_WRAPPER_REDIS_URL": "memory://"}
    ) as gateway:
        assert chat(gateway)["choices"]


@pytest.mark.parametrize(
    ("args", "env", "complaint"),
    [
        ([], {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "Inside Kubernetes"),
        (["-w", "2"], {"CLAUDE_WRAPPER_REDIS_URL": "memory://"}, "memory:// is private to a process"),
        ([], {"CLAUDE_WRAPPER_WORKRES": "2"}, "Did you mean CLAUDE_WRAPPER_WORKERS?"),
        ([], {"CLAUDE_WRAPPER_MAX_SESSIONS": "0"}, "CLAUDE_WRAPPER_MAX_SESSIONS: "),
        ([], {"CLAUDE_WRAPPER_MODELS_FILE": "/no/such/file.toml"}, "CLAUDE_WRAPPER_MODELS_FILE: "),
        ([], {"ANTHROPIC_BASE_URL": "api.anthropic.com"}, "ANTHROPIC_BASE_URL: takes a URL"),
        (["--mock"], {"CLAUDE_WRAPPER_SIMULATOR_TTFT_MS": "x"}, "CLAUDE_WRAPPER_SIMULATOR_TTFT_MS: 'x'"),
    ],
)
def test_what_cannot_work_is_refused_at_the_start(
    args: list[str], env: dict[str, str], complaint: str, tmp_path: Path
) -> None:
    ran = run("--port", "0", *args, env=env | {"CLAUDE_WRAPPER_DATA_DIR": str(tmp_path)})
    assert ran.returncode == 2
    assert complaint in ran.stderr
    assert ran.stderr.count("\n") == 1


def in_terminal(command: list[str], env: dict[str, str], answer: bytes, until: str) -> tuple[str, int]:
    """Runs a command in a terminal of its own; returns what it showed until ``until``, and its pid."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(command[0], command, env)
    shown, answered, deadline = "", False, time.monotonic() + 60
    try:
        while not re.search(until, shown):
            assert time.monotonic() < deadline, shown
            if select.select([terminal], [], [], 0.2)[0]:
                shown += os.read(terminal, 65536).decode()
            if "?" in shown and not answered:
                os.write(terminal, answer)
                answered = True
        os.write(terminal, b"\x03")
        while True:
            try:
                shown += os.read(terminal, 65536).decode()
            except OSError:
                break
    finally:
        os.close(terminal)
    return shown, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_terminal_is_asked_once_and_shown_a_new_key_once(tmp_path: Path) -> None:
    env = clean_environment({"CLAUDE_WRAPPER_DATA_DIR": str(tmp_path), "CLAUDE_WRAPPER_REDIS_URL": "memory://"})
    shown, status = in_terminal(gateway_command("--mock", "--port", "0"), env, b"y\n", r"OPENAI_API_KEY=\S+")
    assert shown.count("Protect the API with a key?") == 1
    assert len(re.findall(r"sk-cw-[A-Za-z0-9_-]{43}", shown)) == 1
    assert "export OPENAI_API_KEY=sk-cw-" in shown
    assert "API key required" in shown
    assert "Stopped." in shown
    assert status == 0


def test_terminal_may_say_no(tmp_path: Path) -> None:
    env = clean_environment({"CLAUDE_WRAPPER_DATA_DIR": str(tmp_path), "CLAUDE_WRAPPER_REDIS_URL": "memory://"})
    shown, _ = in_terminal(gateway_command("--mock", "--port", "0"), env, b"\n", r"OPENAI_API_KEY=\S+")
    assert "sk-cw-" not in shown
    assert "open: no key is asked for" in shown


FOREIGN_APP = "raise SystemExit('this is the app of the working directory')\n"


@pytest.fixture
def foreign_directory(tmp_path: Path) -> Path:
    """A working directory with packages of our names."""
    for package in ("app", "workers"):
        (tmp_path / "project" / package).mkdir(parents=True)
        for file in ("__init__.py", "main.py", "cli.py", "gateway.py"):
            (tmp_path / "project" / package / file).write_text(FOREIGN_APP)
    return tmp_path / "project"


def assert_serves_and_stops(command: list[str], directory: Path, data_dir: Path, extra: dict[str, str]) -> None:
    env = {"CLAUDE_WRAPPER_DATA_DIR": str(data_dir)} | extra
    with child_process(
        [*command, "--mock", "--port", "0", "--workers", "2"], env=env, cwd=directory, output=data_dir / "output"
    ) as process:
        found = process.wait_for(r"OPENAI_BASE_URL=(\S+)/v1\n", within_s=60)
        assert chat(RunningGateway(found[1], process, data_dir))["choices"]
        process.send(signal.SIGHUP)  # the new workers import everything again
        process.wait_for("Replacing all workers", within_s=30)
        port = found[1].rpartition(":")[2]
        background = subprocess.run(
            [*command, "start", "--mock", "--port", "0"], cwd=directory, env=clean_environment(env),
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=90, check=False,
        )  # fmt: skip
        assert background.returncode == 0, background.stderr
        other = re.search(r"stop it: .*claude-wrapper'? stop (\d+)", background.stdout)
        assert other is not None
        for one in (port, other[1]):
            subprocess.run([*command, "stop", one], cwd=directory, env=clean_environment(env), check=True, timeout=60)
        assert process.wait(within_s=30) == 0


def test_app_of_the_working_directory_is_never_imported_from_an_editable_install(
    foreign_directory: Path, tmp_path: Path
) -> None:
    script = Path(sys.executable).with_name("claude-wrapper")
    if not script.exists():
        pytest.skip("the checkout is not installed")
    assert_serves_and_stops([str(script)], foreign_directory, tmp_path, {})


def test_app_of_the_working_directory_is_never_imported_from_a_wheel(foreign_directory: Path, tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")],
        cwd=PROJECT, check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    site = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", str(site), str(wheel)],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    # Ahead of the checkout, which is installed here as well.
    command = [sys.executable, "-P", str(site / "bin" / "claude-wrapper")]
    assert_serves_and_stops(command, foreign_directory, tmp_path, {"PYTHONPATH": str(site)})
