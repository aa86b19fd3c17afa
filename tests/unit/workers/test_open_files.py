from __future__ import annotations

import resource
from collections.abc import Iterator

import pytest

from workers import open_files
from workers.open_files import raise_open_files_limit


@pytest.fixture(autouse=True)
def hard() -> Iterator[int]:
    """The hard limit; what a test changes of the soft one is put back."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def soft() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def test_low_soft_limit_is_raised(hard: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    raise_open_files_limit()
    assert soft() == (open_files.ENOUGH if hard == resource.RLIM_INFINITY else min(hard, open_files.ENOUGH))


def test_no_more_is_taken_than_is_enough(monkeypatch: pytest.MonkeyPatch, hard: int) -> None:
    monkeypatch.setattr(open_files, "ENOUGH", 512)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    raise_open_files_limit()
    assert soft() == 512


def test_higher_limit_stays(monkeypatch: pytest.MonkeyPatch, hard: int) -> None:
    monkeypatch.setattr(open_files, "ENOUGH", 512)
    resource.setrlimit(resource.RLIMIT_NOFILE, (700, hard))
    raise_open_files_limit()
    assert soft() == 700
