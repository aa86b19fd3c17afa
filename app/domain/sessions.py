"""Sessions: conversations whose history the gateway keeps, and the rules of what of them is kept; pure.

A session is a row of *turns*. A turn is what was committed together: the client's new messages and Claude's answer, or
messages that were appended by the route. Instructions that lead the conversation belong to the session itself and are
never dropped. Source: DESIGN.md section 3.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

import msgspec
from msgspec import Raw, Struct

from app.errors import InvalidRequest

#: What a client may call a session.
SESSION_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}")
#: What stands in the place of an id in the paths of routes.
RESERVED_IDS: Final = frozenset({"stats", "clear"})


#: Roles of the results of tools, as the chat wire has them.
_RESULT_ROLES: Final = frozenset({"tool", "function"})
_INSTRUCTION_ROLES: Final = frozenset({"system", "developer"})
#: No answer: the very object that ``omit_defaults`` looks for.
_NOTHING: Final = Raw(b"")


class SessionRules(Struct, frozen=True, kw_only=True):
    """How much of sessions is kept.

    Args:
        ttl_s: seconds that an unused session is kept.
        max_sessions: live sessions of a tenant; beyond it the longest idle one goes.
        max_messages: messages of a session; beyond it the oldest whole turns go.
        max_bytes: of a session as JSON; the same.
    """

    ttl_s: int
    max_sessions: int
    max_messages: int
    max_bytes: int


class SessionName(Struct, frozen=True):
    """Which session is meant.

    Args:
        tag: of the tenant.
        scope: within the tenant: id of the API key, or what stands for it; ``*`` for the whole tenant.
        id: the client's.
    """

    tag: str
    scope: str
    id: str

    @property
    def sid(self) -> str:
        """Digest of scope and id: its part of the names of Redis keys."""
        return hashlib.sha256(f"{self.scope} {self.id}".encode()).hexdigest()[:24]


class StoredTurn(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was committed together.

    Args:
        at: Unix seconds.
        messages: the client's messages, a JSON array of chat messages as ``schemas.openai_chat`` has them.
        count: how many messages those are.
        answer: content of Claude's answer, a JSON array of Anthropic's blocks exactly as they came; empty without one.
        model: that answered.
    """

    at: float
    messages: Raw
    count: int
    answer: Raw = _NOTHING
    model: str = ""

    @property
    def message_count(self) -> int:
        """Messages of the turn, the answer among them."""
        return self.count + bool(self.answer)

    @property
    def size_bytes(self) -> int:
        """The turn as JSON."""
        return len(self.messages) + len(self.answer)


class SessionHead(Struct, frozen=True, kw_only=True):
    """How a session stands.

    Args:
        seq: number of commits so far; 0: there is no such session yet.
        messages: that are kept, instructions among them.
        size_bytes: of them, as JSON.
        dropped: messages that were dropped to keep it within its bounds.
        created_at: Unix seconds.
        used_at: Unix seconds.
        instructions: system and developer messages that lead it, a JSON array of chat messages.
    """

    seq: int = 0
    messages: int = 0
    size_bytes: int = 0
    dropped: int = 0
    created_at: float = 0.0
    used_at: float = 0.0
    instructions: Raw = Raw(b"[]")


class SessionHistory(Struct, frozen=True):
    """A session as it was read: its head, and its turns, oldest first."""

    head: SessionHead
    turns: tuple[StoredTurn, ...] = ()


def session_id(text: str, param: str) -> str:
    """The id of a session as a client gave it.

    Args:
        text: the id.
        param: where it stood, for the error.

    Raises:
        InvalidRequest: it is none.
    """
    if text in RESERVED_IDS:
        raise InvalidRequest(
            f"No session can be called '{text}': the names `stats` and `clear` are reserved. Choose another id.",
            param=param,
            code="invalid_value",
        )
    if SESSION_ID.fullmatch(text):
        return text
    raise InvalidRequest(
        "The id of a session has 1 to 128 characters: letters and digits of ASCII and any of `._:@-`, beginning with a "
        "letter or a digit.",
        param=param,
        code="invalid_value",
    )


# Turns as they are kept


def encode_turn(turn: StoredTurn) -> bytes:
    """A turn as JSON."""
    return _encode(turn if turn.answer else msgspec.structs.replace(turn, answer=_NOTHING))


def decode_turn(data: bytes) -> StoredTurn | None:
    """The turn again; ``None`` where this is none."""
    try:
        return _decode_turn(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def array_size(messages: Raw) -> tuple[int, int]:
    """How many messages a JSON array has, and its bytes; an empty one counts as nothing.

    Raises:
        msgspec.DecodeError: this is no JSON array.
    """
    count = len(_decode_array(messages))
    return count, len(messages) if count else 0


def first_role(messages: Raw) -> str:
    """Role of the first of chat messages, a JSON array, that is no instruction; empty where there is none.

    Instructions may stand between calls and their results.
    """
    try:
        return next((one.role for one in _decode_roles(messages) if one.role not in _INSTRUCTION_ROLES), "")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""


# How much is dropped


def turns_to_drop(
    history: SessionHistory, *, new_messages: int, new_bytes: int, new_role: str, rules: SessionRules
) -> int:
    """How many of the oldest turns go, so that instructions, the other turns and the new messages are within bounds.

    What begins with the results of tools never loses the turn before it, which has their calls. Where no cut that is
    left is enough, as many turns go as may.

    Args:
        history: the session so far.
        new_messages: how many messages come to it, the answer among them.
        new_bytes: those messages as JSON.
        new_role: role of the first of them (``first_role``).
        rules: the bounds.

    Raises:
        InvalidRequest: the new messages alone are out of bounds.
    """
    _require_within(new_messages, new_bytes, rules)
    over_messages = history.head.messages + new_messages - rules.max_messages
    over_bytes = history.head.size_bytes + new_bytes - rules.max_bytes
    if over_messages <= 0 and over_bytes <= 0:
        return 0
    turns, drop = history.turns, 0
    for count, turn in enumerate(turns, start=1):
        over_messages -= turn.message_count
        over_bytes -= turn.size_bytes
        if (first_role(turns[count].messages) if count < len(turns) else new_role) in _RESULT_ROLES:
            continue
        drop = count
        if over_messages <= 0 and over_bytes <= 0:
            break
    return drop


def _require_within(messages: int, size_bytes: int, rules: SessionRules) -> None:
    if messages > rules.max_messages:
        what = f"{messages} messages, the answer among them; a session has at most {rules.max_messages}"
    elif size_bytes > rules.max_bytes:
        what = f"{size_bytes} bytes; a session has at most {rules.max_bytes}"
    else:
        return
    raise InvalidRequest(
        f"This turn alone is too large for a session: {what}. Send less at once, or without a session.",
        param="messages",
        code="session_too_large",
    )


class _Role(Struct, gc=False):
    role: str = ""


_encode: Final = msgspec.json.Encoder().encode
_decode_turn: Final = msgspec.json.Decoder(StoredTurn).decode
_decode_array: Final = msgspec.json.Decoder(list[Raw]).decode
_decode_roles: Final = msgspec.json.Decoder(list[_Role]).decode
