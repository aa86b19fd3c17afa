from __future__ import annotations

from pathlib import Path

import pytest

from app.cli.errors import CommandFailed
from app.cli.instance import Instance
from app.cli.state_choice import choose_state, masked
from app.config import Config


def nothing() -> None:
    """No server on this machine."""


def test_auto_is_refused_inside_kubernetes(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="CLAUDE_WRAPPER_REDIS_URL") as failure:
        choose_state(Config(), Instance(tmp_path, 1), {"KUBERNETES_SERVICE_HOST": "10.0.0.1"})
    assert failure.value.status == 2


def test_auto_without_any_server_is_memory_and_says_what_that_means(tmp_path: Path) -> None:
    choice = choose_state(Config(), Instance(tmp_path, 1), {}, find_server_binary=nothing)
    assert choice.url == "memory://"
    assert "lost when it stops" in choice.words


@pytest.mark.parametrize("redis_url", ["auto", "memory://"])
def test_memory_is_refused_for_several_workers(tmp_path: Path, redis_url: str) -> None:
    with pytest.raises(CommandFailed, match="--workers 1"):
        choose_state(Config(workers=2, redis_url=redis_url), Instance(tmp_path, 1), {}, find_server_binary=nothing)


def test_given_server_is_used_as_it_is_and_shown_without_its_password(tmp_path: Path) -> None:
    url = "rediss://user:secret@redis.internal:6380/2"
    choice = choose_state(Config(redis_url=url), Instance(tmp_path, 1), {})
    assert (choice.url, choice.words) == (url, "rediss://redis.internal:6380/2")


def test_directory_that_cannot_be_written_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CommandFailed, match="CLAUDE_WRAPPER_DATA_DIR"):
        choose_state(Config(), Instance(tmp_path / "file", 1), {})


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:p@h", "redis://h"),
        ("unix:///run/r.sock?db=1&password=p", "unix:///run/r.sock"),
        ("redis://h:1", "redis://h:1"),
    ],
)
def test_masked_url_has_no_password(url: str, shown: str) -> None:
    assert masked(url) == shown
