from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.cli.cores import cgroup_quota, usable_cores


@pytest.mark.parametrize(("cpu_max", "cores"), [("150000 100000", 1.5), ("max 100000", None), ("50000 100000", 0.5)])
def test_quota_of_cgroup_v2(tmp_path: Path, cpu_max: str, cores: float | None) -> None:
    (tmp_path / "cpu.max").write_text(cpu_max + "\n")
    assert cgroup_quota(tmp_path) == cores


@pytest.mark.parametrize(("quota", "cores"), [("400000", 4.0), ("-1", None)])
def test_quota_of_cgroup_v1(tmp_path: Path, quota: str, cores: float | None) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(quota + "\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert cgroup_quota(tmp_path) == cores


def test_no_cgroup_is_no_quota(tmp_path: Path) -> None:
    assert cgroup_quota(tmp_path) is None


def test_half_a_core_is_one_worker(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert usable_cores(tmp_path) == 1


def test_large_quota_is_bounded_by_the_cores_the_scheduler_allows(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("99900000 100000\n")
    assert usable_cores(tmp_path) == len(os.sched_getaffinity(0))
