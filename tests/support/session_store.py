"""A session in the store and who works on it, for tests: the calls of ``app.state.sessions`` with usual arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw

from app.domain.sessions import SessionHead, SessionHistory, SessionName, StoredTurn
from app.state import keys, sessions
from app.state.connection import StateConnection
from app.state.sessions import EvictedSession, TurnHeld

TAG = "acmetag"
NAME = SessionName(TAG, "key1", "trip")
TTL_S = 3600
CHANNEL = keys.wake_channel("w1")
SYSTEM = Raw(b'[{"role":"system","content":"Be brief."}]')


def turn(text: str = "hello", *, answer: str | None = "yes", count: int = 1) -> StoredTurn:
    """A turn of as many messages of the user, and an answer if there is to be one."""
    blocks = [] if answer is None else [{"type": "text", "text": answer}]
    return StoredTurn(
        at=1_800_000_000.5,
        messages=Raw(msgspec.json.encode([{"role": "user", "content": text}] * count)),
        count=count,
        answer=Raw(b"" if answer is None else msgspec.json.encode(blocks)),
        model="" if answer is None else "claude-sonnet-5-5",
    )


def texts(history: SessionHistory | None) -> list[str]:
    """What the user says in each turn of a session."""
    assert history is not None
    return [msgspec.json.decode(one.messages)[0]["content"] for one in history.turns]


class SessionStore:
    """Calls with usual arguments, on one session unless another one is named."""

    def __init__(self, state: StateConnection, name: SessionName = NAME) -> None:
        self.state = state
        self.name = name

    @property
    def head_key(self) -> str:
        return keys.session(self.name.tag, self.name.sid)

    @property
    def turns_key(self) -> str:
        return keys.turns(self.name.tag, self.name.sid)

    @property
    def seat_key(self) -> str:
        return keys.seat(self.name.tag, self.name.sid)

    @property
    def index_key(self) -> str:
        return keys.sessions(self.name.tag)

    def other(self, session_id: str, scope: str = "key1") -> SessionStore:
        """The same for another session of the tenant."""
        return SessionStore(self.state, SessionName(self.name.tag, scope, session_id))

    async def try_open(self, holder: str, *, channel: str = CHANNEL, ttl_s: int = TTL_S) -> SessionHistory | TurnHeld:
        return await sessions.open_turn(self.state, self.name, holder, channel=channel, ttl_s=ttl_s)

    async def open(self, holder: str, *, ttl_s: int = TTL_S) -> SessionHistory:
        """Opens it, which must succeed."""
        opened = await self.try_open(holder, ttl_s=ttl_s)
        assert not isinstance(opened, TurnHeld)
        return opened

    async def commit(self, holder: str, base: SessionHead, turns: Sequence[StoredTurn], **fields: Any) -> SessionHead:
        fields = {
            "instructions": None,
            "drop_turns": 0,
            "drop_messages": 0,
            "drop_bytes": 0,
            "ttl_s": TTL_S,
        } | fields
        return await sessions.commit_turn(
            self.state, self.name, holder, tenant="acme", base=base, turns=turns, **fields
        )

    async def add(self, holder: str, *turns: StoredTurn, **fields: Any) -> SessionHead:
        """Opens it and commits turns."""
        opened = await self.open(holder)
        return await self.commit(holder, opened.head, turns, **fields)

    async def renew(self, holder: str) -> bool:
        return await sessions.renew_turn(self.state, self.name, holder)

    async def release(self, holder: str, *, ttl_s: int = TTL_S) -> None:
        await sessions.release_turn(self.state, self.name, holder, ttl_s=ttl_s)

    async def read(self) -> SessionHistory | None:
        return await sessions.read_session(self.state, self.name)

    async def delete(self) -> bool:
        return await sessions.delete_session(self.state, self.name)

    async def seat(self, request_id: str = "r1", **fields: Any) -> tuple[EvictedSession, ...]:
        fields = {
            "expected_tokens": 100,
            "most_tokens": 200,
            "messages": 2,
            "created_at": 1_800_000_000.0,
            "ttl_s": TTL_S,
            "max_sessions": 1000,
        } | fields
        return await sessions.seat_session(self.state, request_id, self.name, **fields)

    async def field(self, name: str) -> bytes | None:
        """A field of the head."""
        value: bytes | None = await self.state.call("HGET", self.head_key, name)
        return value

    async def ttls(self) -> list[int]:
        """Seconds that head and turns still live; -2 where there is none."""
        return [await self.state.call("TTL", key) for key in (self.head_key, self.turns_key)]
