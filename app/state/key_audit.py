"""The audit of API keys: who changed which key, when, and what; a stream of the last 10,000 changes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from app.domain.key_changes import KeyChange
from app.state import keys
from app.state.connection import Command, StateConnection

#: Entries that are kept, about.
AUDIT_LIMIT: Final = 10_000


def audit_commands(change: KeyChange) -> list[Command]:
    """What writes one entry, as a part of a pipeline."""
    entry = {**msgspec.structs.asdict(change), "at": f"{change.at:.3f}", "changes": msgspec.json.encode(change.changes)}
    words = [word for pair in entry.items() for word in pair]
    return [
        ("XADD", keys.AUDIT, "MAXLEN", "~", AUDIT_LIMIT, "*", *words),
        ("EXPIRE", keys.AUDIT, keys.AUDIT_TTL_S),
    ]


async def read_audit(state: StateConnection, limit: int) -> list[KeyChange]:
    """The last changes of keys, the newest first; entries that cannot be read are left out.

    Raises:
        StateError: the store did not answer.
    """
    entries = await state.call("XREVRANGE", keys.AUDIT, "+", "-", "COUNT", limit, large=True)
    return list(_readable_changes(fields for _, fields in entries))


def _readable_changes(entries: Iterable[list[bytes]]) -> Iterable[KeyChange]:
    for flat in entries:
        try:
            fields = {name.decode(): value.decode() for name, value in zip(flat[::2], flat[1::2], strict=True)}
            changes = msgspec.json.decode(fields.pop("changes", "{}"), type=dict)
            yield msgspec.convert({**fields, "changes": changes}, KeyChange, strict=False)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
