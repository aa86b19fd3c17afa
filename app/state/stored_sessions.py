"""How a session is kept: the fields of its head and the elements of its turns, put into domain structs and back.

What cannot be read is an error here, never an empty history: a conversation that is forgotten without a word is worse
than one that fails (DESIGN.md section 4). The layout is said in ``scripts/session.lua``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Raw

from app.domain.sessions import (
    SessionHead,
    SessionHistory,
    StoredTurn,
    array_size,
    decode_turn,
    encode_turn,
)
from app.errors import SessionDamaged
from app.state.codec import pack, unpack

#: Fields of the head in the order in which ``head_of`` takes them, and ``open_turn.lua`` answers.
HEAD_FIELDS: Final = ("seq", "messages", "bytes", "dropped", "turns", "created_us", "used_us", "instructions")
#: Those that tell one commit from any other.
COMMIT_FIELDS: Final = ("seq", "created_us")


def pack_turn(turn: StoredTurn) -> bytes:
    """An element of the list."""
    return pack(encode_turn(turn))


def pack_instructions(instructions: Raw) -> bytes:
    """The field of the head."""
    return pack(bytes(instructions))


def head_of(fields: Sequence[bytes | None]) -> SessionHead | None:
    """The head from its fields (``HEAD_FIELDS``); ``None`` where there is no session.

    Raises:
        SessionDamaged: it cannot be read.
    """
    seq, messages, size_bytes, dropped, _, created_us, used_us, instructions = fields
    if seq is None:
        return None
    return SessionHead(
        seq=_whole(seq),
        messages=_whole(messages),
        size_bytes=_whole(size_bytes),
        dropped=_whole(dropped),
        created_at=_whole(created_us) / 1e6,
        used_at=_whole(used_us) / 1e6,
        instructions=_instructions(instructions),
    )


def history_of(
    seen: Sequence[bytes | None], fields: Sequence[bytes | None], elements: Sequence[bytes]
) -> SessionHistory | None:
    """A session from replies that were made one after the other; ``None`` if they are not of one moment.

    Args:
        seen: ``COMMIT_FIELDS`` as they were at another moment than ``fields``; the turns were read no later than the
            later, and no earlier than the earlier one.
        fields: ``HEAD_FIELDS``.
        elements: the list of turns.

    Raises:
        SessionDamaged: it cannot be read.
    """
    head = head_of(fields)
    if head is None:
        return SessionHistory(SessionHead())
    if [fields[HEAD_FIELDS.index(name)] for name in COMMIT_FIELDS] != list(seen):
        return None
    if len(elements) != _whole(fields[HEAD_FIELDS.index("turns")]):
        return None
    return SessionHistory(head, tuple(map(_turn, elements)))


def unreadable() -> SessionDamaged:
    """The error for a session that is there and cannot be read."""
    return SessionDamaged(
        "The stored session cannot be read: it is damaged, or of a newer release. Delete it to begin anew."
    )


def _whole(field: bytes | None) -> int:
    if field is None or not field.isdigit():
        raise unreadable()
    return int(field)


def _instructions(field: bytes | None) -> Raw:
    if field is None:
        return SessionHead().instructions
    unpacked = unpack(field)
    if unpacked is None:
        raise unreadable()
    instructions = Raw(unpacked)
    try:
        array_size(instructions)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise unreadable() from None
    return instructions


def _turn(element: bytes) -> StoredTurn:
    unpacked = unpack(element)
    turn = None if unpacked is None else decode_turn(unpacked)
    if turn is None:
        raise unreadable()
    return turn
