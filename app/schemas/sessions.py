"""The wire of the routes of sessions: what may be asked for, and a session as it is shown.

What is asked for is closed: an unknown field is an error that names it. Messages are OpenAI's chat messages, as in
``schemas/openai_chat.py``; they are read by ``translate/history.py``, so here they stay as they came. Times are Unix
seconds. The figures have the names that the original wrapper gave them.
"""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from app.schemas.openai_chat import Message

#: Chat messages that are not looked into; the document names the schemas of the chat route.
Messages = Annotated[
    Raw,
    Meta(
        extra_json_schema={
            "type": "array",
            "items": {"anyOf": [{"$ref": f"#/components/schemas/{kind.__name__}Param"} for kind in get_args(Message)]},
        }
    ),
]


class NewSession(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A session that is to be made.

    Args:
        id: 1 to 128 letters, digits or `._:@-`, the first a letter or digit; one is made where absent or null.
        messages: what it begins with. Leading system and developer messages are its instructions, which are never
            dropped.
    """

    id: str | None = None
    messages: Messages | UnsetType = UNSET


class NewMessages(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Messages for the end of a session.

    Args:
        messages: at least one; all of them are kept, or none.
    """

    messages: Messages


class SessionFork(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a session is copied.

    Args:
        id: of the copy; one is made where absent or null.
    """

    id: str | None = None


class SessionObject(Struct, frozen=True, kw_only=True):
    """A session.

    Args:
        id: names it.
        created_at: when it was made.
        last_used_at: when messages came to it last.
        expires_at: when it is forgotten, unless it is used before.
        message_count: messages that it has, instructions among them.
        dropped_messages: messages that were dropped from it so far, the oldest whole turns, to keep it within the
            bounds of messages and bytes.
        size_bytes: of its messages, as they are kept before compression.
        tenant: whose it is. Only for an operator who asks for others' sessions.
        key_id: of the tenant whose it is; `*`: of all of it. Only for an operator, likewise.
        messages: all of them, oldest first; only where one session is asked for.
    """

    id: str
    object: Literal["session"] = "session"
    created_at: int
    last_used_at: int
    expires_at: int
    message_count: int
    dropped_messages: int
    size_bytes: int
    tenant: str | UnsetType = UNSET
    key_id: str | UnsetType = UNSET
    messages: Messages | UnsetType = UNSET


class SessionList(Struct, frozen=True, kw_only=True):
    """A page of sessions.

    Args:
        data: the one that was used last comes first.
        first_id: of the page; null where it is empty.
        last_id: for `after`; null where the page is empty.
        has_more: there is a further page.
    """

    object: Literal["list"] = "list"
    data: tuple[SessionObject, ...]
    first_id: str | None
    last_id: str | None
    has_more: bool


class SessionFigures(Struct, frozen=True, kw_only=True, rename="camel"):
    """How many sessions there are.

    Args:
        total_sessions: live ones, and those that have expired and are still listed.
        active_sessions: live ones.
        expired_sessions: expired ones that are still listed; they are pruned every few minutes.
        average_message_count: messages of a live session.
        oldest_session_age: seconds since the oldest live session was made; 0 without any.
        max_sessions: live ones that a tenant may have; beyond it the longest idle one goes.
        ttl: seconds that an unused session is kept.
    """

    total_sessions: int
    active_sessions: int
    expired_sessions: int
    average_message_count: float
    oldest_session_age: float
    max_sessions: int
    ttl: int


class SessionDeletion(Struct, frozen=True, kw_only=True):
    """A session is gone.

    Args:
        id: it had.
        deleted: always true.
    """

    id: str
    object: Literal["session.deleted"] = "session.deleted"
    deleted: bool = True


class SessionsCleared(Struct, frozen=True, kw_only=True):
    """All sessions are gone.

    Args:
        deleted: how many there were.
    """

    object: Literal["sessions.cleared"] = "sessions.cleared"
    deleted: int
