"""The wire of the admin routes, and of the keys file, which names things alike.

What is asked for is closed: an unknown field is an error that names it. Money is US dollars, as a number; times that
are answered are RFC 3339. Fields that were not sent are ``UNSET``. What the values may be is decided in
``domain/key_changes.py``; only the bounds of numbers stand here.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

#: Of requests, tokens or requests in flight; the same bound as ``app.domain.limits``.
Rate = Annotated[int, Meta(ge=1, le=100_000_000)]
#: US dollars, up to a million.
Dollars = Annotated[float, Meta(ge=0, le=1_000_000)]
#: Seconds, up to 30 days.
Grace = Annotated[float, Meta(ge=0, le=30 * 86_400)]
#: Seconds; the same bound as ``app.domain.caching``.
CacheTtl = Annotated[int, Meta(ge=1, le=1800)]
#: Checked in ``domain/key_changes.py``; YAML reads ``on`` and ``off`` as true and false, which are accepted, too.
Mode = Annotated[
    Any, Meta(extra_json_schema={"type": "string", "enum": ["off", "opt-in", "on", None], "nullable": True})
]
#: A text, or null to remove the note; checked in ``domain/key_changes.py``, which names the note at fault.
Note = Annotated[Any, Meta(extra_json_schema={"type": "string", "nullable": True})]


class KeyLimits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits as they are asked for; null clears one, and one that is absent stays as it is.

    Args:
        requests_per_minute: requests a minute.
        input_tokens_per_minute: input tokens a minute; what is read from the prompt cache does not count.
        output_tokens_per_minute: output tokens a minute.
        concurrency: requests in flight.
        budget_day: US dollars a day (UTC).
        budget_month: US dollars a calendar month (UTC).
        budget_total: US dollars in all.
    """

    requests_per_minute: Rate | UnsetType | None = UNSET
    input_tokens_per_minute: Rate | UnsetType | None = UNSET
    output_tokens_per_minute: Rate | UnsetType | None = UNSET
    concurrency: Rate | UnsetType | None = UNSET
    budget_day: Dollars | UnsetType | None = UNSET
    budget_month: Dollars | UnsetType | None = UNSET
    budget_total: Dollars | UnsetType | None = UNSET


class KeyCache(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The cache of a key as it is asked for; null takes back what was set, and what is absent stays as it is.

    Args:
        mode: of the response cache: off, opt-in (for requests that ask for it) or on.
        ttl: seconds that an answer is kept.
        share_within: key or tenant: who shares its sessions and cached answers.
    """

    mode: Mode = UNSET
    ttl: CacheTtl | UnsetType | None = UNSET
    share_within: str | UnsetType | None = UNSET


class KeyChanges(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What of a key is to change; what is absent stays as it is.

    Args:
        name: for people.
        scopes: what it may do: inference, sessions, admin.
        models: names or ``prefix*`` patterns of models it may use; empty means all.
        limits: its limits; null clears all of them.
        expires: RFC 3339 with a zone, a day (its beginning, UTC), a duration such as 30d, or Unix seconds; null never.
        outage: fail_open or fail_closed while Redis is away; null is the deployment's setting.
        cache: its response cache and whom it shares with; null takes all of it back.
        metadata: notes of your own, laid over those there are; null removes one, or all of them.
    """

    name: str | UnsetType = UNSET
    scopes: tuple[str, ...] | UnsetType = UNSET
    models: tuple[str, ...] | UnsetType = UNSET
    limits: KeyLimits | UnsetType | None = UNSET
    expires: Any = UNSET
    outage: str | UnsetType | None = UNSET
    cache: KeyCache | UnsetType | None = UNSET
    metadata: dict[str, Note] | UnsetType | None = UNSET


class NewKey(KeyChanges, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key that is to be made.

    Args:
        tenant: name of the tenant it belongs to; it cannot be changed later.
        name: for people; its id where absent.
        scopes: what it may do: inference, sessions, admin; the first two where absent.
        models: names or ``prefix*`` patterns of models it may use; empty means all.
        limits: its limits; the deployment's defaults count for what is not set.
        expires: RFC 3339 with a zone, a day (its beginning, UTC), a duration such as 30d, or Unix seconds; null never.
        outage: fail_open or fail_closed while Redis is away; null is the deployment's setting.
        cache: its response cache and whom it shares with; the deployment's settings count for what is not set.
        metadata: notes of your own, given back as they are.
    """

    tenant: str


class KeyRotation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a key gets a new secret.

    Args:
        grace_s: seconds in which the old secret stays good, up to 30 days; 0 where neither is given.
        grace: the same as a duration, such as 90s, 12h or 7d.
    """

    grace_s: Grace | UnsetType = UNSET
    grace: str | UnsetType = UNSET


class FileKey(NewKey, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key of the keys file.

    Args:
        key: its text.
        key_sha256: SHA-256 of its text, hexadecimal, instead of the text.
        id: names it in logs and counts its use; made of its hash where absent.
    """

    key: str | UnsetType = UNSET
    key_sha256: str | UnsetType = UNSET
    id: str | UnsetType = UNSET


class FileContent(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The keys file.

    Args:
        keys: its keys.
        tenants: limits of tenants over all their keys, by name.
    """

    keys: tuple[FileKey, ...] = ()
    tenants: dict[str, Any] = {}


class LimitsObject(Struct, frozen=True, kw_only=True):
    """Limits that are set; null where the deployment's default counts.

    Args:
        requests_per_minute: requests a minute.
        input_tokens_per_minute: input tokens a minute.
        output_tokens_per_minute: output tokens a minute.
        concurrency: requests in flight.
        budget_day: US dollars a day (UTC).
        budget_month: US dollars a calendar month (UTC).
        budget_total: US dollars in all.
    """

    requests_per_minute: int | None
    input_tokens_per_minute: int | None
    output_tokens_per_minute: int | None
    concurrency: int | None
    budget_day: float | None
    budget_month: float | None
    budget_total: float | None


class CacheObject(Struct, frozen=True, kw_only=True):
    """What is set of the cache of a key; null where the deployment's setting counts.

    Args:
        mode: of the response cache.
        ttl: seconds that an answer is kept.
        share_within: who shares its sessions and cached answers.
    """

    mode: Literal["off", "opt-in", "on"] | None
    ttl: int | None
    share_within: Literal["key", "tenant"] | None


class KeyObject(Struct, frozen=True, kw_only=True):
    """An API key.

    Args:
        id: names it in routes, lists and logs.
        tenant: name of its tenant.
        name: for people.
        scopes: what it may do.
        models: names or patterns of models it may use; empty means all.
        limits: its own limits.
        outage: its policy while Redis is away; null is the deployment's setting.
        cache: its response cache and whom it shares with.
        created_at: when it was made.
        expires_at: when it ends; null never.
        revoked_at: when it was revoked.
        old_key_until: after a rotation: as long as the text before it is good.
        version: grows with every change.
        status: whether it is good.
        metadata: your own notes.
        key: its text; only in the reply that makes it.
        durable: whether a restart of the store keeps the revocation; only in the reply to one.
        durability: the same in words.
    """

    object: Literal["api_key"] = "api_key"
    id: str
    tenant: str
    name: str
    scopes: tuple[str, ...]
    models: tuple[str, ...]
    limits: LimitsObject
    outage: str | None
    cache: CacheObject
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    old_key_until: datetime | None
    version: int
    status: Literal["active", "expired", "revoked"]
    metadata: dict[str, str]
    key: str | UnsetType = UNSET
    durable: bool | UnsetType = UNSET
    durability: str | UnsetType = UNSET


class KeyList(Struct, frozen=True, kw_only=True):
    """A page of keys.

    Args:
        data: ordered by id.
        has_more: there is a further page.
        last_id: for ``after``.
    """

    object: Literal["list"] = "list"
    data: tuple[KeyObject, ...]
    has_more: bool
    last_id: str | None


class KeyChangeObject(Struct, frozen=True, kw_only=True):
    """One change of a key, as the audit keeps it.

    Args:
        id: of the entry, for ``before``.
        at: when.
        actor: who: how the caller was told, and the id of its key or the user of the command line.
        action: create, update, rotate or revoke.
        key_id: of the key.
        tenant: of the key.
        changes: field -> what it was and what it became.
    """

    object: Literal["key_change"] = "key_change"
    id: str
    at: datetime
    actor: str
    action: str
    key_id: str
    tenant: str
    changes: dict[str, Any]


class KeyChangeList(Struct, frozen=True, kw_only=True):
    """A page of changes of keys.

    Args:
        data: the newest first.
        has_more: there is a further page, of older ones.
        last_id: for ``before``.
    """

    object: Literal["list"] = "list"
    data: tuple[KeyChangeObject, ...]
    has_more: bool
    last_id: str | None
