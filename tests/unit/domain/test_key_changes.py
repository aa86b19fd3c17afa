from __future__ import annotations

import math
from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.auth import DEFAULT_SCOPES, ApiKey, read_key
from app.domain.caching import MAX_CACHE_TTL_S, NO_CACHE_RULE, CacheRule
from app.domain.closed_wire import converted
from app.domain.key_changes import (
    MAX_TIME,
    changed_key,
    decoded_changes,
    duration_s,
    expiry_from_wire,
    grace_from_wire,
    limits_from_wire,
    new_key,
    revoked_key,
    rotated_key,
    with_fields,
)
from app.domain.limits import MAX_BUDGET_NANO, MAX_RATE, NO_LIMITS, Limits
from app.errors import InvalidRequest
from app.schemas.admin import KeyCache, KeyChanges, KeyLimits, KeyRotation, NewKey

NOW = 1_800_000_000.0
ID, SECRET = "a" * 12, "b" * 32

KEY = ApiKey(id=ID, tenant="acme", name="n", secret_hash="11" * 32, limits=Limits(concurrency=2))


def refused(**fields: Any) -> tuple[str | None, str]:
    """The ``param`` and the text of the error of a new key."""
    with pytest.raises(InvalidRequest) as caught:
        new_key(converted({"tenant": "acme", **fields}, NewKey), key_id=ID, secret=SECRET, now=NOW)
    assert caught.value.code == "invalid_value"
    return caught.value.param, caught.value.message


def test_a_new_key_is_what_was_asked_for() -> None:
    wire = NewKey(
        tenant="acme",
        name="Nightly batch",
        scopes=("sessions", "inference", "sessions"),
        models=("claude-haiku-*", "*"),
        limits=KeyLimits(requests_per_minute=60, budget_month=12.5),
        expires=NOW + 1,
        outage="fail_closed",
        cache=KeyCache(mode="on", ttl=600, share_within="tenant"),
        metadata={"team": "search"},
    )
    issued = new_key(wire, key_id=ID, secret=SECRET, now=NOW)
    said = read_key(issued.text.encode())
    assert said is not None
    assert issued.key == ApiKey(
        id=ID,
        tenant="acme",
        name="Nightly batch",
        secret_hash=said.secret_hash.hex(),
        scopes=("inference", "sessions"),
        models=("claude-haiku-*", "*"),
        limits=Limits(requests_per_minute=60, budget_month_nano=12_500_000_000),
        outage="fail_closed",
        cache=CacheRule(mode="on", ttl_s=600, share_within="tenant"),
        created_at=NOW,
        expires_at=NOW + 1,
        metadata={"team": "search"},
    )


def test_a_new_key_that_says_no_more_than_its_tenant_has_the_defaults() -> None:
    key = new_key(NewKey(tenant="acme"), key_id=ID, secret=SECRET, now=NOW).key
    assert (key.name, key.scopes, key.models, key.limits, key.expires_at) == (ID, DEFAULT_SCOPES, (), NO_LIMITS, None)
    assert key.cache == NO_CACHE_RULE


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tenant": ""}, "tenant"),
        ({"tenant": "a" * 65}, "tenant"),
        ({"tenant": "a b"}, "tenant"),
        ({"tenant": "*"}, "tenant"),
        ({"tenant": "acme\n"}, "tenant"),
        ({"name": ""}, "name"),
        ({"name": "n" * 129}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["inference", "root"]}, "scopes"),
        ({"models": ["claude"] * 101}, "models"),
        ({"models": ["claude", ""]}, "models[1]"),
        ({"models": ["m" * 129]}, "models[0]"),
        ({"models": ["cl*ude"]}, "models[0]"),
        ({"models": ["a\nb"]}, "models[0]"),
        ({"models": ["a b"]}, "models[0]"),
        ({"outage": "explode"}, "outage"),
        ({"metadata": {str(n): "" for n in range(17)}}, "metadata"),
        ({"metadata": {"": "x"}}, "metadata."),
        ({"metadata": {"k" * 65: "x"}}, "metadata." + "k" * 64),
        ({"metadata": {"k": "v" * 513}}, "metadata.k"),
        ({"metadata": {"a": "x", "b": 5}}, "metadata.b"),
        ({"expires": "tomorrow"}, "expires"),
        ({"limits": {"concurrency": 0}}, "limits.concurrency"),
        ({"cache": "on"}, "cache"),
        ({"cache": {"mode": "yes"}}, "cache.mode"),
        ({"cache": {"mode": 1}}, "cache.mode"),
        ({"cache": {"mode": []}}, "cache.mode"),
        ({"cache": {"ttl": 0}}, "cache.ttl"),
        ({"cache": {"ttl": MAX_CACHE_TTL_S + 1}}, "cache.ttl"),
        ({"cache": {"ttl": "5m"}}, "cache.ttl"),
        ({"cache": {"share_within": "team"}}, "cache.share_within"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], param: str) -> None:
    named, message = refused(**fields)
    assert named == param
    assert message.startswith(f"Invalid value for '{param}': expected ")


def test_the_largest_accepted_fields_are_accepted() -> None:
    wire = {
        "tenant": "a" * 64,
        "name": "n" * 128,
        "models": ["m" * 128, "m" * 127 + "*"] * 50,
        "metadata": {"k" * 64 if n == 0 else str(n): "v" * 512 for n in range(16)},
    }
    new_key(converted(wire, NewKey), key_id=ID, secret=SECRET, now=NOW)


# Changes


def test_a_change_leaves_what_it_does_not_name() -> None:
    assert changed_key(KEY, KeyChanges(), now=NOW) == KEY
    changed = changed_key(KEY, KeyChanges(models=("x",)), now=NOW)
    assert (changed.models, changed.name, changed.limits) == (("x",), "n", KEY.limits)


def test_null_clears() -> None:
    full = with_fields(KEY, KeyChanges(expires=NOW + 5, outage="fail_open"), now=NOW)
    cleared = changed_key(full, KeyChanges(limits=None, expires=None, outage=None), now=NOW)
    assert (cleared.limits, cleared.expires_at, cleared.outage) == (NO_LIMITS, None, None)


def test_notes_are_laid_over_those_there_are_and_null_removes() -> None:
    noted = changed_key(KEY, KeyChanges(metadata={"a": "b", "c": "d"}), now=NOW)
    assert changed_key(noted, KeyChanges(metadata={"e": "f", "a": "x"}), now=NOW).metadata == {
        "a": "x",
        "c": "d",
        "e": "f",
    }
    assert changed_key(noted, KeyChanges(metadata={"a": None, "z": None}), now=NOW).metadata == {"c": "d"}
    assert changed_key(noted, KeyChanges(metadata={}), now=NOW) == noted
    assert changed_key(noted, KeyChanges(metadata=None), now=NOW).metadata == {}


def test_notes_may_not_grow_beyond_their_number() -> None:
    full = changed_key(KEY, KeyChanges(metadata={str(n): "" for n in range(16)}), now=NOW)
    with pytest.raises(InvalidRequest, match="at most 16 pairs"):
        changed_key(full, KeyChanges(metadata={"one more": ""}), now=NOW)
    assert len(changed_key(full, KeyChanges(metadata={"one more": "", "0": None}), now=NOW).metadata) == 16


@pytest.mark.parametrize("field", ["tenant", "id", "version", "created_at"])
def test_what_a_key_keeps_for_good_is_said(field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decoded_changes(b'{"%s": "x"}' % field.encode())
    assert (caught.value.param, caught.value.message) == (field, f"'{field}' of a key cannot be changed.")


@pytest.mark.parametrize(
    ("body", "message"), [(b'{"expires_at": 1}', "Did you mean 'expires'"), (b'{"name": 1}', "a text"), (b"", "JSON")]
)
def test_other_mistakes_in_a_change_are_told_as_everywhere(body: bytes, message: str) -> None:
    assert decoded_changes(b'{"name": "n"}') == KeyChanges(name="n")
    with pytest.raises(InvalidRequest, match=message):
        decoded_changes(body)


def test_a_revoked_key_is_neither_changed_nor_rotated() -> None:
    revoked = revoked_key(KEY, now=NOW)
    assert revoked.revoked_at == NOW
    assert revoked_key(revoked, now=NOW + 1) is revoked
    with pytest.raises(InvalidRequest, match="create a new one"):
        changed_key(revoked, KeyChanges(name="x"), now=NOW)
    with pytest.raises(InvalidRequest):
        rotated_key(revoked, secret=SECRET, grace_s=0, now=NOW)


def test_rotation_keeps_the_old_hash_only_for_a_grace() -> None:
    at_once = rotated_key(KEY, secret=SECRET, grace_s=0, now=NOW).key
    assert (at_once.previous_hash, at_once.previous_until) == ("", 0.0)
    graceful = rotated_key(KEY, secret=SECRET, grace_s=30, now=NOW)
    assert (graceful.key.previous_hash, graceful.key.previous_until) == (KEY.secret_hash, NOW + 30)
    said = read_key(graceful.text.encode())
    assert said is not None
    assert (said.id, said.secret_hash.hex()) == (KEY.id, graceful.key.secret_hash)


# Cache


@pytest.mark.parametrize(
    ("wire", "rule"),
    [
        (KeyCache(), CacheRule(mode="opt-in", ttl_s=60, share_within="key")),
        (KeyCache(mode="off"), CacheRule(mode="off", ttl_s=60, share_within="key")),
        (KeyCache(ttl=MAX_CACHE_TTL_S), CacheRule(mode="opt-in", ttl_s=MAX_CACHE_TTL_S, share_within="key")),
        (KeyCache(mode=None, share_within="tenant"), CacheRule(ttl_s=60, share_within="tenant")),
        (KeyCache(ttl=None, share_within=None), CacheRule(mode="opt-in")),
        (None, NO_CACHE_RULE),
    ],
)
def test_of_the_cache_what_is_absent_stays_and_null_takes_back(wire: KeyCache | None, rule: CacheRule) -> None:
    full = with_fields(KEY, KeyChanges(cache=KeyCache(mode="opt-in", ttl=60, share_within="key")), now=NOW)
    assert changed_key(full, KeyChanges(cache=wire), now=NOW).cache == rule


@pytest.mark.parametrize(("mode", "word"), [(True, "on"), (False, "off"), ("opt-in", "opt-in")])
def test_a_mode_that_yaml_has_read_as_true_or_false_is_on_or_off(mode: object, word: str) -> None:
    assert changed_key(KEY, KeyChanges(cache=KeyCache(mode=mode)), now=NOW).cache.mode == word


@pytest.mark.parametrize(
    ("cache", "expected"),
    [
        ({"mode": "yes"}, "one of off, opt-in, on, or null."),
        ({"ttl": 1801}, "a whole number from 1 to 1800."),
        ({"share_within": "team"}, "one of key, tenant, or null."),
    ],
)
def test_the_error_of_a_rule_of_the_cache_says_what_is_accepted(cache: dict[str, Any], expected: str) -> None:
    assert refused(cache=cache)[1].endswith(f": expected {expected}")


# Limits


def test_limits_come_from_a_mapping_or_from_their_struct() -> None:
    assert limits_from_wire({"budget_day": 5}) == Limits(budget_day_nano=5_000_000_000)
    assert limits_from_wire(KeyLimits(budget_day=5)) == Limits(budget_day_nano=5_000_000_000)


def test_a_limit_that_is_absent_stays_and_null_clears_it() -> None:
    base = Limits(requests_per_minute=1, concurrency=2, budget_day_nano=3)
    assert limits_from_wire({"concurrency": None, "budget_day": None}, base) == Limits(requests_per_minute=1)


@pytest.mark.parametrize(
    ("wire", "param", "expected"),
    [
        ({"requests_per_minute": 0}, "requests_per_minute", "expected a whole number from 1 to 100000000."),
        ({"requests_per_minute": MAX_RATE + 1}, "requests_per_minute", "a whole number from 1 to 100000000"),
        ({"input_tokens_per_minute": 1.5}, "input_tokens_per_minute", "expected a whole number or null, got a number"),
        ({"output_tokens_per_minute": True}, "output_tokens_per_minute", "got true or false"),
        ({"concurrency": "5"}, "concurrency", "got a text"),
        ({"budget_day": -0.01}, "budget_day", "expected a number from 0 to 1000000."),
        ({"budget_month": 1_000_000.01}, "budget_month", "a number from 0 to 1000000"),
        ({"budget_day": 1e-10}, "budget_day", "expected 0, or at least a nano-dollar (0.000000001)"),
        ({"budget_total": math.nan}, "budget_total", "number"),
        ({"budget_total": math.inf}, "budget_total", "number"),
    ],
)
def test_a_limit_out_of_bounds_is_named(wire: dict[str, Any], param: str, expected: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        limits_from_wire(wire, param="claims.limits")
    assert caught.value.param == f"claims.limits.{param}"
    assert expected in caught.value.message


def test_limits_of_another_form_are_named() -> None:
    with pytest.raises(InvalidRequest) as caught:
        limits_from_wire("many")
    assert (caught.value.param, caught.value.message) == (
        "limits",
        "Invalid value for 'limits': expected an object, got a text.",
    )
    with pytest.raises(InvalidRequest) as caught:
        limits_from_wire({"rpm": 5})
    assert (caught.value.param, caught.value.code) == ("limits.rpm", "unknown_parameter")


@given(st.integers(0, MAX_BUDGET_NANO))
def test_every_nano_dollar_survives_the_wire(nano: int) -> None:
    assert limits_from_wire({"budget_total": nano / 1_000_000_000}).budget_total_nano == nano


# Time


@pytest.mark.parametrize(
    ("value", "at"),
    [
        (None, None),
        ("2030-01-31T12:00:00Z", 1_896_091_200.0),
        ("2030-01-31T13:00:00+01:00", 1_896_091_200.0),
        (datetime(2030, 1, 31, 12, tzinfo=UTC), 1_896_091_200.0),
        (1_896_091_200, 1_896_091_200.0),
        (1_896_091_200.5, 1_896_091_200.5),
        (MAX_TIME, float(MAX_TIME)),
        ("2030-01-31", 1_896_048_000.0),
        (date(2030, 1, 31), 1_896_048_000.0),
        ("30d", NOW + 30 * 86_400),
    ],
)
def test_an_expiry_is_a_time_a_day_a_duration_or_unix_seconds(value: object, at: float | None) -> None:
    assert expiry_from_wire(value, now=NOW) == at


@pytest.mark.parametrize(
    "value",
    [
        "2030-01-31T12:00:00",
        "2030-02-31",
        "0d",
        "",
        datetime(2030, 1, 31),
        True,
        [],
        NOW,
        NOW - 1,
        -1,
        MAX_TIME + 1,
        math.nan,
        math.inf,
    ],
)
def test_any_other_expiry_is_refused(value: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        expiry_from_wire(value, now=NOW, param="keys[0].expires")
    assert caught.value.param == "keys[0].expires"


def test_the_error_of_an_expiry_names_every_form() -> None:
    with pytest.raises(InvalidRequest) as caught:
        expiry_from_wire("soon", now=NOW)
    for form in ("2030-01-31T12:00:00Z", "2030-01-31 (its beginning, UTC)", "30d or 12h", "Unix seconds"):
        assert form in caught.value.message


def test_where_there_is_no_now_there_are_no_durations() -> None:
    with pytest.raises(InvalidRequest) as caught:
        expiry_from_wire("30d")
    assert "duration" not in caught.value.message
    assert expiry_from_wire("2001-01-01") == 978_307_200.0


@pytest.mark.parametrize(
    ("wire", "grace_s"),
    [
        (KeyRotation(), 0.0),
        (KeyRotation(grace_s=1.5), 1.5),
        (KeyRotation(grace="12h"), 43_200.0),
        (KeyRotation(grace="30d"), 2_592_000.0),
    ],
)
def test_a_grace_is_seconds_or_a_duration(wire: KeyRotation, grace_s: float) -> None:
    assert grace_from_wire(wire) == grace_s


@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        (KeyRotation(grace="foo"), "a duration such as 90s, 30m, 1h or 7d, up to 30d, or a number of seconds"),
        (KeyRotation(grace="31d"), "up to 30d"),
        (KeyRotation(grace="1h", grace_s=5.0), "either grace or grace_s, not both"),
    ],
)
def test_any_other_grace_is_refused(wire: KeyRotation, expected: str) -> None:
    with pytest.raises(InvalidRequest, match=expected) as caught:
        grace_from_wire(wire)
    assert caught.value.param == "grace"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("90m", 5400), ("12h", 43_200), ("30d", 2_592_000), ("4w", 2_419_200), (" 1d ", 86_400)],
)
def test_a_duration_has_a_unit(text: str, seconds: float) -> None:
    assert duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "d", "-1d", "1.5h", "1y", "9999999999d", "1d1h"])
def test_any_other_text_is_no_duration(text: str) -> None:
    assert duration_s(text) is None


def test_a_time_with_more_digits_than_any_clock_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="before the year 10000"):
        expiry_from_wire(int("1" * 400), now=NOW)
