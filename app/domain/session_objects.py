"""Sessions as they are shown, by the routes and the command line; pure. The wire is ``schemas/sessions.py``."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, Raw

from app.domain.sessions import SessionHead, SessionName
from app.schemas.sessions import SessionObject


def session_object(
    name: SessionName,
    head: SessionHead,
    *,
    expires_at: float,
    to_operator: bool = False,
    messages: list[Raw] | None = None,
) -> SessionObject:
    """A session as the routes answer it.

    Args:
        name: of the session.
        head: how it stands.
        expires_at: Unix seconds.
        to_operator: whose it is has to be said.
        messages: all of its chat messages; ``None`` where they are not to be shown.
    """
    return SessionObject(
        id=name.id,
        created_at=int(head.created_at),
        last_used_at=int(head.used_at),
        expires_at=int(expires_at),
        message_count=head.messages,
        dropped_messages=head.dropped,
        size_bytes=head.size_bytes,
        key_id=name.scope if to_operator else UNSET,
        messages=UNSET if messages is None else Raw(msgspec.json.encode(messages)),
    )
