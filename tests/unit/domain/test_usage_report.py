from __future__ import annotations

from typing import Any

import msgspec
import pytest

from app.domain.auth import ANONYMOUS, ApiKey, Caller, tenant_tag
from app.domain.limits import NO_LIMITS, Gauge, Limits
from app.domain.usage_report import (
    AccountReading,
    Counts,
    Standing,
    report_of_key,
    report_of_tenant,
    shown_caller,
    shown_id,
    shown_key,
)

#: 2026-12-31, days since 1970, and December 2026, months since year 0.
DAY = 20_818
MONTH = 2026 * 12 + 11

KEY = ApiKey(
    id="a" * 12, tenant="acme", name="Nightly batch", secret_hash="11" * 32, models=("claude-haiku-*",), expires_at=60.5
)


def standing(limits: Limits = NO_LIMITS, **numbers: Any) -> Standing:
    return Standing(limits=limits, day=DAY, month=MONTH, **numbers)


def reading(key: Standing, tenant: Standing | None = None, days: tuple[dict[str, Counts], ...] = ()) -> AccountReading:
    return AccountReading(key=key, tenant=tenant or standing(), today=DAY, days=days)


def report(*args: Any) -> dict[str, Any]:
    """The report of a key as its reader gets it."""
    decoded: dict[str, Any] = msgspec.json.decode(
        msgspec.json.encode(report_of_key("acme", shown_key(KEY, "stored"), reading(*args)))
    )
    return decoded


def test_limits_that_are_not_set_are_null_and_a_tenant_without_any_is_null() -> None:
    told = report(standing())
    assert set(told["limits"].values()) == {None}
    assert told["tenant_limits"] is None
    assert len(told["limits"]) == len(Limits.__struct_fields__)


def test_a_rate_tells_what_is_left_and_when_it_is_full() -> None:
    limits = Limits(requests_per_minute=60, input_tokens_per_minute=1000, output_tokens_per_minute=200)
    told = report(
        standing(
            limits,
            requests=Gauge(limit=60, left=59, full_in_s=0.123456),
            input_tokens=Gauge(limit=1000, left=0, full_in_s=90.0),
            output_tokens=Gauge(limit=200, left=200, full_in_s=0.0),
        )
    )["limits"]
    assert told["requests_per_minute"] == {"limit": 60, "remaining": 59, "reset_s": 0.123}
    assert told["input_tokens_per_minute"] == {"limit": 1000, "remaining": 0, "reset_s": 90.0}
    assert told["output_tokens_per_minute"] == {"limit": 200, "remaining": 200, "reset_s": 0.0}


def test_concurrency_tells_what_is_in_use() -> None:
    assert report(standing(Limits(concurrency=5), in_flight=2))["limits"]["concurrency"] == {"limit": 5, "in_use": 2}


def test_budgets_are_in_dollars_and_say_when_they_begin_anew() -> None:
    limits = Limits(budget_day_nano=5 * 10**9, budget_month_nano=100 * 10**9, budget_total_nano=200 * 10**9)
    told = report(
        standing(limits, day_nano=1, month_nano=3 * 10**9, total_nano=199 * 10**9, reserved_nano=1_500_000_000)
    )["limits"]
    assert told["budget_day"] == {
        "limit": 5.0,
        "spent": 1e-9,
        "reserved": 1.5,
        "remaining": 3.499999999,
        "resets_at": "2027-01-01T00:00:00Z",
    }
    assert (told["budget_month"]["remaining"], told["budget_month"]["resets_at"]) == (95.5, "2027-01-01T00:00:00Z")
    assert (told["budget_total"]["remaining"], told["budget_total"]["resets_at"]) == (0.0, None)


def test_a_month_ends_on_its_own_last_day() -> None:
    january = Standing(limits=Limits(budget_month_nano=10**9), day=DAY + 1, month=MONTH + 1)
    told = report_of_tenant("acme", reading(january, january)).tenant_limits
    assert told is not None
    assert told.budget_month is not None
    assert str(told.budget_month.resets_at) == "2027-02-01 00:00:00+00:00"


def test_days_are_told_newest_first_with_their_models_by_cost() -> None:
    days = (
        {
            "claude-haiku-4-5": Counts(requests=1, cache_hits=3, input_tokens=10, output_tokens=5, nano=1_000),
            "claude-opus-5": Counts(
                requests=2,
                cache_hits=4,
                input_tokens=100,
                cache_read_tokens=7,
                cache_write_tokens=9,
                output_tokens=50,
                nano=3_000,
                estimated_nano=1_000,
            ),
        },
        {},
    )
    told = report(standing(), standing(), days)
    today, yesterday = told["days"]
    assert (today["date"], yesterday["date"]) == ("2026-12-31", "2026-12-30")
    assert [model.pop("model") for model in today["models"]] == ["claude-opus-5", "claude-haiku-4-5"]
    assert today["models"][0] == {
        "requests": 2,
        "cached_requests": 4,
        "input_tokens": 100,
        "cache_read_tokens": 7,
        "cache_write_tokens": 9,
        "output_tokens": 50,
        "cost": 3e-6,
        "estimated_cost": 1e-6,
    }
    assert (today["requests"], today["input_tokens"], today["output_tokens"], today["cost"]) == (3, 110, 55, 4e-6)
    assert today["cached_requests"] == 7
    assert (yesterday["requests"], yesterday["cost"], yesterday["models"]) == (0, 0.0, [])
    assert told["estimated_share"] == 0.25


def test_without_cost_nothing_of_it_is_estimated() -> None:
    assert report(standing(), standing(), ({"m": Counts(requests=1)},))["estimated_share"] == 0.0


def test_spend_is_that_of_the_key_and_of_a_tenant_that_of_all_its_keys() -> None:
    one, all_keys = standing(day_nano=10**9), standing(day_nano=2 * 10**9, month_nano=3 * 10**9, total_nano=4 * 10**9)
    assert report(one, all_keys)["spend"] == {"day": 1.0, "month": 0.0, "total": 0.0}
    of_tenant = msgspec.to_builtins(report_of_tenant("acme", reading(one, all_keys)))
    assert of_tenant == {
        "object": "usage",
        "tenant": "acme",
        "tenant_limits": None,
        "spend": {"day": 2.0, "month": 3.0, "total": 4.0},
    }


def test_limits_of_the_tenant_are_told_beside_those_of_the_key() -> None:
    told = report(standing(), standing(Limits(concurrency=9), in_flight=4))
    assert told["limits"]["concurrency"] is None
    assert told["tenant_limits"]["concurrency"] == {"limit": 9, "in_use": 4}


def test_a_stored_key_is_shown_without_its_hash() -> None:
    assert msgspec.json.decode(msgspec.json.encode(shown_key(KEY, "stored"))) == {
        "id": "a" * 12,
        "name": "Nightly batch",
        "source": "stored",
        "scopes": ["inference", "sessions"],
        "models": ["claude-haiku-*"],
        "expires_at": "1970-01-01T00:01:00.500000Z",
    }


_TOKEN = Caller(tag=tenant_tag("acme"), tenant="acme", source="jwt", key_id="jwt-abc", subject="ann@example.com")


@pytest.mark.parametrize(
    ("caller", "record", "name", "expires"),
    [
        (ANONYMOUS, None, None, False),
        (_TOKEN, None, "ann@example.com", False),
        (Caller(tag="t", source="stored", key_id=KEY.id), KEY, "Nightly batch", True),
        (Caller(tag="t", source="file", key_id="f"), msgspec.structs.replace(KEY, expires_at=None), KEY.name, False),
    ],
)
def test_a_caller_is_named_by_its_key_or_its_subject(
    caller: Caller, record: ApiKey | None, name: str | None, expires: bool
) -> None:
    shown = shown_caller(caller, record)
    assert (shown.id, shown.source, shown.name) == (caller.key_id, caller.source, name)
    assert (shown.expires_at is not None) == expires


@pytest.mark.parametrize(
    ("tenant", "key_id", "source"),
    [
        ("default", "static", "static"),
        ("admin", "admin", "admin"),
        ("anonymous", "anonymous", "anonymous"),
        ("acme", "jwt-abcdefgh", "jwt"),
        ("byok", "byok-abcdefgh", "byok"),
        ("acme", "static", None),
        ("acme", "0123456789ab", None),
    ],
)
def test_who_has_no_record_is_named_by_tenant_and_id(tenant: str, key_id: str, source: str | None) -> None:
    shown = shown_id(tenant, key_id)
    assert (shown.id, shown.source, shown.name, shown.scopes) == (key_id, source, None, ())
