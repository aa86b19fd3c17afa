from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from app.cli.errors import CommandFailed
from app.cli.instance import Instance, InstanceFacts, running_instances
from app.config import data_root
from tests.support.processes import PROJECT

FACTS = InstanceFacts(
    pid=1,
    version="1",
    url="http://127.0.0.1:8000",
    workers=1,
    started_at=1.0,
    stop_limit_s=300,
    mode="mock",
    state="here",
)


@contextmanager
def claimed_by_another_process(root: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    code = (
        "import sys, pathlib; from app.cli.instance import Instance\n"
        f"Instance(pathlib.Path({str(root)!r}), {port}).claim(); print('claimed', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "claimed\n"
        yield process
        process.kill()


def test_instance_of_another_process_is_running_until_it_dies(tmp_path: Path) -> None:
    instance = Instance(tmp_path, 8000)
    with claimed_by_another_process(tmp_path, 8000) as process:
        assert instance.running_pid() == process.pid
        assert [found.port for found in running_instances(tmp_path)] == [8000]
        process.kill()
        process.wait()
        assert instance.running_pid() is None
    assert list(running_instances(tmp_path)) == []


def test_port_of_a_running_gateway_cannot_be_claimed(tmp_path: Path) -> None:
    with claimed_by_another_process(tmp_path, 8000) as process:
        with pytest.raises(CommandFailed, match=rf"pid {process.pid}.*claude-wrapper stop 8000.*--port 8001"):
            Instance(tmp_path, 8000).claim()
        Instance(tmp_path, 8001).claim()


def test_stale_pid_file_is_nobody_even_when_its_pid_lives(tmp_path: Path) -> None:
    instance = Instance(tmp_path, 8000)
    instance.prepare()
    (instance.directory / "gateway.pid").write_text(f"{os.getpid()}\n")
    assert instance.running_pid() is None


def test_claim_forgets_what_an_earlier_gateway_said(tmp_path: Path) -> None:
    instance = Instance(tmp_path, 8000)
    instance.prepare()
    instance.tell(FACTS)
    instance.claim()
    assert instance.facts() is None


def test_facts_are_read_back(tmp_path: Path) -> None:
    instance = Instance(tmp_path, 8000)
    instance.claim()
    instance.tell(FACTS)
    assert instance.facts() == FACTS
    instance.release()
    assert instance.facts() is None
    assert list(instance.directory.iterdir()) == []


def test_unreadable_facts_count_as_none(tmp_path: Path) -> None:
    instance = Instance(tmp_path, 8000)
    instance.prepare()
    (instance.directory / "gateway.json").write_bytes(msgspec.json.encode({"pid": "x"}))
    assert instance.facts() is None


def test_directory_is_for_this_user_only(tmp_path: Path) -> None:
    instance = Instance(tmp_path / "root", 8000)
    instance.claim()
    instance.tell(FACTS)
    assert stat.S_IMODE(instance.directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in instance.directory.iterdir()} == {0o600}


@pytest.mark.parametrize(
    ("data_dir", "environ", "root"),
    [
        ("/data", {}, Path("/data")),
        ("~/cw", {}, Path.home() / "cw"),
        ("", {"XDG_STATE_HOME": "/state"}, Path("/state/claude-wrapper")),
        ("", {"XDG_STATE_HOME": "relative"}, Path.home() / ".local/state/claude-wrapper"),
        ("", {}, Path.home() / ".local/state/claude-wrapper"),
    ],
)
def test_data_is_kept_in_the_users_state_directory(data_dir: str, environ: dict[str, str], root: Path) -> None:
    assert data_root(data_dir, environ) == root


def test_running_instances_of_no_directory_are_none(tmp_path: Path) -> None:
    assert list(running_instances(tmp_path / "missing")) == []
