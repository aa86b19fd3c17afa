from __future__ import annotations

from pathlib import Path

import pytest

from app.cli.checks.finding import Outcome
from app.cli.checks.store import check_store, info_of, memory_finding, version_finding
from app.cli.instance import Instance
from app.config import Config


@pytest.mark.parametrize(
    ("info", "outcome"),
    [
        ("redis_version:7.0.0", Outcome.WARN),
        ("redis_version:7.2.0", Outcome.OK),
        ("redis_version:6.2.14", Outcome.FAIL),
        ("redis_version:7.2.4\r\nvalkey_version:7.2.9", Outcome.OK),
        ("redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:7.1.0", Outcome.FAIL),
        ("redis_version:10.0.1", Outcome.OK),
        ("# Server", Outcome.SKIP),
    ],
)
def test_server_is_old_below_redis_7_0_and_valkey_7_2(info: str, outcome: Outcome) -> None:
    assert version_finding(info_of(info.encode())).outcome is outcome


def test_a_server_that_cannot_tell_of_its_disk_is_said_to() -> None:
    finding = version_finding({"redis_version": "7.0.15"})
    assert "does not tell whether a revoked key is on its disk" in finding.detail
    assert "7.2" in finding.advice


@pytest.mark.parametrize(
    ("limit", "policy", "outcome"),
    [
        ("0", "allkeys-lru", Outcome.OK),
        ("1000000", "volatile-ttl", Outcome.OK),
        ("0", "noeviction", Outcome.OK),
        ("1000000", "noeviction", Outcome.WARN),
        ("1000000", "volatile-lru", Outcome.FAIL),
        ("1000000", "allkeys-lfu", Outcome.FAIL),
    ],
)
def test_full_server_must_not_let_go_of_budgets(limit: str, policy: str, outcome: Outcome) -> None:
    finding = memory_finding({"maxmemory": limit, "maxmemory-policy": policy})
    assert finding.outcome is outcome
    assert ("volatile-ttl" in finding.advice) is (outcome is not Outcome.OK)


def test_memory_is_nothing_to_check(tmp_path: Path) -> None:
    (finding,) = check_store(Config(redis_url="memory://"), Instance(tmp_path, 1), {})
    assert finding.outcome is Outcome.SKIP


def test_auto_inside_kubernetes_fails(tmp_path: Path) -> None:
    (finding,) = check_store(Config(), Instance(tmp_path, 1), {"KUBERNETES_SERVICE_HOST": "x"})
    assert finding.outcome is Outcome.FAIL


def test_server_that_is_not_there_fails_without_its_password(tmp_path: Path) -> None:
    url = f"unix://:very-secret@{tmp_path}/no.sock"
    (finding,) = check_store(Config(redis_url=url), Instance(tmp_path, 1), {})
    assert finding.outcome is Outcome.FAIL
    assert "very-secret" not in finding.detail + finding.advice


def test_url_that_is_none_is_said(tmp_path: Path) -> None:
    (finding,) = check_store(Config(redis_url="http://x"), Instance(tmp_path, 1), {})
    assert finding.outcome is Outcome.FAIL
    assert "CLAUDE_WRAPPER_REDIS_URL" in finding.detail
