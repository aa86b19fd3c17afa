"""Sessions: conversations whose history the gateway keeps, and the rules of what of them is kept; pure.

A session is a row of *turns*. A turn is what was committed together: the client's new messages and Claude's answer, or
messages that were appended by the route. Instructions that lead the conversation belong to the session itself and are
never dropped. Source: DESIGN.md section 3.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

from msgspec import Raw, Struct

#: What a client may call a session.
SESSION_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}")


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
    answer: Raw = Raw(b"")
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
