from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.cli.checks.finding import Outcome
from app.cli.checks.monitoring import check_metrics, check_monitoring, latest_book
from app.cli.instance import Instance
from app.config import Config
from app.domain.alert_book import AlertBook

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("settings", "evaluated_s_ago", "outcome"),
    [
        ({}, None, Outcome.SKIP),
        ({}, 5.0, Outcome.OK),
        ({"health_monitoring": True}, None, Outcome.OK),
        ({"health_monitoring": True}, 3600.0, Outcome.OK),
        ({"alert_webhook_url": "https://hooks.example.com/canary"}, None, Outcome.WARN),
        ({"alert_webhook_url": "https://hooks.example.com/canary"}, 3600.0, Outcome.WARN),
        ({"alert_webhook_url": "https://hooks.example.com/canary"}, 5.0, Outcome.OK),
        ({"alert_error_rate": 0.2, "alert_error_rate_critical": 0.5}, None, Outcome.WARN),
        ({"monitor_interval_s": 600.0}, 1200.0, Outcome.OK),
    ],
)
def test_alerts_that_are_expected_and_that_nobody_evaluates_are_warned_about(
    settings: dict[str, Any], evaluated_s_ago: float | None, outcome: Outcome
) -> None:
    book = None if evaluated_s_ago is None else AlertBook(evaluated_at=NOW - evaluated_s_ago, leader="here:1")
    finding = check_monitoring(Config(**settings), book, now=NOW)
    assert finding.outcome is outcome
    assert ("claude-wrapper monitor" in finding.advice) is (outcome is Outcome.WARN)
    assert "canary" not in finding.detail + finding.advice


@pytest.mark.parametrize(
    ("settings", "outcome"),
    [
        ({}, Outcome.OK),
        ({"metrics": "off"}, Outcome.SKIP),
        ({"metrics": "admin"}, Outcome.WARN),
        ({"metrics": "admin", "admin_key": "k"}, Outcome.OK),
    ],
)
def test_metrics_that_nobody_can_read_are_warned_about(settings: dict[str, Any], outcome: Outcome) -> None:
    finding = check_metrics(Config(**settings))
    assert finding.outcome is outcome
    assert ("CLAUDE_WRAPPER_ADMIN_KEY" in finding.advice) is (outcome is Outcome.WARN)


@pytest.mark.parametrize("url", ["memory://", "auto", "http://x", "unix:///no/such.sock"])
def test_without_a_store_that_answers_nothing_is_known_of_alerts(url: str, tmp_path: Path) -> None:
    assert latest_book(Config(redis_url=url), Instance(tmp_path, 1)) is None
