"""What ``connect`` returns for which URL, and what it leaves unimported."""

from __future__ import annotations

import subprocess
import sys

import pytest

from app.config import SettingError
from app.state import connect


def test_memory_needs_no_server() -> None:
    assert connect("memory://").status.kind == "memory"


@pytest.mark.parametrize("url", ["redis://localhost", "rediss://localhost", "unix:///nowhere.sock"])
def test_a_server_need_not_be_up(url: str) -> None:
    state = connect(url)
    assert state.status.kind == "redis"
    assert state.available
    assert not state.status.connected


@pytest.mark.parametrize("url", ["auto", "redis+sentinel://host/name", "redis+cluster://host", "http://host"])
def test_other_urls_are_refused_at_start(url: str) -> None:
    with pytest.raises(SettingError, match="CLAUDE_WRAPPER_REDIS_URL"):
        connect(url)


def test_a_server_url_imports_neither_redis_py_nor_fakeredis() -> None:
    program = (
        "import sys; from app.state import connect; connect('redis://localhost'); "
        "print(*({'redis', 'fakeredis', 'lupa', 'valkey'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("\n", "")
