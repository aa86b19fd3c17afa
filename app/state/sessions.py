"""Sessions in Redis: held by the turn that works on one, committed whole, seated with their tenant, read and deleted.

A session is a head (hash) and its turns (list), both in a slot of its own, so that one large tenant spreads over a
cluster. Beside them, in the tenant's slot, stand its *seat* (what it adds to a prompt) and its entry in the index of
live sessions: both may be lost without harm to the session, and are written again with each turn. Everything lives as
long as the session is used. Contract: DESIGN.md section 3; what each step does is said in ``scripts/*.lua``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Raw, Struct

from app.domain.sessions import SessionHead, SessionHistory, SessionName, StoredTurn, array_size
from app.errors import Conflict, StateError
from app.state import keys
from app.state.connection import Command, Reply, StateConnection
from app.state.error_replies import WrongType
from app.state.limits import LEASE_S
from app.state.scripts import ScriptCall, load_script
from app.state.stored_sessions import (
    COMMIT_FIELDS,
    HEAD_FIELDS,
    head_of,
    history_of,
    pack_instructions,
    pack_turn,
    unreadable,
)

OPEN_TURN: Final = load_script("open_turn", after="session", echoes=True)
RENEW_TURN: Final = load_script("renew_turn", after="session", echoes=True)
RELEASE_TURN: Final = load_script("release_turn", after="session", echoes=True)
COMMIT_TURN: Final = load_script("commit_turn", after="session", echoes=True)
DELETE_SESSION: Final = load_script("delete_session", after="session")
SEAT_SESSION: Final = load_script("seat_session", after="session", echoes=True)
UNLIST_SESSIONS: Final = load_script("unlist_sessions")

#: A session lives this long at least while a turn holds it.
TURN_TTL_S: Final = 60
#: A commit whose answer was lost is repeated within a second or so; meanwhile others may commit.
REMEMBERED_COMMITS: Final = 8
#: Sessions that go at once for one that is seated.
EVICTED_AT_ONCE: Final = 16
#: A session that was committed this long after it was seated last is in use, and is not evicted. Its seat is taken
#: about when its turn is committed, on a node of a cluster whose clock may differ.
SEATING_S: Final = 5.0

_LEASE_US: Final = int(LEASE_S * 1_000_000)
#: Reads that fell between the commits of others are made again this often in all.
_READS: Final = 5

T = TypeVar("T")


class TurnHeld(Struct, frozen=True):
    """Another turn has the session.

    Args:
        retry_in_s: when its lease ends at the latest, unless it is renewed; the channel is woken when it is given back.
    """

    retry_in_s: float


class EvictedSession(SessionName, frozen=True):
    """A session that left the index to make room.

    Args:
        seated_us: when it was seated last, Unix microseconds.
    """

    seated_us: int


# A turn


def open_turn(
    state: StateConnection, name: SessionName, holder: str, *, channel: str, ttl_s: int
) -> Awaitable[SessionHistory | TurnHeld]:
    """Takes the lease of a session and reads it; sent at once, so that it travels beside what is called next.

    A session that does not exist has ``seq`` 0, and nothing is left of it but a lease, which ``release_turn`` deletes.

    Args:
        state: the store.
        name: of the session.
        holder: who asks; unique, of no spaces; asking again with the same succeeds.
        channel: is told ``wake <sid>`` when a session that somebody else has becomes free.
        ttl_s: seconds that the session lives from now on; longer while it is held, if that is not long.

    Raises:
        StateUnavailable: no answer in time. The lease may have been taken all the same.
        StateError: the store refused it, or the session cannot be read.
    """
    names = _names(name)
    # The commit is read before as well: a server that does not know the script runs it after the last command.
    commands: list[Command] = [
        ("HMGET", names[0], *COMMIT_FIELDS),
        _opening(name, holder, channel, ttl_s),
        ("LRANGE", names[1], 0, -1),
    ]

    def ask() -> Awaitable[list[Reply | StateError]]:
        return state.pipeline(commands, large=True)

    return _readable(_opened(ask(), ask))


def queue_for_turn(
    state: StateConnection, name: SessionName, holder: str, *, channel: str, ttl_s: int
) -> Awaitable[TurnHeld | None]:
    """Takes the lease of a session as ``open_turn`` does, and reads nothing: for who has to ask again and again.

    Returns:
        ``None``: it is theirs; ``open_turn`` reads it.

    Raises:
        StateUnavailable: no answer in time. The lease may have been taken all the same.
        StateError: the store refused it, or the session cannot be read.
    """
    return _readable(_queued(state.run_script(*_opening(name, holder, channel, ttl_s), large=True)))


async def _queued(asked: Awaitable[Any]) -> TurnHeld | None:
    _, what, *fields = await asked
    return TurnHeld(fields[0] / 1e6) if what == b"held" else None


def _opening(name: SessionName, holder: str, channel: str, ttl_s: int) -> ScriptCall:
    return ScriptCall(OPEN_TURN, _names(name), (holder.encode(), channel, ttl_s, _LEASE_US, TURN_TTL_S))


async def _opened(
    asked: Awaitable[list[Reply | StateError]], ask: Callable[[], Awaitable[list[Reply | StateError]]]
) -> SessionHistory | TurnHeld:
    for reads_left in reversed(range(_READS)):
        seen, (_, what, *fields), elements = accepted(await asked)
        if what == b"held":
            return TurnHeld(fields[0] / 1e6)
        history = history_of(seen, fields, elements)
        if history is not None:
            return history
        if reads_left:
            asked = ask()
    raise unreadable()


async def renew_turn(state: StateConnection, name: SessionName, holder: str) -> bool:
    """Prolongs the lease of a turn that runs; a lease that ran out and that nobody else took is put back.

    Returns:
        Whether the session is still theirs; if not, the commit tells whether it has changed.

    Raises:
        StateError: it was not prolonged; the next time may.
    """
    reply = await state.run_script(RENEW_TURN, _names(name), (holder.encode(), _LEASE_US, TURN_TTL_S))
    return bool(reply[1])


def release_turn(state: StateConnection, name: SessionName, holder: str, *, ttl_s: int) -> Awaitable[object]:
    """Gives a session back without a change, and wakes who waits for it; nothing where it is not theirs.

    Args:
        state: the store.
        name: of the session.
        holder: who has opened it.
        ttl_s: seconds that the session lives from now on.

    Raises:
        StateError: it may not have been given back; the lease runs out by itself.
    """
    return state.run_script(RELEASE_TURN, _names(name), (holder.encode(), name.sid, ttl_s))


def commit_turn(
    state: StateConnection,
    name: SessionName,
    holder: str,
    *,
    tenant: str,
    base: SessionHead,
    turns: Sequence[StoredTurn],
    instructions: Raw | None,
    drop_turns: int,
    drop_messages: int,
    drop_bytes: int,
    ttl_s: int,
) -> Awaitable[SessionHead]:
    """Makes turns part of a session, whole, and gives it back; sent at once. May be repeated by the same holder.

    Args:
        state: the store.
        name: of the session.
        holder: who has opened it.
        tenant: name of the tenant.
        base: the head that was read; ``seq`` 0 makes the session.
        turns: what comes to it; may be none.
        instructions: take the place of those of ``base``; ``None`` leaves them.
        drop_turns: how many of its oldest turns go.
        drop_messages: how many messages those have.
        drop_bytes: and how many bytes.
        ttl_s: seconds that the session lives from now on.

    Returns:
        How it stands after this commit.

    Raises:
        Conflict: ``conversation_changed``: it is not as it was read, somebody else has it, or its first turn has lost
            its lease. Nothing was done.
        StateUnavailable: no answer in time. It may have been made: repeat it.
        StateError: the store refused it, or the session cannot be read.
    """
    head = _head_after(base, turns, instructions, drop_messages, drop_bytes)
    asked: Awaitable[Any] = state.run_script(
        COMMIT_TURN,
        _names(name),
        (
            *(holder.encode(), name.sid),
            *(base.seq, _us(base.created_at)),
            *(head.messages, head.size_bytes, head.dropped),
            drop_turns,
            b"" if instructions is None else pack_instructions(instructions),
            *(tenant, name.scope, name.id),
            *(REMEMBERED_COMMITS, ttl_s, _LEASE_US),
            len(turns),
            *map(pack_turn, turns),
        ),
    )
    return _readable(_committed(asked, head))


def _head_after(
    base: SessionHead, turns: Sequence[StoredTurn], instructions: Raw | None, drop_messages: int, drop_bytes: int
) -> SessionHead:
    before = array_size(base.instructions)
    after = before if instructions is None else array_size(instructions)
    turn_messages = sum(turn.message_count for turn in turns)
    turn_bytes = sum(turn.size_bytes for turn in turns)
    return msgspec.structs.replace(
        base,
        messages=base.messages + turn_messages + after[0] - before[0] - drop_messages,
        size_bytes=base.size_bytes + turn_bytes + after[1] - before[1] - drop_bytes,
        dropped=base.dropped + drop_messages,
        instructions=base.instructions if instructions is None else instructions,
    )


async def _committed(asked: Awaitable[Any], head: SessionHead) -> SessionHead:
    _, what, *rest = await asked
    if what == b"changed":
        raise Conflict(
            "The conversation was changed or deleted by somebody else while this turn ran, so the turn was not kept. "
            "Read the session, and send the turn again.",
            code="conversation_changed",
        )
    if what != b"committed":
        raise unreadable()
    seq, created_us, used_us = map(int, rest)
    return msgspec.structs.replace(head, seq=seq, created_at=created_us / 1e6, used_at=used_us / 1e6)


# Reading and deleting


async def read_head(state: StateConnection, name: SessionName) -> SessionHead | None:
    """How a session stands; ``None`` where there is none. Does not prolong its life.

    Raises:
        StateError: the store did not answer, or the session cannot be read.
    """
    return head_of(await _readable(state.call("HMGET", _names(name)[0], *HEAD_FIELDS)))


async def read_session(state: StateConnection, name: SessionName) -> SessionHistory | None:
    """A session as it was last committed; ``None`` where there is none. Does not prolong its life.

    Raises:
        StateError: the store did not answer, or the session cannot be read.
    """
    return await _readable(_read(state, *_names(name)))


async def _read(state: StateConnection, head: str, turns: str) -> SessionHistory | None:
    commands: list[Command] = [
        ("HMGET", head, *HEAD_FIELDS),
        ("LRANGE", turns, 0, -1),
        ("HMGET", head, *COMMIT_FIELDS),
    ]
    for _ in range(_READS):
        fields, elements, seen = accepted(await state.pipeline(commands, large=True))
        history = history_of(seen, fields, elements)
        if history is not None:
            return history if history.head.seq else None
    raise unreadable()


async def _readable(asked: Awaitable[T]) -> T:
    """What the store tells of a session; if something else stands in its place, that is one that cannot be read."""
    try:
        return await asked
    except WrongType:
        raise unreadable() from None


async def delete_session(state: StateConnection, name: SessionName) -> bool:
    """Deletes a session, also while a turn runs, be it the first: its commit then fails.

    Returns:
        Whether there was one; a session whose first turn runs is none yet.

    Raises:
        StateError: it may not have been deleted; repeat it.
    """
    return await delete_sessions(state, [name]) == 1


async def delete_sessions(state: StateConnection, names: Sequence[SessionName]) -> int:
    """Deletes sessions of a tenant with their seats and entries of the index; returns how many there were.

    Raises:
        StateError: some may not have been deleted; repeat it.
    """
    deleted = accepted(await state.pipeline([deletion(name) for name in names]))
    await unseat_sessions(state, names)
    return sum(deleted)


async def unseat_sessions(state: StateConnection, names: Sequence[SessionName]) -> None:
    """Takes sessions of a tenant that are gone out of its index, and their seats away.

    Raises:
        StateError: some may be left; they expire.
    """
    if names:
        accepted(await state.pipeline([*map(unseating, names), unlisting(names)]))


# The seat


async def seat_session(
    state: StateConnection,
    request_id: str,
    name: SessionName,
    *,
    expected_tokens: int,
    most_tokens: int,
    messages: int,
    created_at: float,
    ttl_s: int,
    max_sessions: int,
) -> tuple[EvictedSession, ...]:
    """Says how a session stands where the limits of its tenant are decided, and that it is used.

    Args:
        state: the store.
        request_id: of the turn.
        name: of the session.
        expected_tokens: that its history adds to a prompt.
        most_tokens: that it adds at worst.
        messages: that it has.
        created_at: Unix seconds.
        ttl_s: seconds that it lives from now on.
        max_sessions: how many live sessions the tenant has at most.

    Returns:
        The sessions that had to go for it, the longest idle one first: give them to ``delete_sessions_data``.

    Raises:
        StateError: it may not have been written.
    """
    _, *evicted = await state.run_script(
        SEAT_SESSION,
        (keys.sessions(name.tag), keys.seat(name.tag, name.sid)),
        (
            request_id.encode(),
            member_of(name),
            f"{expected_tokens} {most_tokens} {messages} {_us(created_at)}",
            ttl_s,
            max_sessions,
            EVICTED_AT_ONCE,
        ),
    )
    pairs = zip(evicted[::2], evicted[1::2], strict=True)
    return tuple(
        EvictedSession(gone.tag, gone.scope, gone.id, int(float(expiry_us)) - ttl_s * 1_000_000)
        for member, expiry_us in pairs
        if (gone := name_of(name.tag, member)) is not None
    )


async def delete_sessions_data(state: StateConnection, evicted: Sequence[EvictedSession]) -> None:
    """Deletes what is left of sessions that had to go, but for one that is in use again: it stays, and is seated anew.

    Raises:
        StateError: some may not have been deleted; they expire.
    """
    if not evicted:
        return
    slack_us = int(SEATING_S * 1_000_000)
    deleted = accepted(await state.pipeline([deletion(gone, gone.seated_us + slack_us) for gone in evicted]))
    gone = [name for name, is_deleted in zip(evicted, deleted, strict=True) if is_deleted]
    accepted(await state.pipeline([unseating(name) for name in gone]))


# Parts that the index has in common with this module


def member_of(name: SessionName) -> str:
    """A session in the index of its tenant."""
    return f"{name.scope} {name.id}"


def name_of(tag: str, member: bytes) -> SessionName | None:
    """The session of an entry of the index; ``None`` for one that is not ours."""
    scope, space, session_id = member.decode(errors="replace").partition(" ")
    return SessionName(tag, scope, session_id) if space else None


def deletion(name: SessionName, idle_since_us: int | None = None) -> ScriptCall:
    """Deletes head and turns, and answers 1 if there were some; with a time, only if it was not used since."""
    since = "" if idle_since_us is None else idle_since_us
    return ScriptCall(DELETE_SESSION, _names(name), (name.sid, since, _LEASE_US))


def unseating(name: SessionName) -> Command:
    """Deletes the seat."""
    return ("DEL", keys.seat(name.tag, name.sid))


def unlisting(names: Sequence[SessionName]) -> ScriptCall:
    """Deletes entries of the index of a tenant; at least one."""
    return ScriptCall(UNLIST_SESSIONS, (keys.sessions(names[0].tag),), tuple(map(member_of, names)))


def accepted(replies: Sequence[Reply | StateError]) -> list[Reply]:
    """The replies of a pipeline.

    Raises:
        StateError: the store refused one of its commands.
    """
    for reply in replies:
        if isinstance(reply, StateError):
            raise reply
    return list(replies)


def _names(name: SessionName) -> tuple[str, str]:
    return keys.session(name.tag, name.sid), keys.turns(name.tag, name.sid)


def _us(at: float) -> int:
    return round(at * 1e6)
