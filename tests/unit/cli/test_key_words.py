from __future__ import annotations

import pytest

from app.cli.key_words import key_in_words, keys_in_a_table, limits_in_words
from app.domain.auth import ApiKey
from app.domain.limits import NO_LIMITS, Limits

NOW = 1_800_000_000.0

PLAIN = ApiKey(id="a" * 12, tenant="acme", name="n", secret_hash="11" * 32, created_at=NOW)
FULL = ApiKey(
    id="b" * 12,
    tenant="other-tenant",
    name="Nightly batch",
    secret_hash="11" * 32,
    models=("claude-haiku-*",),
    limits=Limits(requests_per_minute=60),
    outage="fail_closed",
    created_at=NOW,
    expires_at=NOW + 60,
    revoked_at=NOW + 1,
    previous_hash="22" * 32,
    previous_until=NOW + 30,
    metadata={"team": "search"},
)


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (NO_LIMITS, ""),
        (Limits(requests_per_minute=60, concurrency=5), "60 req/min, 5 at once"),
        (Limits(input_tokens_per_minute=1, output_tokens_per_minute=2), "1 in/min, 2 out/min"),
        (
            Limits(budget_day_nano=2_500_000_000, budget_month_nano=0, budget_total_nano=1),
            "$2.5/day, $0/month, $1e-09/total",
        ),
    ],
)
def test_limits_in_short_form(limits: Limits, words: str) -> None:
    assert limits_in_words(limits) == words


def test_a_plain_key_says_what_counts_instead() -> None:
    assert key_in_words(PLAIN, now=NOW).splitlines() == [
        "  id             aaaaaaaaaaaa",
        "  tenant         acme",
        "  name           n",
        "  status         active",
        "  scopes         inference, sessions",
        "  models         all",
        "  limits         the deployment's defaults",
        "  outage         the deployment's policy",
        "  created        2027-01-15 08:00:00Z",
        "  expires        never",
        "  version        1",
    ]


def test_a_full_key_says_everything_but_hashes() -> None:
    words = key_in_words(FULL, now=NOW)
    for line in (
        "  status         revoked",
        "  models         claude-haiku-*",
        "  limits         60 req/min",
        "  outage         fail_closed",
        "  expires        2027-01-15 08:01:00Z",
        "  revoked        2027-01-15 08:00:01Z",
        "  old key until  2027-01-15 08:00:30Z",
        "  metadata       team=search",
    ):
        assert line in words.splitlines()
    assert "1111" not in words
    assert "old key" not in key_in_words(FULL, now=NOW + 31)


def test_a_table_is_aligned() -> None:
    assert keys_in_a_table([PLAIN, FULL], now=NOW).splitlines() == [
        "ID            TENANT        NAME           STATUS   LIMITS      CREATED",
        "aaaaaaaaaaaa  acme          n              active   -           2027-01-15 08:00:00Z",
        "bbbbbbbbbbbb  other-tenant  Nightly batch  revoked  60 req/min  2027-01-15 08:00:00Z",
    ]
