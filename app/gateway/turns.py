"""One turn of a session: held from the admission of its request to its settlement, and committed whole or not at all.

While a turn holds its session nobody else writes to it, on any replica; its lease is renewed with that of the request.
Contract: DESIGN.md section 3, "Sessions".
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from app.domain.calls import MessagesCall
from app.domain.sessions import SessionHead, SessionHistory, SessionName, StoredTurn, first_role, turns_to_drop
from app.errors import Conflict, StateError
from app.gateway.ledger import Permit
from app.gateway.services import Services
from app.gateway.session_book import (
    DROPPED_HEADER,
    EVICTED_HEADER,
    SESSION_HEADER,
    ask_for_session,
    commit,
    hold_session,
    messages_of,
    seat,
    session_headers,
)
from app.gateway.wants import Wants
from app.schemas.openai_chat import Message
from app.state.session_index import peek_commands, read_peek
from app.state.sessions import (
    TurnHeld,
    read_head,
    read_session,
    release_turn,
    renew_turn,
    unseat_sessions,
)
from app.translate.history import NewMessages, split_turn

#: How many messages of the session came before this turn; 0: it begins with it.
MESSAGES_HEADER: Final = "x-claude-wrapper-session-messages"
FORKED_HEADER: Final = "x-claude-wrapper-session-forked-from"


class Turn:
    """A turn.

    Args:
        services: the rooms.
        name: of the session.
        holder: id of the permit of its request.
        wants: whether it waits, and forks.
        messages: the client's.

    Attributes:
        name: of the session that it is committed to; another one once it has forked.
        is_fork: it goes on in a copy of the session that was asked for.
        history: what comes before it, without what had to be dropped.
        headers: what the reply tells of it.
    """

    def __init__(
        self, services: Services, name: SessionName, holder: str, wants: Wants, messages: Sequence[Message]
    ) -> None:
        self._services = services
        self._holder = holder
        self._wants = wants
        self._messages = messages
        self._base = SessionHead()
        self._copied: tuple[StoredTurn, ...] = ()
        self._new = NewMessages(instructions=None, messages=[], stored=Raw(b"[]"), count=0)
        self._dropped = SessionHistory(SessionHead())
        self._opening: asyncio.Future[SessionHistory | TurnHeld] | None = None
        self._is_open = False
        self.name = name
        self.is_fork = False
        self.history = SessionHistory(SessionHead())
        self.headers: dict[str, str] = {}

    @property
    def is_new(self) -> bool:
        """Whether the session begins with it."""
        return self._base.seq == 0

    def begin(self) -> asyncio.Future[SessionHistory | TurnHeld]:
        """Asks for the session at once, so that the question travels beside what is asked next."""
        self._is_open = True
        self._opening = ask_for_session(self._services, self.name, self._holder)
        return self._opening

    async def hold(self, permit: Permit) -> None:
        """Waits until the session is held, and reads what of its history counts; asks for it unless it has begun.

        Raises:
            Conflict: another turn holds it for longer than this one may wait.
            InvalidRequest: the new messages alone are over the bounds of a session.
            StateError: the store is away.
        """
        history = await self._held()
        self._base = history.head
        permit.renewals.append(self._renew)
        self._new = split_turn(self._messages, history.head)
        rules = self._services.session_rules
        size = len(self._new.stored) + len(self._new.instructions or b"")
        drop = turns_to_drop(
            history,
            new_messages=self._new.total + 1,
            new_bytes=size,
            new_role=first_role(self._new.stored),
            rules=rules,
        )
        self._dropped = SessionHistory(history.head, history.turns[:drop])
        head = replace(history.head, dropped=history.head.dropped + self._dropped_messages)
        self.history = SessionHistory(head, history.turns[drop:])
        if self.is_fork:
            self._base, self._copied = SessionHead(), self.history.turns
        self.headers |= {
            SESSION_HEADER: self.name.id,
            MESSAGES_HEADER: str(history.head.messages - self._dropped_messages),
        }
        if drop:
            self.headers[DROPPED_HEADER] = str(self._dropped_messages)

    @property
    def _dropped_messages(self) -> int:
        return messages_of(self._dropped.turns)

    async def _held(self) -> SessionHistory:
        services, name = self._services, self.name
        opened = await asyncio.shield(self._opening or self.begin())
        if not isinstance(opened, TurnHeld):
            return opened
        wait_s = self._wants.wait_within(services.config.session_wait_s)
        try:
            return await hold_session(services, name, self._holder, wait_s=wait_s, is_told=True)
        except Conflict:
            if not self._wants.forks:
                raise
        return await self._fork()

    async def _fork(self) -> SessionHistory:
        """Goes on in a copy of what is committed, which is nothing while the first turn runs."""
        services, original = self._services, self.name
        copied = await read_session(services.state, original)
        self.is_fork = True
        self.name = SessionName(original.tag, original.scope, services.new_session_id())
        self.headers[FORKED_HEADER] = original.id
        begun = await hold_session(services, self.name, self._holder, wait_s=0)
        peeked = await services.state.pipeline(peek_commands(self.name))
        going = read_peek(self.name, peeked, services.session_rules.max_sessions)
        self._evicts([] if going is None else [going])
        return begun if copied is None else copied

    def _evicts(self, names: Sequence[SessionName]) -> None:
        """Tells which sessions have to go for this one."""
        self.headers.pop(EVICTED_HEADER, None)
        self.headers |= session_headers(self.name, evicted=names)

    async def _renew(self) -> None:
        await renew_turn(self._services.state, self.name, self._holder)

    async def commit(self, permit: Permit, call: MessagesCall, content: Sequence[Raw]) -> None:
        """Makes the turn part of the session; once, and before the client has the last byte of the answer.

        Raises:
            Conflict: the session was deleted, or another turn got in while this one had lost its lease.
            StateError: it may not have been made.
        """
        now = self._services.now()
        new = StoredTurn(
            at=now,
            messages=self._new.stored,
            count=self._new.count,
            answer=Raw(msgspec.json.encode(list(content))),
            model=call.model,
        )
        instructions = self._new.instructions
        if self.is_fork and bytes(self.history.head.instructions) != b"[]":
            instructions = self.history.head.instructions
        head = replace(
            self.history.head,
            messages=self.history.head.messages - self._dropped_messages + self._new.total + 1,
            created_at=self._base.created_at or now,
            instructions=self.history.head.instructions if instructions is None else instructions,
        )
        committing = asyncio.ensure_future(
            commit(
                self._services,
                self.name,
                self._holder,
                tenant=permit.tenant,
                base=self._base,
                turns=(*self._copied, new),
                instructions=instructions,
                gone=() if self.is_fork else self._dropped.turns,
            )
        )
        seating = asyncio.ensure_future(self._seat(permit, SessionHistory(head, (*self.history.turns, new))))
        try:
            await asyncio.gather(committing, seating)
        except Conflict:
            self._services.beside(self._unseat(seating))
            raise
        self._is_open = False

    async def _seat(self, permit: Permit, history: SessionHistory) -> None:
        with suppress(StateError):  # what is committed is not taken back; it is seated when it is used again
            self._evicts(await seat(self._services, permit.id, self.name, history))

    async def _unseat(self, seating: asyncio.Future[None]) -> None:
        """The turn was not made: a session that was deleted meanwhile is in no list again."""
        await seating
        state = self._services.state
        if await read_head(state, self.name) is None:
            await unseat_sessions(state, [self.name])

    def give_up(self) -> None:
        """The turn will not be made: frees its session, beside the request; nothing after ``commit``."""
        if not self._is_open:
            return
        self._is_open = False
        self._services.insist(self._release)

    async def _release(self) -> None:
        if self._opening is not None:
            await asyncio.gather(self._opening, return_exceptions=True)  # before it there is nothing to free
        services = self._services
        await release_turn(services.state, self.name, self._holder, ttl_s=services.session_rules.ttl_s)
