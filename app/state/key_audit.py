"""The audit of API keys: who changed which key, when, and what; a stream of the last 10,000 changes."""

from __future__ import annotations

import re
from typing import Final

import msgspec
from msgspec import Struct

from app.domain.key_changes import KeyChange
from app.state import keys
from app.state.connection import Command, StateConnection

#: Entries that are kept, about.
AUDIT_LIMIT: Final = 10_000
#: Entries that are read at once while those of one key are looked for; some 500 bytes each.
_CHUNK: Final = 1000

#: An id of an entry of a stream, within what the server counts to; none is 0-0, and the server refuses to look before.
ENTRY_ID: Final = re.compile(r"(?!0+-0+$)[0-9]{1,19}-[0-9]{1,19}")


class AuditPage(Struct, frozen=True):
    """A page of the audit.

    Args:
        entries: id of an entry and the change, the newest first.
        has_more: there are older ones.
        last_id: where the next page begins (``before``); ``None`` for an empty page.
    """

    entries: tuple[tuple[str, KeyChange], ...]
    has_more: bool
    last_id: str | None


def audit_commands(change: KeyChange) -> list[Command]:
    """What writes one entry, as a part of a pipeline."""
    entry = {**msgspec.structs.asdict(change), "at": f"{change.at:.3f}", "changes": msgspec.json.encode(change.changes)}
    words = [word for pair in entry.items() for word in pair]
    return [
        ("XADD", keys.AUDIT, "MAXLEN", "~", AUDIT_LIMIT, "*", *words),
        ("EXPIRE", keys.AUDIT, keys.AUDIT_TTL_S),
    ]


async def read_audit(
    state: StateConnection, limit: int, *, before: str | None = None, key_id: str | None = None
) -> AuditPage:
    """Changes of keys, the newest first; entries that cannot be read are left out.

    Args:
        state: the store.
        limit: entries of a page.
        before: older than the entry of this id (``ENTRY_ID``).
        key_id: of this key only.

    Raises:
        StateError: the store did not answer.
    """
    found: list[tuple[str, KeyChange]] = []
    count = limit + 1 if key_id is None else _CHUNK
    while len(found) <= limit:
        end = "+" if before is None else f"({before}"
        entries = await state.call("XREVRANGE", keys.AUDIT, end, "-", "COUNT", count, large=True)
        for entry_id, flat in entries:
            change = _readable(flat)
            if change is not None and key_id in (None, change.key_id):
                found.append((entry_id.decode(), change))
        if len(entries) < count:
            break
        before = entries[-1][0].decode()
    page = tuple(found[:limit])
    return AuditPage(page, len(found) > limit, page[-1][0] if page else None)


def _readable(flat: list[bytes]) -> KeyChange | None:
    try:
        fields = {name.decode(): value.decode() for name, value in zip(flat[::2], flat[1::2], strict=True)}
        changes = msgspec.json.decode(fields.pop("changes", "{}"), type=dict)
        return msgspec.convert({**fields, "changes": changes}, KeyChange, strict=False)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
