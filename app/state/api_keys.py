"""API keys that are kept in Redis: made, changed, revoked, looked up and listed, with an audit of every change.

A key is a hash without a time to live: ``doc`` is the whole ``ApiKey``, beside it stands what the limiter's script
reads (``hot_fields``). It is written by one script that compares versions, so that no writer undoes another. Index,
audit, the list of recent changes and the push to all workers belong to no tenant, hence to another slot of a cluster,
and are commands of their own, in an order in which a crash between two of them is harmless:

- create: index and audit, then the record. An index entry without a record is skipped.
- any other change: the record, which every admission reads, then the rest, which only makes workers forget what they
  remember for when Redis is away.

Source: DESIGN.md sections 3 and 4.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Callable, Iterable
from typing import Final

import msgspec
from msgspec import Struct

from app.domain.auth import ALPHABET, ID_CHARS, SECRET_CHARS, ApiKey, key_text, tenant_tag
from app.domain.key_changes import (
    Action,
    IssuedKey,
    KeyChange,
    Revocation,
    changed_key,
    new_key,
    revoked_key,
    rotated_key,
)
from app.domain.key_objects import changes_between
from app.errors import Conflict, NotFound, StateError
from app.schemas.admin import KeyChanges, NewKey
from app.state import keys
from app.state.connection import Argument, Command, Reply, StateConnection
from app.state.durability import revocation_durability
from app.state.key_audit import audit_commands
from app.state.limit_words import limit_words
from app.state.scripts import load_script

log = logging.getLogger(__name__)

WRITE_KEY = load_script("write_key")

#: A change that finds the key changed by somebody else is made again this often in all.
ATTEMPTS: Final = 5
#: From here on the documents of a page, some 600 bytes each, are a large reply.
_MANY_KEYS = 50

_ID: Final = re.compile(rf"[0-9A-Za-z]{{{ID_CHARS}}}")

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(ApiKey).decode


class KeyPage(Struct, frozen=True):
    """A page of keys.

    Args:
        keys: ordered by id.
        has_more: there is a further page.
        last_id: where that page begins (``after``); ``None`` for an empty page.
    """

    keys: tuple[ApiKey, ...]
    has_more: bool
    last_id: str | None


# Reading


async def look_up(state: StateConnection, tag: str, key_id: str) -> ApiKey | None:
    """The key of an id in its tenant's slot; ``None`` where there is none.

    Raises:
        StateError: the store did not answer, or what it keeps cannot be read.
    """
    doc = await state.call("HGET", keys.api_key(tag, key_id), "doc")
    return None if doc is None else decode_doc(doc)


async def find(state: StateConnection, key_id: str) -> ApiKey | None:
    """The key of an id, whatever its tenant; ``None`` where there is none.

    Raises:
        StateError: the store did not answer, or what it keeps cannot be read.
    """
    if not _ID.fullmatch(key_id):
        return None
    tenant = await state.call("HGET", keys.KEY_INDEX, key_id)
    return None if tenant is None else await look_up(state, tenant_tag(tenant.decode()), key_id)


async def list_keys(state: StateConnection, *, after: str = "", limit: int = 100, tenant: str | None = None) -> KeyPage:
    """A page of the keys, ordered by id; keys that cannot be read are left out, and logged.

    Args:
        state: the store.
        after: the id that the page begins behind.
        limit: ids of a page.
        tenant: of this tenant only.

    Raises:
        StateError: the store did not answer.
    """
    flat = await state.call("HGETALL", keys.KEY_INDEX, large=True)
    names = [name.decode(errors="replace") for name in flat]
    index = zip(names[::2], names[1::2], strict=True)
    found = sorted((key_id, owner) for key_id, owner in index if key_id > after and tenant in (None, owner))
    page = found[:limit]
    commands = [("HGET", keys.api_key(tenant_tag(owner), key_id), "doc") for key_id, owner in page]
    replies = await state.pipeline(commands, large=len(page) > _MANY_KEYS)
    docs = [b"" if isinstance(reply, StateError) else reply for reply in replies]  # another type stands there
    ids = [key_id for key_id, _ in page]
    return KeyPage(tuple(_readable(ids, docs)), len(found) > limit, ids[-1] if ids else None)


# Writing


async def create(state: StateConnection, wire: NewKey, *, actor: str, now: float) -> IssuedKey:
    """Makes a key; its text is in what is returned, and nowhere else.

    Args:
        state: the store.
        wire: what was asked for.
        actor: who asks, for the audit.
        now: Unix seconds.

    Raises:
        InvalidRequest: a field is wrong.
        StateError: the store did not answer; a key that was made all the same is known to nobody.
    """
    issued = new_key(wire, key_id=_random(ID_CHARS), secret=_random(SECRET_CHARS), now=now)
    key = issued.key
    entry = _entry(_Note("create", actor, now), None, key)
    taken_up = await state.pipeline([("HSETNX", keys.KEY_INDEX, key.id, key.tenant), *audit_commands(entry)])
    if not _accepted(taken_up)[0] or not await _write(state, key, expected=0):
        raise _conflict()  # an id that was drawn twice
    return issued


async def update(state: StateConnection, key_id: str, wire: KeyChanges, *, actor: str, now: float) -> ApiKey:
    """Changes properties of a key, on the next request of every replica.

    Raises:
        NotFound: there is no such key.
        InvalidRequest: a field is wrong, the key is revoked, or others keep changing it.
        StateError: the store did not answer; the change may have been made.
    """
    return await _change(state, key_id, lambda key: changed_key(key, wire, now=now), _Note("update", actor, now))


async def rotate(state: StateConnection, key_id: str, *, grace_s: float, actor: str, now: float) -> IssuedKey:
    """Gives a key a new text; the old one stays good for ``grace_s`` seconds.

    Raises:
        NotFound: there is no such key.
        InvalidRequest: the key is revoked, or others keep changing it.
        StateError: the store did not answer; the change may have been made.
    """
    secret = _random(SECRET_CHARS)

    def change(key: ApiKey) -> ApiKey:
        return rotated_key(key, secret=secret, grace_s=grace_s, now=now).key

    key = await _change(state, key_id, change, _Note("rotate", actor, now))
    return IssuedKey(key, key_text(key.tenant, key.id, secret))


async def revoke(state: StateConnection, key_id: str, *, actor: str, now: float) -> Revocation:
    """Revokes a key for good, and finds out whether a restart of the store would keep that; may be repeated.

    Raises:
        NotFound: there is no such key.
        InvalidRequest: others keep changing it.
        StateError: the store did not answer; repeat it.
    """
    key = await _change(state, key_id, lambda key: revoked_key(key, now=now), _Note("revoke", actor, now))
    durable, words = await revocation_durability(state, key)
    return Revocation(key, durable, words)


class _Note(Struct, frozen=True):
    """What the audit says of a change besides the change itself."""

    action: Action
    actor: str
    at: float


def _entry(note: _Note, before: ApiKey | None, after: ApiKey) -> KeyChange:
    return KeyChange(
        at=note.at,
        actor=note.actor,
        action=note.action,
        key_id=after.id,
        tenant=after.tenant,
        changes=changes_between(before, after),
    )


async def _change(state: StateConnection, key_id: str, change: Callable[[ApiKey], ApiKey], note: _Note) -> ApiKey:
    for _ in range(ATTEMPTS):
        before = await find(state, key_id)
        if before is None:
            raise NotFound(f"There is no key {key_id[:64]!r}.", param="id", code="key_not_found")
        after = change(before)
        if after == before:
            # Perhaps made before by a call whose audit was lost: that somebody asked for it is told in any case.
            await _tell(state, after, audit_commands(_entry(note, before, after)), note.at)
            return after
        after = msgspec.structs.replace(after, version=before.version + 1)
        if await _write(state, after, expected=before.version):
            await _tell(state, after, audit_commands(_entry(note, before, after)), note.at)
            return after
    raise _conflict()


async def _write(state: StateConnection, key: ApiKey, *, expected: int) -> bool:
    """Whether it was written; always over the same connection, as the server tells of each what is on its disk."""
    fields: list[Argument] = [word for pair in {"doc": _encode(key), **hot_fields(key)}.items() for word in pair]
    name = keys.api_key(tenant_tag(key.tenant), key.id)
    written: Reply = await state.run_script(WRITE_KEY, (name,), (expected, *fields), large=True)
    return bool(written)


async def _tell(state: StateConnection, key: ApiKey, also: Iterable[Command], now: float) -> None:
    """Makes every worker forget what it remembers of a key: at once by the push, else by the list of changes."""
    name = f"{tenant_tag(key.tenant)} {key.id}"
    now_us = round(now * 1e6)
    commands: list[Command] = [
        ("ZADD", keys.REVOKED, now_us, name),
        ("EXPIRE", keys.REVOKED, keys.REVOKED_TTL_S),
        ("ZREMRANGEBYSCORE", keys.REVOKED, "-inf", now_us - keys.REVOKED_TTL_S * 1_000_000),
        ("PUBLISH", keys.PUSH_CHANNEL, f"key {name}"),
        *also,
    ]
    _accepted(await state.pipeline(commands))


def _accepted(replies: Iterable[Reply | StateError]) -> list[Reply]:
    """The replies of a pipeline.

    Raises:
        StateError: the store refused one of its commands.
    """
    accepted = []
    for reply in replies:
        if isinstance(reply, StateError):
            raise reply
        accepted.append(reply)
    return accepted


def _conflict() -> Conflict:
    return Conflict("Somebody else keeps changing this key at the same moment: try again.")


def _random(chars: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(chars))


# The record


def hot_fields(key: ApiKey) -> dict[str, bytes | str | int]:
    """What the limiter's script reads of a key, beside its document.

    - ``hash``, ``prev``: SHA-256 of its text and of the text before it, raw bytes; ``prev`` may be empty.
    - ``prev_until_us``, ``expires_us``: Unix microseconds; 0 is none.
    - ``revoked``: 1 or 0. ``version``: a whole number.
    - ``scopes``: with spaces between them. ``models``: patterns with newlines between them; empty means all.
    - ``limits``: see ``limit_words.py``.
    """
    return {
        "hash": bytes.fromhex(key.secret_hash),
        "prev": bytes.fromhex(key.previous_hash),
        "prev_until_us": round(key.previous_until * 1e6),
        "expires_us": round((key.expires_at or 0.0) * 1e6),
        "revoked": 0 if key.revoked_at is None else 1,
        "version": key.version,
        "scopes": " ".join(key.scopes),
        "models": "\n".join(key.models),
        "limits": limit_words(key.limits),
    }


def decode_doc(raw: bytes) -> ApiKey:
    """A key from the ``doc`` of its record.

    Raises:
        StateError: it cannot be read.
    """
    try:
        return _decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise StateError("A stored API key cannot be read: it is damaged, or of a newer release.") from None


def _readable(ids: Iterable[str], docs: Iterable[bytes | None]) -> Iterable[ApiKey]:
    for key_id, doc in zip(ids, docs, strict=True):
        if doc is None:  # a crash while it was made
            continue
        try:
            yield decode_doc(doc)
        except StateError:
            log.warning("The stored API key %s cannot be read, and is not listed.", key_id)
