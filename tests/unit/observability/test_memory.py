"""The limit of memory: the container's, else the machine's."""

from pathlib import Path

import psutil
import pytest

from app.observability.memory import limit_bytes, own_limit_bytes

TOTAL = psutil.virtual_memory().total


@pytest.mark.parametrize(("text", "expected"), [("536870912\n", 536_870_912), ("max\n", TOTAL), (str(2**63), TOTAL)])
def test_the_containers_limit_counts_where_it_is_one(tmp_path: Path, text: str, expected: int) -> None:
    file = tmp_path / "memory.max"
    file.write_text(text)
    assert limit_bytes((tmp_path / "missing", file)) == expected


def test_without_a_container_it_is_the_machines_memory(tmp_path: Path) -> None:
    assert limit_bytes((tmp_path / "missing",)) == TOTAL


def test_our_own_limit_is_no_more_than_the_machine_has() -> None:
    assert 0 < own_limit_bytes() <= TOTAL
