from __future__ import annotations

import msgspec
from msgspec import Raw

from app.domain.session_objects import session_object
from app.domain.sessions import SessionHead, SessionName

NAME = SessionName(tag="t", scope="key-1", id="trip")
HEAD = SessionHead(seq=3, messages=5, size_bytes=900, dropped=2, created_at=1000.9, used_at=2000.2)


def test_a_session_is_shown_with_whole_seconds() -> None:
    assert msgspec.to_builtins(session_object(NAME, HEAD, expires_at=5600.5)) == {
        "id": "trip",
        "object": "session",
        "created_at": 1000,
        "last_used_at": 2000,
        "expires_at": 5600,
        "message_count": 5,
        "dropped_messages": 2,
        "size_bytes": 900,
    }


def test_the_operator_is_told_whose_it_is() -> None:
    told = session_object(NAME, HEAD, expires_at=5600.5, tenant="acme")
    assert (told.tenant, told.key_id) == ("acme", "key-1")


def test_messages_are_shown_as_they_are() -> None:
    shown = session_object(NAME, HEAD, expires_at=5600.5, messages=[Raw(b'{"role":"user","content":"hi"}')])
    assert b'"messages":[{"role":"user","content":"hi"}]' in msgspec.json.encode(shown)
