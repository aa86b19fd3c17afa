from __future__ import annotations

import pytest

from app.domain.limits import Gauge
from app.translate.rate_limit_headers import go_duration, own_headers, to_openai

NOW = 1_795_000_000.0  # 2026-11-18T11:06:40Z


def test_limit_remaining_and_reset_of_requests_and_tokens() -> None:
    headers = {
        "anthropic-ratelimit-requests-limit": "50",
        "anthropic-ratelimit-requests-remaining": "49",
        "anthropic-ratelimit-requests-reset": "2026-11-18T11:06:41Z",
        "anthropic-ratelimit-tokens-limit": "40000",
        "anthropic-ratelimit-tokens-remaining": "39000",
        "anthropic-ratelimit-tokens-reset": "2026-11-18T12:09:33.8+01:00",
        "anthropic-ratelimit-input-tokens-limit": "1",
    }
    assert to_openai(headers, NOW) == {
        "x-ratelimit-limit-requests": "50",
        "x-ratelimit-remaining-requests": "49",
        "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-limit-tokens": "40000",
        "x-ratelimit-remaining-tokens": "39000",
        "x-ratelimit-reset-tokens": "2m53.8s",
    }


def test_a_time_without_a_zone_is_utc() -> None:
    assert (
        to_openai({"anthropic-ratelimit-tokens-reset": "2026-11-18T11:06:41"}, NOW)["x-ratelimit-reset-tokens"] == "1s"
    )


def test_what_is_missing_or_unreadable_is_left_out() -> None:
    headers = {
        "anthropic-ratelimit-requests-limit": "many",
        "anthropic-ratelimit-requests-remaining": "-1",
        "anthropic-ratelimit-requests-reset": "soon",
        "retry-after": "3",
    }
    assert to_openai(headers, NOW) == {}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5.0, "0s"),
        (0.0, "0s"),
        (0.0001, "1ms"),
        (0.547, "547ms"),
        (0.9999, "1s"),
        (1.0, "1s"),
        (59.5, "59.5s"),
        (172.8, "2m52.8s"),
        (360.0, "6m0s"),
        (3723.004, "1h2m3.004s"),
        (7200.0, "2h0m0s"),
    ],
)
def test_durations_are_written_as_go_does(seconds: float, text: str) -> None:
    assert go_duration(seconds) == text


def test_the_gateways_own_rates_are_told_in_the_same_words() -> None:
    requests = Gauge(limit=60, left=59, full_in_s=1.0)
    tokens = Gauge(limit=40_000, left=0, full_in_s=172.8)
    assert own_headers(requests, tokens) == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-limit-tokens": "40000",
        "x-ratelimit-remaining-tokens": "0",
        "x-ratelimit-reset-tokens": "2m52.8s",
    }


def test_a_rate_that_is_not_set_is_not_told() -> None:
    assert own_headers(None, None) == {}
    assert set(own_headers(None, Gauge(limit=1, left=1, full_in_s=0.0))) == {
        "x-ratelimit-limit-tokens",
        "x-ratelimit-remaining-tokens",
        "x-ratelimit-reset-tokens",
    }
