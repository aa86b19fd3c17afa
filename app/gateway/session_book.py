"""Sessions between the doors and the store: whose they are, how a turn gets hold of one, what the routes do to them.

Everything that changes a session holds it meanwhile, by a lease: ``hold_session`` waits for whoever holds it, and is
woken when it becomes free. A session that was changed is *seated* with its tenant: among its live sessions, the longest
idle of which has to go when there are too many, and with the tokens that it adds to a prompt.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

import msgspec
from msgspec import Raw, Struct

from app.domain.auth import Caller
from app.domain.session_size import session_size
from app.domain.sessions import SessionHead, SessionHistory, SessionName, StoredTurn, first_role, turns_to_drop
from app.errors import Conflict, NotFound, StateError
from app.gateway.services import Services
from app.schemas.openai_chat import Message, UserMessage
from app.schemas.sessions import SessionFigures
from app.state import sessions
from app.state.session_index import SessionStats
from app.state.sessions import TurnHeld
from app.translate.history import check_messages, split_turn

_encode: Final = msgspec.json.encode

#: The scope that all keys of a tenant share.
SHARED: Final = "*"

#: A wake is a hint, which may be lost: whoever waits looks again after this long.
LOOK_AGAIN_S: Final = 1.0

SESSION_HEADER: Final = "x-claude-wrapper-session"
EVICTED_HEADER: Final = "x-claude-wrapper-session-evicted"
DROPPED_HEADER: Final = "x-claude-wrapper-session-dropped"


class Written(Struct, frozen=True, kw_only=True):
    """What was written.

    Args:
        name: of the session.
        head: how it stands now.
        dropped: messages that had to go, to keep it within its bounds.
        evicted: sessions that had to go, to keep their number within its bound.
    """

    name: SessionName
    head: SessionHead
    dropped: int
    evicted: tuple[SessionName, ...]

    @property
    def headers(self) -> dict[str, str]:
        """What the reply says of it."""
        return session_headers(self.name, dropped=self.dropped, evicted=self.evicted)


def session_scope(services: Services, caller: Caller) -> str:
    """Whose sessions a caller has, within its tenant: those of its key, or everybody's."""
    if caller.credential:
        return caller.key_id  # whoever pays Anthropic itself shares nothing with others who do
    rule = caller.cache.over(services.cache_rule)
    return SHARED if rule.share_within == "tenant" else caller.key_id


def session_not_found(session_id: str) -> NotFound:
    """The error for a session that is not there."""
    return NotFound(
        f"There is no session {session_id!r}: it was never begun, was deleted, has expired, or belongs to another key.",
        param="id",
        code="session_not_found",
    )


def session_headers(name: SessionName, *, dropped: int = 0, evicted: Sequence[SessionName] = ()) -> dict[str, str]:
    """What a reply says of its session; names of others' sessions are not for this caller."""
    headers = {SESSION_HEADER: name.id}
    if dropped:
        headers[DROPPED_HEADER] = str(dropped)
    if evicted:
        own = [gone.id for gone in evicted if gone.scope == name.scope]
        others = len(evicted) - len(own)
        headers[EVICTED_HEADER] = ", ".join([*own, f"{others} of another key"] if others else own)
    return headers


def session_figures(stats: SessionStats, *, max_sessions: int, ttl_s: int) -> SessionFigures:
    """How many sessions there are, as it is answered.

    Args:
        stats: as counted.
        max_sessions: live ones that a tenant may have.
        ttl_s: seconds that an unused session is kept.
    """
    return SessionFigures(
        total_sessions=stats.total,
        active_sessions=stats.active,
        expired_sessions=stats.expired,
        average_message_count=round(stats.average_messages, 2),
        oldest_session_age=round(stats.oldest_age_s, 1),
        max_sessions=max_sessions,
        ttl=ttl_s,
    )


def ask_for_session(services: Services, name: SessionName, holder: str) -> asyncio.Future[SessionHistory | TurnHeld]:
    """Asks for a session at once, so that the question travels beside what is asked next; see ``open_turn``."""
    return asyncio.ensure_future(
        sessions.open_turn(
            services.state, name, holder, channel=services.wakes.channel, ttl_s=services.session_rules.ttl_s
        )
    )


def _queue_for_session(services: Services, name: SessionName, holder: str) -> asyncio.Future[TurnHeld | None]:
    """Asks for a session without reading it, which may be large."""
    return asyncio.ensure_future(
        sessions.queue_for_turn(
            services.state, name, holder, channel=services.wakes.channel, ttl_s=services.session_rules.ttl_s
        )
    )


async def hold_session(
    services: Services, name: SessionName, holder: str, *, wait_s: float, is_told: bool = False
) -> SessionHistory:
    """Gets hold of a session, and reads it; one that does not exist yet has ``seq`` 0.

    Whoever gets hold has to commit, or to ``let_go``.

    Args:
        services: the rooms.
        name: of the session.
        holder: unique; asking again with the same succeeds.
        wait_s: seconds to wait for another turn that holds it.
        is_told: the holder has asked already, and was told that another turn holds it.

    Raises:
        Conflict: ``conversation_locked``, another turn has held it all the while.
        StateError: the store is away, or the session cannot be read.
    """
    deadline = services.monotonic() + wait_s
    with services.wakes.expect(name.sid) as wake:
        ask = _queue_for_session if is_told else ask_for_session
        asked: Awaitable[SessionHistory | TurnHeld | None] = ask(services, name, holder)
        try:
            while not isinstance(opened := await asyncio.shield(asked), SessionHistory):
                if opened is None:  # it is theirs now, and is read once
                    asked = ask_for_session(services, name, holder)
                    continue
                left_s = deadline - services.monotonic()
                if left_s <= 0:
                    raise _locked(name, wait_s)
                await wake.wait(min(left_s, opened.retry_in_s, LOOK_AGAIN_S))
                asked = _queue_for_session(services, name, holder)
        except (asyncio.CancelledError, StateError):  # it may be ours all the same
            await asyncio.gather(asked, return_exceptions=True)  # giving it back goes by another connection
            await let_go(services, name, holder)
            raise
        return opened


async def let_go(services: Services, name: SessionName, holder: str) -> None:
    """Frees a session without a change, if this holder has it; where the store is away, as soon as it is back."""

    def release() -> Awaitable[object]:
        return sessions.release_turn(services.state, name, holder, ttl_s=services.session_rules.ttl_s)

    try:
        await release()
    except StateError:
        services.insist(release)


async def create_session(services: Services, name: SessionName, tenant: str, messages: Sequence[Message]) -> Written:
    """Makes a session.

    Args:
        services: the rooms.
        name: of it.
        tenant: name of the tenant, for lists.
        messages: that it begins with; may be none.

    Raises:
        Conflict: ``session_exists``, or it is being made (``conversation_locked``).
        InvalidRequest: the messages are over the bounds of a session, or no turn could go on after them.
        StateError: the store is away.
    """
    async with _held(services, name) as held:
        if held.history.head.seq:
            raise _exists(name)
        return await _added(services, held, tenant, messages)


async def append_messages(services: Services, name: SessionName, tenant: str, messages: Sequence[Message]) -> Written:
    """Adds messages at the end of a session: all of them, or none.

    Args:
        services: the rooms.
        name: of the session.
        tenant: name of the tenant, for lists.
        messages: at least one.

    Raises:
        NotFound: there is no such session.
        Conflict: ``conversation_locked``, a turn has held it for too long.
        InvalidRequest: the messages are over the bounds of a session, or no turn could go on after them.
        StateError: the store is away, or the session cannot be read.
    """
    async with _held(services, name) as held:
        if not held.history.head.seq:
            raise session_not_found(name.id)
        return await _added(services, held, tenant, messages)


async def fork_session(services: Services, source: SessionName, target: SessionName, tenant: str) -> Written:
    """Copies a session as it was last committed, also while a turn holds it.

    Args:
        services: the rooms.
        source: what is copied; it stays as it is.
        target: the copy; must not exist.
        tenant: name of the tenant, for lists.

    Raises:
        NotFound: there is no such session.
        Conflict: ``session_exists``, or it is being made (``conversation_locked``).
        StateError: the store is away, or the session cannot be read.
    """
    original = await sessions.read_session(services.state, source)
    if original is None:
        raise session_not_found(source.id)
    async with _held(services, target) as held:
        if held.history.head.seq:
            raise _exists(target)
        return await _committed(services, held, tenant, original.turns, original.head.instructions)


class _Held(Struct, frozen=True):
    """A session that is held, and how it stood then."""

    name: SessionName
    holder: str
    history: SessionHistory


@asynccontextmanager
async def _held(services: Services, name: SessionName) -> AsyncIterator[_Held]:
    """Holds a session; whatever fails, it is free again."""
    holder = services.ledger.new_id()
    history = await hold_session(services, name, holder, wait_s=services.config.session_wait_s)
    try:
        yield _Held(name, holder, history)
    except BaseException:
        await let_go(services, name, holder)
        raise


async def _added(services: Services, held: _Held, tenant: str, messages: Sequence[Message]) -> Written:
    """Commits new messages, without as many of the oldest turns as have to go for them."""
    new = split_turn(messages, held.history.head)
    drop_turns = turns_to_drop(
        held.history,
        new_messages=new.total,
        new_bytes=len(new.stored) + len(new.instructions or b""),
        new_role=first_role(new.stored),
        rules=services.session_rules,
    )
    kept = SessionHistory(held.history.head, held.history.turns[drop_turns:])
    check_messages(kept, messages, services.models, services.translation)
    turns = _in_turns(new.messages, services.now())
    return await _committed(services, held, tenant, turns, new.instructions, drop_turns=drop_turns)


async def _committed(
    services: Services,
    held: _Held,
    tenant: str,
    turns: Sequence[StoredTurn],
    instructions: Raw | None,
    *,
    drop_turns: int = 0,
) -> Written:
    before = held.history
    gone, kept = before.turns[:drop_turns], (*before.turns[drop_turns:], *turns)
    head = await commit(
        services,
        held.name,
        held.holder,
        tenant=tenant,
        base=before.head,
        turns=turns,
        instructions=instructions,
        gone=gone,
    )
    evicted: tuple[SessionName, ...] = ()
    with suppress(StateError):  # what is committed is not taken back; it is seated when it is used again
        evicted = await seat(services, held.holder, held.name, SessionHistory(head, kept))
    return Written(name=held.name, head=head, dropped=messages_of(gone), evicted=evicted)


def messages_of(turns: Sequence[StoredTurn]) -> int:
    """How many messages these turns have, answers among them."""
    return sum(turn.message_count for turn in turns)


async def commit(
    services: Services,
    name: SessionName,
    holder: str,
    *,
    tenant: str,
    base: SessionHead,
    turns: Sequence[StoredTurn],
    instructions: Raw | None,
    gone: Sequence[StoredTurn],
) -> SessionHead:
    """Makes turns part of a session, and gives it back; see ``commit_turn``.

    Args:
        services: the rooms.
        name: of the session.
        holder: who has it.
        tenant: name of the tenant, for lists.
        base: the head that was read.
        turns: what comes to it.
        instructions: take the place of its own; ``None`` leaves them.
        gone: its oldest turns, which have to go.

    Raises:
        Conflict: ``conversation_changed``: it is not as it was read, or somebody else has it.
        StateError: it may not have been made.
    """

    def send() -> Awaitable[SessionHead]:
        return sessions.commit_turn(
            services.state,
            name,
            holder,
            tenant=tenant,
            base=base,
            turns=turns,
            instructions=instructions,
            drop_turns=len(gone),
            drop_messages=messages_of(gone),
            drop_bytes=sum(turn.size_bytes for turn in gone),
            ttl_s=services.session_rules.ttl_s,
        )

    try:
        return await send()
    except StateError:
        return await send()  # it may have been made; a commit that is repeated counts once


async def seat(
    services: Services, request_id: str, name: SessionName, history: SessionHistory
) -> tuple[SessionName, ...]:
    """Seats a session that was changed; returns those that had to go for it, whose longest idle ones go first.

    Args:
        services: the rooms.
        request_id: of this change, unique.
        name: of the session.
        history: as it is kept now.

    Raises:
        StateError: the store is away.
    """
    rules = services.session_rules
    size = session_size(history, context_tokens=max(facts.context_tokens for facts in services.models.all()))
    evicted = await sessions.seat_session(
        services.state,
        request_id,
        name,
        expected_tokens=size.expected_tokens,
        most_tokens=size.most_tokens,
        messages=history.head.messages,
        created_at=history.head.created_at,
        ttl_s=rules.ttl_s,
        max_sessions=rules.max_sessions,
    )
    services.note_seated(name.tag)
    if evicted:  # they are in no list any more, and expire if this fails
        services.beside(sessions.delete_sessions_data(services.state, evicted))
    return evicted


def _in_turns(messages: Sequence[Message], at: float) -> tuple[StoredTurn, ...]:
    """Messages in turns, which a session loses as a whole: each begins with a question, and has all its calls' results.

    Args:
        messages: in their order; no question stands between calls and their results.
        at: Unix seconds.
    """
    turns: list[list[Message]] = []
    for message in messages:
        last = turns[-1][-1] if turns else None
        if last is None or (isinstance(message, UserMessage) and not isinstance(last, UserMessage)):
            turns.append([])
        turns[-1].append(message)
    return tuple(StoredTurn(at=at, messages=Raw(_encode(turn)), count=len(turn)) for turn in turns)


def _locked(name: SessionName, wait_s: float) -> Conflict:
    return Conflict(
        f"The session {name.id!r} is held by another turn, and was not free within {wait_s:g} s. Send its turns one "
        "after the other, or work on a fork of it.",
        code="conversation_locked",
        retry_after_s=1,
    )


def _exists(name: SessionName) -> Conflict:
    return Conflict(
        f"There is a session {name.id!r} already. Delete it, or choose another id.", param="id", code="session_exists"
    )
