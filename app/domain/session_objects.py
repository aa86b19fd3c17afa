"""Sessions as they are shown, by the routes and the command line; pure. The wire is ``schemas/sessions.py``."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, Raw, UnsetType

from app.domain.sessions import SessionHead, SessionName
from app.schemas.sessions import SessionObject


def session_object(
    name: SessionName,
    head: SessionHead,
    *,
    expires_at: float,
    tenant: str | UnsetType = UNSET,
    messages: list[Raw] | None = None,
) -> SessionObject:
    """A session as the routes answer it.

    Args:
        name: of the session.
        head: how it stands.
        expires_at: Unix seconds.
        tenant: name of its tenant, where it has to be said whose it is.
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
        tenant=tenant,
        key_id=UNSET if tenant is UNSET else name.scope,
        messages=UNSET if messages is None else Raw(msgspec.json.encode(messages)),
    )
