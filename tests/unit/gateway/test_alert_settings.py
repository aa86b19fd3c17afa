"""Settings of alerts: what they come to, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from app.config import Config, SettingError
from app.domain.alert_rules import Threshold
from app.gateway.alert_settings import AlertSettings, check_alerts

URL = "https://hooks.example.com/services/T000/B000/the-secret-part"


def test_the_defaults_are_those_of_the_mission() -> None:
    settings = AlertSettings.of(Config())
    assert settings.thresholds.response_time_s == Threshold(2.0, 5.0)
    assert settings.thresholds.memory == Threshold(0.8, 0.9)
    assert settings.thresholds.error_rate == Threshold(0.05, 0.1)
    assert settings.thresholds.sessions == Threshold(0.8, 0.95)
    assert settings.thresholds.budget == Threshold(0.8, 1.0)
    assert settings.thresholds.forecast_days == Threshold(7.0, 1.0)
    assert (settings.thresholds.min_requests, settings.window_minutes) == (20, 5)
    assert settings.webhook is None


@pytest.mark.parametrize(("window_s", "window_minutes"), [(60, 1), (61, 2), (300, 5), (3600, 60)])
def test_the_window_is_rounded_up_to_minutes(window_s: int, window_minutes: int) -> None:
    assert AlertSettings.of(Config(alert_window_s=window_s)).window_minutes == window_minutes


def test_a_webhook_may_be_signed() -> None:
    plain = AlertSettings.of(Config(alert_webhook_url=URL)).webhook
    signed = AlertSettings.of(Config(alert_webhook_url=URL, alert_webhook_secret="correct horse")).webhook
    assert plain is not None
    assert signed is not None
    assert (plain.url, plain.format, plain.key, signed.key) == (URL, "json", None, b"correct horse")


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"alert_memory": 0.95}, "CLAUDE_WRAPPER_ALERT_MEMORY is above CLAUDE_WRAPPER_ALERT_MEMORY_CRITICAL"),
        ({"alert_response_time_critical_s": 1.0}, "CLAUDE_WRAPPER_ALERT_RESPONSE_TIME_S is above"),
        ({"alert_forecast_days": 0.5}, "CLAUDE_WRAPPER_ALERT_FORECAST_DAYS is below"),
        ({"alert_webhook_secret": "correct horse"}, "CLAUDE_WRAPPER_ALERT_WEBHOOK_URL, which is not set"),
        (
            {"alert_webhook_url": URL, "alert_webhook_secret": "whsec_%"},
            "CLAUDE_WRAPPER_ALERT_WEBHOOK_SECRET: behind whsec_ base64 is expected.",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict[str, Any], complaint: str) -> None:
    with pytest.raises(SettingError, match=complaint):
        check_alerts(Config(**fields))


@pytest.mark.parametrize("url", ["hooks.example.com/secret", "ftp://a/secret", "http:///secret", "http://a:x/secret"])
def test_a_url_that_is_none_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(SettingError, match="CLAUDE_WRAPPER_ALERT_WEBHOOK_URL") as refused:
        check_alerts(Config(alert_webhook_url=url))
    assert "secret" not in str(refused.value)


def test_what_makes_sense_is_accepted() -> None:
    check_alerts(Config(alert_webhook_url="http://127.0.0.1:9000/hook", alert_memory=0.9))
