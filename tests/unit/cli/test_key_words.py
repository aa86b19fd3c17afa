from __future__ import annotations

import msgspec
import pytest
from rich.cells import cell_len

from app.cli.key_words import cache_in_words, key_in_words, keys_in_a_table, limits_in_words
from app.domain.auth import ApiKey
from app.domain.caching import NO_CACHE_RULE, CacheRule
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
    cache=CacheRule(mode="on", ttl_s=600),
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
            "$2.5/day, $0/month, $0.000000001 in all",
        ),
    ],
)
def test_limits_in_short_form(limits: Limits, words: str) -> None:
    assert limits_in_words(limits) == words


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (NO_CACHE_RULE, ""),
        (CacheRule(ttl_s=600), "600 s"),
        (CacheRule(mode="off", ttl_s=5, share_within="tenant"), "off, 5 s, shared within tenant"),
    ],
)
def test_a_rule_of_the_cache_in_short_form(rule: CacheRule, words: str) -> None:
    assert cache_in_words(rule) == words


def test_a_plain_key_says_what_counts_instead() -> None:
    assert key_in_words(PLAIN, now=NOW).splitlines() == [
        "  id             aaaaaaaaaaaa",
        "  tenant         acme",
        "  name           n",
        "  status         active",
        "  scopes         inference, sessions",
        "  models         all",
        "  limits         the deployment's defaults",
        "  cache          the deployment's settings",
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
        "  cache          on, 600 s",
        "  outage         fail_closed",
        "  expires        2027-01-15 08:01:00Z",
        "  revoked        2027-01-15 08:00:01Z",
        "  metadata       team=search",
    ):
        assert line in words.splitlines()
    assert "1111" not in words
    assert "old key" not in words
    assert "  store          redis://x" in key_in_words(FULL, now=NOW, store="redis://x").splitlines()


def test_the_text_before_a_rotation_is_told_as_long_as_it_is_good() -> None:
    good = msgspec.structs.replace(FULL, revoked_at=None)
    assert "  old key until  2027-01-15 08:00:30Z" in key_in_words(good, now=NOW)
    assert "old key" not in key_in_words(good, now=NOW + 31)


def test_a_table_is_aligned() -> None:
    plain = msgspec.structs.replace(FULL, models=(), cache=NO_CACHE_RULE, expires_at=None)
    assert keys_in_a_table([plain, PLAIN], now=NOW).splitlines() == [
        "ID            TENANT        NAME           STATUS   LIMITS      CREATED",
        "aaaaaaaaaaaa  acme          n              active   -           2027-01-15 08:00:00Z",
        "bbbbbbbbbbbb  other-tenant  Nightly batch  revoked  60 req/min  2027-01-15 08:00:00Z",
    ]


def test_a_table_shows_models_cache_and_expiry_where_a_key_has_them() -> None:
    head, first, second = keys_in_a_table([PLAIN, FULL], now=NOW).splitlines()
    assert head.split() == ["ID", "TENANT", "NAME", "STATUS", "MODELS", "LIMITS", "CACHE", "EXPIRES", "CREATED"]
    assert first.split()[4:8] == ["-", "-", "-", "-"]
    assert second[head.index("CACHE") :].startswith("on, 600 s ")
    assert (second[head.index("MODELS") :].split()[0], head.index("EXPIRES")) == (
        "claude-haiku-*",
        second.index("2027-01-15 08:01:00Z"),
    )


def test_a_table_is_ordered_by_tenant_and_name() -> None:
    named = [
        msgspec.structs.replace(PLAIN, tenant=tenant, name=name)
        for tenant, name in [("b", "a"), ("a", "z"), ("a", "b")]
    ]
    rows = keys_in_a_table(named, now=NOW).splitlines()[1:]
    assert [tuple(row.split()[1:3]) for row in rows] == [("a", "b"), ("a", "z"), ("b", "a")]


def test_wide_characters_keep_the_columns_aligned() -> None:
    wide = msgspec.structs.replace(PLAIN, name="\u591c\u9593\u30d0\u30c3\u30c1")
    long = msgspec.structs.replace(PLAIN, name="\u591c" * 40)
    lines = keys_in_a_table([PLAIN, wide, long], now=NOW).splitlines()
    assert {cell_len(line.partition("active")[0]) for line in lines[1:]} == {cell_len(lines[0].partition("STATUS")[0])}
    assert any("\u591c" * 14 + "..." in line for line in lines)
