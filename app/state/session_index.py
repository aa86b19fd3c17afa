"""The sessions of a tenant as a whole: listed, counted, cleared, and pruned from the index once they have expired.

The index is a sorted set in the tenant's slot, ``<scope> <session id>`` by Unix microseconds of expiry, written with
the seat of each turn (``sessions.seat_session``). It may know of sessions that were evicted or deleted meanwhile: what
is listed is looked up. Contract: DESIGN.md section 3.
"""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Sequence
from typing import Final, NamedTuple

from msgspec import Struct

from app.domain.sessions import SessionHead, SessionName
from app.errors import InvalidRequest, SessionDamaged, StateError
from app.state import keys
from app.state.connection import Command, Reply, StateConnection
from app.state.error_replies import WrongType
from app.state.scripts import ScriptCall, load_script
from app.state.sessions import delete_sessions, member_of, name_of
from app.state.stored_sessions import HEAD_FIELDS, head_of

log = logging.getLogger(__name__)

PEEK_SEATS: Final = load_script("peek_seats", after="session")

#: Entries that are read at once.
BATCH: Final = 500
#: Where only some of the entries are wanted, each batch is so much larger than the one before, up to this.
_GROWTH: Final = 4
_MOST_AT_ONCE: Final = 5000

_LISTED_FIELDS: Final = ("tenant", *HEAD_FIELDS[:-1])
_SEAT: Final = re.compile(rb"\d+ \d+ (\d+) (\d+)")
_GLOB: Final = re.compile(r"[\\*?\[\]]")
_TAG_OF_INDEX: Final = re.compile(re.escape(keys.sessions("TAG")).replace("TAG", "([^{}:]+)"))


class _Entry(NamedTuple):
    """An entry of the index."""

    name: SessionName
    expiry_us: int


class ListedSession(Struct, frozen=True, kw_only=True):
    """A session as it is listed.

    Args:
        name: of it.
        tenant: name of its tenant.
        head: how it stands, without its instructions.
        expires_at: Unix seconds.
    """

    name: SessionName
    tenant: str
    head: SessionHead
    expires_at: float


class SessionPage(Struct, frozen=True):
    """A page of sessions.

    Args:
        sessions: the one that was used last comes first.
        has_more: there is a further page.
    """

    sessions: tuple[ListedSession, ...]
    has_more: bool


class SessionStats(Struct, frozen=True, kw_only=True):
    """How many sessions there are.

    Args:
        total: in the index.
        active: of those, live.
        expired: of those, expired and not yet pruned.
        average_messages: of a live one.
        oldest_age_s: seconds since the oldest live one was made; 0 without any.
    """

    total: int = 0
    active: int = 0
    expired: int = 0
    average_messages: float = 0.0
    oldest_age_s: float = 0.0


# Beforehand


def peek_commands(name: SessionName) -> list[Command]:
    """Asks which session would have to go for this one if it is new; what it answers is for ``read_peek``."""
    return [ScriptCall(PEEK_SEATS, (keys.sessions(name.tag),), (member_of(name),))]


def read_peek(name: SessionName, replies: Sequence[Reply | StateError], max_sessions: int) -> SessionName | None:
    """The session that would have to go, as far as can be said before: others may begin or end meanwhile.

    Args:
        name: of the session that may be new.
        replies: to ``peek_commands``.
        max_sessions: how many live sessions the tenant has at most.
    """
    (reply,) = replies
    if isinstance(reply, StateError):
        return None
    is_live, live, longest_idle = reply
    return None if is_live or live < max_sessions else name_of(name.tag, longest_idle)


# Lists


async def list_sessions(
    state: StateConnection, tag: str, *, scope: str | None, after: str | None, limit: int
) -> SessionPage:
    """A page of the live sessions of a tenant; one that is used meanwhile may come twice.

    Args:
        state: the store.
        tag: of the tenant.
        scope: only of this one.
        after: the session behind which the page begins: its id, or ``<scope> <id>`` where all scopes are listed.
        limit: sessions of a page.

    Raises:
        InvalidRequest: there is no session ``after``.
        StateError: the store did not answer, or what it keeps cannot be read.
    """
    found: list[ListedSession] = []
    start = 0 if after is None else await _rank_behind(state, tag, after if scope is None else f"{scope} {after}")
    async for names in _newest_first(state, tag, scope, start, at_first=limit + 1):
        for first in range(0, len(names), limit + 1):
            found += await _look_up(state, names[first : first + limit + 1])
            if len(found) > limit:
                return SessionPage(tuple(found[:limit]), has_more=True)
    return SessionPage(tuple(found), has_more=False)


async def _rank_behind(state: StateConnection, tag: str, member: str) -> int:
    rank = await state.call("ZREVRANK", keys.sessions(tag), member)
    if rank is None:
        raise InvalidRequest(
            "There is no session to list from: it was deleted, or has expired. Begin with the first page again.",
            param="after",
            code="invalid_value",
        )
    return int(rank) + 1


async def _newest_first(
    state: StateConnection, tag: str, scope: str | None, start: int, *, at_first: int
) -> AsyncIterator[list[_Entry]]:
    """Live entries of the index from a rank on."""
    now_us = await _now_us(state)
    size = at_first
    while True:
        flat = await state.call("ZREVRANGE", keys.sessions(tag), start, start + size - 1, "WITHSCORES", large=True)
        entries = _entries(tag, flat)
        live = [entry for entry in entries if entry.expiry_us > now_us]
        yield [entry for entry in live if scope in (None, entry.name.scope)]
        if len(flat) < 2 * size or len(live) < len(entries):
            return
        start, size = start + size, min(size * _GROWTH, _MOST_AT_ONCE)


async def _look_up(state: StateConnection, entries: Sequence[_Entry]) -> list[ListedSession]:
    """Those of the entries whose sessions are still there, and can be read."""
    commands = [("HMGET", keys.session(name.tag, name.sid), *_LISTED_FIELDS) for name, _ in entries]
    found = []
    for entry, reply in zip(entries, await state.pipeline(commands), strict=True):
        try:
            tenant, head = _listed(reply)
        except (SessionDamaged, WrongType):
            log.warning("The stored session %s cannot be read, and is not listed.", entry.name.sid)
            continue
        if head is not None:
            found.append(
                ListedSession(
                    name=entry.name,
                    tenant=tenant,
                    head=head,
                    expires_at=entry.expiry_us / 1e6,
                )
            )
    return found


def _listed(reply: Reply | StateError) -> tuple[str, SessionHead | None]:
    """Name of the tenant, and how the session stands, from ``_LISTED_FIELDS``.

    Raises:
        StateError: the reply is one, or cannot be read.
    """
    if isinstance(reply, StateError):
        raise reply
    tenant, *fields = reply
    return (tenant or b"").decode(errors="replace"), head_of([*fields, None])


# Of all at once


async def session_stats(state: StateConnection, tag: str, *, scope: str | None) -> SessionStats:
    """How many sessions a tenant has, or one scope of it; exact if none is used meanwhile.

    Raises:
        StateError: the store did not answer.
    """
    now_us = await _now_us(state)
    total = active = seated = messages = 0
    oldest_us = now_us
    async for entries in _all(state, tag, scope):
        live = [entry.name for entry in entries if entry.expiry_us > now_us]
        total, active = total + len(entries), active + len(live)
        for count, created_us in await _seats(state, live):
            seated, messages, oldest_us = seated + 1, messages + count, min(oldest_us, created_us)
    return SessionStats(
        total=total,
        active=active,
        expired=total - active,
        average_messages=messages / seated if seated else 0.0,
        oldest_age_s=(now_us - oldest_us) / 1e6,
    )


async def clear_sessions(state: StateConnection, tag: str, *, scope: str | None) -> int:
    """Deletes all sessions of a tenant, or of one scope of it; returns how many there were.

    Raises:
        StateError: some may not have been deleted; repeat it.
    """
    deleted = 0
    async for entries in _all(state, tag, scope):
        deleted += await delete_sessions(state, [entry.name for entry in entries])
    return deleted


async def prune_index(state: StateConnection, tag: str) -> int:
    """Takes expired sessions out of the index of a tenant, and returns how many. Nothing else needs it done.

    Raises:
        StateError: the store did not answer.
    """
    # The time may be a little old by then: what has expired since stays for the next time.
    return int(await state.call("ZREMRANGEBYSCORE", keys.sessions(tag), "-inf", await _now_us(state)))


async def tenant_tags(state: StateConnection) -> list[str]:
    """Tags of the tenants that have sessions, ordered. Looks at every key of the store.

    Raises:
        StateError: the store did not answer.
    """
    tags: set[str] = set()
    async for names in _scanned(state, "SCAN", "MATCH", keys.sessions("*"), "COUNT", _MOST_AT_ONCE):
        tags |= {found[1] for name in names if (found := _TAG_OF_INDEX.fullmatch(name.decode(errors="replace")))}
    return sorted(tags)


async def _seats(state: StateConnection, names: Sequence[SessionName]) -> list[tuple[int, int]]:
    """Messages, and Unix us at which it was made, of the sessions whose seats can be read."""
    if not names:
        return []
    values = await state.call("MGET", *(keys.seat(name.tag, name.sid) for name in names), large=True)
    found = [_SEAT.fullmatch(value) for value in values if value is not None]
    return [(int(seat[1]), int(seat[2])) for seat in found if seat is not None]


async def _all(state: StateConnection, tag: str, scope: str | None) -> AsyncIterator[list[_Entry]]:
    """Every entry of the index once, in batches; those that come or go meanwhile may be among them."""
    seen: set[SessionName] = set()
    match = () if scope is None else ("MATCH", _GLOB.sub(r"\\\g<0>", scope) + " *")
    async for flat in _scanned(state, "ZSCAN", keys.sessions(tag), *match, "COUNT", BATCH):
        entries = [entry for entry in _entries(tag, flat) if entry.name not in seen]
        seen |= {entry.name for entry in entries}
        for first in range(0, len(entries), BATCH):
            yield entries[first : first + BATCH]


async def _scanned(state: StateConnection, command: str, *words: str | int) -> AsyncIterator[list[bytes]]:
    """What ``SCAN`` (no key) or ``ZSCAN`` (its key is the first word) finds."""
    key, options = ((), words) if command == "SCAN" else (words[:1], words[1:])
    cursor = b"0"
    while True:
        cursor, found = await state.call(command, *key, cursor, *options, large=True)
        yield found
        if cursor == b"0":
            return


def _entries(tag: str, flat: Sequence[bytes]) -> list[_Entry]:
    """Entries of the index from a reply with scores."""
    pairs = zip(flat[::2], flat[1::2], strict=True)
    return [_Entry(name, int(float(score))) for member, score in pairs if (name := name_of(tag, member)) is not None]


async def _now_us(state: StateConnection) -> int:
    seconds, micros = await state.call("TIME")
    return int(seconds) * 1_000_000 + int(micros)
