from __future__ import annotations

import msgspec
import pytest

from app.domain.auth import ApiKey
from app.domain.caching import CacheRule
from app.domain.key_changes import KeyChange
from app.domain.key_objects import change_object, changes_between, key_object, status_of
from app.domain.limits import Limits

NOW = 1_800_000_000.0

KEY = ApiKey(id="a" * 12, tenant="acme", name="n", secret_hash="11" * 32, created_at=NOW, expires_at=NOW + 60)


@pytest.mark.parametrize(
    ("key", "now", "status"),
    [
        (KEY, NOW, "active"),
        (KEY, NOW + 60, "expired"),
        (msgspec.structs.replace(KEY, expires_at=None), NOW + 1e9, "active"),
        (msgspec.structs.replace(KEY, revoked_at=NOW), NOW + 60, "revoked"),
    ],
)
def test_a_key_is_active_expired_or_revoked(key: ApiKey, now: float, status: str) -> None:
    assert status_of(key, now=now) == status


def test_an_object_shows_everything_but_hashes() -> None:
    key = msgspec.structs.replace(
        KEY,
        models=("claude-*",),
        limits=Limits(requests_per_minute=60, budget_day_nano=100_000_000, budget_total_nano=5_000_000_000),
        outage="fail_open",
        cache=CacheRule(mode="on", ttl_s=600),
        previous_hash="22" * 32,
        previous_until=NOW + 0.5,
        revoked_at=NOW + 1,
        version=3,
        metadata={"a": "b"},
    )
    assert msgspec.to_builtins(key_object(key, now=NOW)) == {
        "object": "api_key",
        "id": "a" * 12,
        "tenant": "acme",
        "name": "n",
        "scopes": ("inference", "sessions"),
        "models": ("claude-*",),
        "limits": {
            "requests_per_minute": 60,
            "input_tokens_per_minute": None,
            "output_tokens_per_minute": None,
            "concurrency": None,
            "budget_day": 0.1,
            "budget_month": None,
            "budget_total": 5.0,
        },
        "outage": "fail_open",
        "cache": {"mode": "on", "ttl": 600, "share_within": None},
        "created_at": "2027-01-15T08:00:00Z",
        "expires_at": "2027-01-15T08:01:00Z",
        "revoked_at": "2027-01-15T08:00:01Z",
        "old_key_until": None,
        "version": 3,
        "status": "revoked",
        "metadata": {"a": "b"},
    }


def test_the_text_before_a_rotation_is_shown_as_long_as_the_key_is_not_revoked() -> None:
    rotated = msgspec.structs.replace(KEY, previous_hash="22" * 32, previous_until=NOW + 0.5)
    shown = msgspec.to_builtins(key_object(rotated, now=NOW))
    assert shown["old_key_until"] == "2027-01-15T08:00:00.500000Z"


def test_a_new_key_has_changed_in_everything_that_is_set() -> None:
    key = msgspec.structs.replace(KEY, limits=Limits(concurrency=2), cache=CacheRule(share_within="tenant"))
    changes = changes_between(None, key)
    assert {name: change["to"] for name, change in changes.items()} == {
        "name": "n",
        "scopes": ("inference", "sessions"),
        "models": (),
        "expires_at": "2027-01-15T08:01:00Z",
        "metadata": {},
        "limits.concurrency": 2,
        "cache.share_within": "tenant",
    }
    assert all(change["from"] is None for change in changes.values())


def test_a_change_names_what_it_was_and_what_it_became() -> None:
    after = msgspec.structs.replace(
        KEY, limits=Limits(budget_day_nano=1_000_000_000), expires_at=None, secret_hash="33" * 32, version=2
    )
    assert changes_between(KEY, after) == {
        "expires_at": {"from": "2027-01-15T08:01:00Z", "to": None},
        "limits.budget_day": {"from": None, "to": 1.0},
    }
    assert changes_between(KEY, KEY) == {}


def test_a_change_of_the_cache_names_what_of_it_has_changed() -> None:
    before = msgspec.structs.replace(KEY, cache=CacheRule(mode="on", ttl_s=60))
    after = msgspec.structs.replace(KEY, cache=CacheRule(mode="off", ttl_s=60, share_within="tenant"))
    assert changes_between(before, after) == {
        "cache.mode": {"from": "on", "to": "off"},
        "cache.share_within": {"from": None, "to": "tenant"},
    }


def test_an_entry_of_the_audit_is_shown_with_its_time() -> None:
    entry = KeyChange(at=NOW, actor="cli:ann", action="update", key_id="k", tenant="t", changes={"name": {}})
    assert msgspec.to_builtins(change_object("7-0", entry)) == {
        "object": "key_change",
        "id": "7-0",
        "at": "2027-01-15T08:00:00Z",
        "actor": "cli:ann",
        "action": "update",
        "key_id": "k",
        "tenant": "t",
        "changes": {"name": {}},
    }
