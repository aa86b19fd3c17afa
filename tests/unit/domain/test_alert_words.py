"""Alerts in words."""

from __future__ import annotations

from typing import Any

import pytest

from app.domain.alert_rules import RULES
from app.domain.alert_words import event_in_words, title_of, value_in_words
from app.domain.alerts import Unit
from tests.support.alerts import event


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "Critical: share of failed requests: 12.5 % (threshold 10 %)."),
        (
            {"level": "ok", "value": 0.01, "threshold": 0.05},
            "Resolved: share of failed requests: 1 % (threshold 5 %).",
        ),
        (
            {"alert": "response_time", "level": "warning", "value": 2.345, "threshold": 2.0, "unit": "s"},
            "Warning: mean response time: 2.35 s (threshold 2 s).",
        ),
        (
            {"alert": "memory", "value": 0.913, "threshold": 0.9, "about": "replica pod-2"},
            "Critical: memory of the fullest replica: 91.3 % (threshold 90 %) (replica pod-2).",
        ),
        (
            {"alert": "budget:acme/k1:month", "value": 1.02, "threshold": 1.0},
            "Critical: spend of acme/k1 a month, of its budget: 102 % (threshold 100 %).",
        ),
        (
            {"alert": "budget:acme:total", "level": "ok", "no_data": True},
            "Resolved: spend of acme in all, of its budget: nothing to read for 10 minutes.",
        ),
        ({"alert": "store_away", "about": "as seen from a"}, "Critical: the state store is away (as seen from a)."),
        ({"alert": "store_away", "level": "ok"}, "Resolved: the state store is back."),
        ({"alert": "upstream_credential:0a1b2c3d"}, "Critical: Anthropic refuses the key 0a1b2c3d."),
        ({"alert": "upstream_credential:0a1b2c3d", "level": "ok"}, "Resolved: Anthropic takes the key 0a1b2c3d again."),
        (
            {"alert": "forecast_memory", "value": 0.5, "threshold": 1.0, "unit": "days"},
            "Critical: at the present trend memory is full: within 0.5 days (threshold 1 days).",
        ),
        (
            {"alert": "forecast_sessions", "level": "ok", "value": 365.0, "threshold": 7.0, "unit": "days"},
            "Resolved: at the present trend a tenant has all its sessions: never (threshold 7 days).",
        ),
    ],
)
def test_an_event_is_one_sentence(fields: dict[str, Any], words: str) -> None:
    assert event_in_words(event(**fields)) == words


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (0.0, "fact", "no"),
        (1.0, "fact", "yes"),
        (3.14159, "s", "3.14 s"),
        (0.5, "share", "50 %"),
        (400, "days", "never"),
    ],
)
def test_a_value_has_its_unit(value: float, unit: Unit, words: str) -> None:
    assert value_in_words(value, unit) == words


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_has_a_title(rule: str) -> None:
    assert title_of(rule)


def test_titles_of_what_is_about_many() -> None:
    assert title_of("upstream_credential:0a1b2c3d") == "Anthropic key 0a1b2c3d"
    assert title_of("budget:acme:day") == "spend of acme a day, of its budget"
    assert title_of("of_a_later_release") == "of a later release"
