"""API keys as they are made and changed: what a request may say, and the key that comes of it; pure.

Ids and secrets come in as arguments. Every mistake is an ``InvalidRequest`` whose ``param`` is the path at fault, as
in ``limits.budget_day``; no message repeats a key. The wire is ``schemas/admin.py``, for the admin routes, the command
line and the keys file alike. Source: DESIGN.md sections 3 and 7.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from typing import Any, Final, Literal, TypeVar, get_args

import msgspec
from msgspec import UNSET, Struct

from app.domain.auth import KEY_NAME, SCOPES, TENANT_NAME, ApiKey, Scope, key_text
from app.domain.caching import NO_CACHE_RULE, CacheMode, CacheRule, Sharing
from app.domain.closed_wire import converted, decoded, invalid
from app.domain.limits import NANO_PER_USD, NO_LIMITS, Limits, OutagePolicy
from app.errors import InvalidRequest
from app.schemas.admin import KeyCache, KeyChanges, KeyLimits, KeyObject, KeyRotation, NewKey

Action = Literal["create", "update", "rotate", "revoke"]

MAX_MODELS: Final = 100
MAX_METADATA_PAIRS: Final = 16
MAX_METADATA_KEY_CHARS: Final = 64
MAX_METADATA_VALUE_CHARS: Final = 512
MAX_GRACE_S: Final = 30 * 86_400
#: The last second of the year 9999.
MAX_TIME: Final = 253_402_300_799

_MODEL: Final = re.compile(r"[^\x00-\x20\x7f*]{0,127}(\*|[^\x00-\x20\x7f*])")
#: What a key is shown with and cannot be told.
_FIXED: Final = frozenset(KeyObject.__struct_fields__) - frozenset(KeyChanges.__struct_fields__) - {"expires_at"}
_POLICIES: Final[tuple[OutagePolicy, ...]] = get_args(OutagePolicy)
_MODES: Final[tuple[CacheMode, ...]] = get_args(CacheMode)
_SHARINGS: Final[tuple[Sharing, ...]] = get_args(Sharing)

W = TypeVar("W", bound=str)


class IssuedKey(Struct, frozen=True):
    """A key together with its text, which is shown once and kept nowhere."""

    key: ApiKey
    text: str


class Revocation(Struct, frozen=True):
    """A revoked key.

    Args:
        key: the key.
        durable: the store has it on its disk.
        durability: the same in words, and why not.
    """

    key: ApiKey
    durable: bool
    durability: str


class KeyChange(Struct, frozen=True, kw_only=True):
    """An entry of the audit.

    Args:
        at: Unix seconds.
        actor: who did it.
        action: what was done.
        key_id: to which key.
        tenant: of the key.
        changes: field -> ``{"from": ..., "to": ...}``, without hashes and secrets.
    """

    at: float
    actor: str
    action: str
    key_id: str
    tenant: str
    changes: dict[str, Any]


# Keys


def new_key(wire: NewKey, *, key_id: str, secret: str, now: float) -> IssuedKey:
    """A new key and its text.

    Args:
        wire: what was asked for.
        key_id: ``ID_CHARS`` random characters of ``ALPHABET``.
        secret: ``SECRET_CHARS`` random characters of ``ALPHABET``.
        now: Unix seconds.

    Raises:
        InvalidRequest: a field is wrong.
    """
    tenant = checked_name(wire.tenant, param="tenant")
    text = key_text(tenant, key_id, secret)
    blank = ApiKey(id=key_id, tenant=tenant, name=key_id, secret_hash=_hash(text), created_at=now)
    return IssuedKey(with_fields(blank, wire, now=now), text)


def rotated_key(key: ApiKey, *, secret: str, grace_s: float, now: float) -> IssuedKey:
    """The same key with a new text; the old one stays good for ``grace_s`` seconds.

    Raises:
        InvalidRequest: it is revoked.
    """
    refuse_revoked(key)
    text = key_text(key.tenant, key.id, secret)
    changed = msgspec.structs.replace(
        key,
        secret_hash=_hash(text),
        previous_hash=key.secret_hash if grace_s > 0 else "",
        previous_until=now + grace_s if grace_s > 0 else 0.0,
    )
    return IssuedKey(changed, text)


def revoked_key(key: ApiKey, *, now: float) -> ApiKey:
    """The same key, revoked; one that is revoked already stays as it is."""
    return key if key.revoked_at is not None else msgspec.structs.replace(key, revoked_at=now)


def changed_key(key: ApiKey, wire: KeyChanges, *, now: float) -> ApiKey:
    """The same key with other properties.

    Raises:
        InvalidRequest: a field is wrong, or the key is revoked.
    """
    refuse_revoked(key)
    return with_fields(key, wire, now=now)


def decoded_changes(body: bytes) -> KeyChanges:
    """The body of a request to change a key.

    Raises:
        InvalidRequest: it is no JSON, or a field is wrong; one that every key has and keeps is named as such.
    """
    try:
        return decoded(body, KeyChanges)
    except InvalidRequest as exc:
        if exc.code == "unknown_parameter" and exc.param in _FIXED:
            raise InvalidRequest(f"'{exc.param}' of a key cannot be changed.", param=exc.param, code=exc.code) from None
        raise


def refuse_revoked(key: ApiKey) -> None:
    """Revocation is for good.

    Raises:
        InvalidRequest: the key is revoked.
    """
    if key.revoked_at is not None:
        raise InvalidRequest(
            f"The key {key.id} is revoked and cannot be changed: create a new one.", code="key_revoked", param="id"
        )


def with_fields(key: ApiKey, wire: KeyChanges, *, place: str = "", now: float | None = None) -> ApiKey:
    """A key with everything that ``wire`` sets.

    Args:
        key: the key as it is.
        wire: what is asked for.
        place: goes before the path of a field in errors, such as ``keys[0].``.
        now: Unix seconds; an expiry must lie behind it. ``None`` for a key that was made at no certain time.

    Raises:
        InvalidRequest: a field is wrong.
    """
    changes: dict[str, Any] = {}
    if wire.name is not UNSET:
        if not KEY_NAME.fullmatch(wire.name):
            raise invalid(f"{place}name", "expected 1 to 128 printable characters")
        changes["name"] = wire.name
    if wire.scopes is not UNSET:
        changes["scopes"] = _scopes(wire.scopes, f"{place}scopes")
    if wire.models is not UNSET:
        changes["models"] = _models(wire.models, f"{place}models")
    if wire.limits is None:
        changes["limits"] = NO_LIMITS
    elif wire.limits is not UNSET:
        changes["limits"] = limits_from_wire(wire.limits, key.limits, param=f"{place}limits")
    if wire.expires is not UNSET:
        changes["expires_at"] = expiry_from_wire(wire.expires, now=now, param=f"{place}expires")
    if wire.outage is not UNSET:
        changes["outage"] = _one_of(_POLICIES, wire.outage, f"{place}outage")
    if wire.cache is None:
        changes["cache"] = NO_CACHE_RULE
    elif wire.cache is not UNSET:
        changes["cache"] = _cache(wire.cache, key.cache, f"{place}cache")
    if wire.metadata is None:
        changes["metadata"] = {}
    elif wire.metadata is not UNSET:
        changes["metadata"] = _metadata(wire.metadata, key.metadata, f"{place}metadata")
    return msgspec.structs.replace(key, **changes)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


# Fields


def limits_from_wire(wire: object, base: Limits = NO_LIMITS, *, param: str = "limits") -> Limits:
    """Limits from their names on the wire: admin routes, keys file, claim of a JWT.

    Args:
        wire: ``KeyLimits``, or a mapping with its fields; budgets are US dollars.
        base: the limits before; what is absent stays, null clears.
        param: path of ``wire``.

    Raises:
        InvalidRequest: a name is unknown, or a value is out of bounds; ``param`` is its path.
    """
    limits = converted(wire, KeyLimits, place=param)
    changes: dict[str, int | None] = {}
    for name in limits.__struct_fields__:
        value = getattr(limits, name)
        if value is UNSET:
            continue
        if name.startswith("budget_"):
            changes[f"{name}_nano"] = None if value is None else _nano(value, f"{param}.{name}")
        else:
            changes[name] = value
    return msgspec.structs.replace(base, **changes)


def _nano(dollars: float, param: str) -> int:
    nano = round(dollars * NANO_PER_USD)
    if nano == 0 and dollars > 0:
        raise invalid(param, "expected 0, or at least a nano-dollar (0.000000001)")
    return nano


def expiry_from_wire(value: object, *, now: float | None = None, param: str = "expires") -> float | None:
    """When a key ends, in Unix seconds; ``None`` never.

    Args:
        value: RFC 3339 with a zone, as text or as ``datetime``; a day, as text or as ``date``, which means its
            beginning in UTC; a duration from ``now``; Unix seconds; or ``None``.
        now: it must lie behind this; without it there are no durations.
        param: path of ``value``.

    Raises:
        InvalidRequest: it is no point in time, or past.
    """
    if value is None:
        return None
    at = _time(value, now)
    if at is None:
        duration = "" if now is None else "a duration such as 30d or 12h, "
        raise invalid(
            param,
            "expected a time such as 2030-01-31T12:00:00Z (with a zone), a day such as 2030-01-31 (its beginning, "
            f"UTC), {duration}or Unix seconds",
        )
    if not (now or 0.0) < at <= MAX_TIME:
        raise invalid(param, "expected a time that lies in the future and before the year 10000")
    return at


def _time(value: object, now: float | None) -> float | None:
    if isinstance(value, str):
        duration = duration_s(value)
        if duration is not None:
            return None if now is None else now + duration
        try:
            value = msgspec.convert(value, date if _DAY.fullmatch(value) else datetime)
        except msgspec.ValidationError:
            return None
    if isinstance(value, datetime):
        return value.timestamp() if value.tzinfo is not None else None
    if isinstance(value, date):
        return datetime.combine(value, time(), UTC).timestamp()
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(min(value, 2 * MAX_TIME))
    return None


def grace_from_wire(wire: KeyRotation) -> float:
    """Seconds in which the old text of a key stays good.

    Raises:
        InvalidRequest: it is no duration, too long, or given twice.
    """
    if wire.grace is UNSET:
        return 0.0 if wire.grace_s is UNSET else wire.grace_s
    if wire.grace_s is not UNSET:
        raise invalid("grace", "expected either grace or grace_s, not both")
    grace_s = duration_s(wire.grace)
    if grace_s is None or grace_s > MAX_GRACE_S:
        raise invalid("grace", "expected a duration such as 90s, 30m, 1h or 7d, up to 30d, or a number of seconds")
    return grace_s


_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_DURATION: Final = re.compile(r"(\d{1,9})([smhdw])")
_UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}


def duration_s(text: str) -> float | None:
    """Seconds of ``90s``, ``90m``, ``12h``, ``30d`` or ``4w``; ``None`` for any other text."""
    found = _DURATION.fullmatch(text.strip())
    return float(int(found[1]) * _UNITS_S[found[2]]) if found else None


def checked_name(name: str, *, param: str) -> str:
    """The name of a tenant, or another one of the same form.

    Raises:
        InvalidRequest: it has another form.
    """
    if not TENANT_NAME.fullmatch(name):
        raise invalid(param, "expected 1 to 64 letters, digits or '._-', beginning with a letter or digit")
    return name


def _scopes(given: tuple[str, ...], param: str) -> tuple[Scope, ...]:
    if not given or not set(given) <= set(SCOPES):
        raise invalid(param, f"expected at least one of {', '.join(SCOPES)}, and nothing else")
    return tuple(scope for scope in SCOPES if scope in given)


def _models(given: tuple[str, ...], param: str) -> tuple[str, ...]:
    if len(given) > MAX_MODELS:
        raise invalid(param, f"expected at most {MAX_MODELS} names")
    for index, pattern in enumerate(given):
        if not _MODEL.fullmatch(pattern):
            raise invalid(
                f"{param}[{index}]", "expected the name of a model, up to 128 characters, that may end in '*'"
            )
    return given


def _cache(wire: KeyCache, base: CacheRule, param: str) -> CacheRule:
    """The rule of before with what is given laid over it; null takes back."""
    changes: dict[str, Any] = {}
    if wire.mode is not UNSET:
        changes["mode"] = _mode(wire.mode, f"{param}.mode")
    if wire.ttl is not UNSET:
        changes["ttl_s"] = wire.ttl
    if wire.share_within is not UNSET:
        changes["share_within"] = _one_of(_SHARINGS, wire.share_within, f"{param}.share_within")
    return msgspec.structs.replace(base, **changes)


def _mode(given: object, param: str) -> CacheMode | None:
    """YAML reads ``on`` and ``off`` as true and false."""
    word = ("on" if given else "off") if isinstance(given, bool) else given
    return _one_of(_MODES, word, param)


def _one_of(words: tuple[W, ...], given: object, param: str) -> W | None:
    """One of the words, or null."""
    if given is None:
        return None
    for word in words:
        if given == word:
            return word
    raise invalid(param, f"expected one of {', '.join(words)}, or null")


def _metadata(given: Mapping[str, object], kept: Mapping[str, str], param: str) -> dict[str, str]:
    """The notes of before with those that are given laid over them; null removes one."""
    notes = dict(kept)
    for name, value in given.items():
        place = f"{param}.{name[:MAX_METADATA_KEY_CHARS]}"
        if not 0 < len(name) <= MAX_METADATA_KEY_CHARS:
            raise invalid(place, f"expected names of 1 to {MAX_METADATA_KEY_CHARS} characters")
        if value is None:
            notes.pop(name, None)
        elif isinstance(value, str) and len(value) <= MAX_METADATA_VALUE_CHARS:
            notes[name] = value
        else:
            raise invalid(place, f"expected a text of up to {MAX_METADATA_VALUE_CHARS} characters")
    if len(notes) > MAX_METADATA_PAIRS:
        raise invalid(param, f"expected at most {MAX_METADATA_PAIRS} pairs")
    return notes
