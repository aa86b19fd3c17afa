"""How a chat completion is let in, and made ready: admission, its session, its kept thinking, its shared answer.

Everything that has to be known of the store before Anthropic is called is asked in one round trip: the admission with
the shared answer, and beside it, over the connection for large values, the session and the kept answers. Without any of
these it is the admission alone. Contract: DESIGN.md sections 3 and 4.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial

from app.domain.auth import Caller
from app.domain.calls import MessagesCall, Usage
from app.domain.limits import Refusal, Use
from app.domain.pricing import WorstCase, worst_case
from app.domain.sessions import SessionName
from app.errors import GatewayError, RateLimited, StateError, StateUnavailable
from app.gateway.admission import limited, scope_missing, state_needed, verdict_of
from app.gateway.chat import Admitted, ChatRequest
from app.gateway.flights import Flight
from app.gateway.ledger import NOTHING_USED, Permit
from app.gateway.services import Services
from app.gateway.session_book import EVICTED_HEADER, session_headers, session_scope
from app.gateway.shared_answer import Shared, key_reused, shared_answer
from app.gateway.spending import Spending, demand_of, granted
from app.gateway.turns import Turn
from app.observability.record import RequestRecord
from app.state.answers import land_flight, unfollow
from app.state.connection import Command, Reply
from app.state.kept_answers import kept_commands, read_kept
from app.state.scripts import ScriptCall
from app.state.session_index import peek_commands, read_peek
from app.state.wakes import Wake
from app.translate.chat_to_messages import to_messages
from app.translate.kept_thinking import kept_ids

CACHE_HEADER = "x-claude-wrapper-cache"
BYPASS = {CACHE_HEADER: "BYPASS"}


def _usage_of(use: Use) -> Usage:
    return Usage(
        input_tokens=use.input_tokens,
        cache_creation_input_tokens=use.cache_write_tokens,
        cache_read_input_tokens=use.cache_read_tokens,
        output_tokens=use.output_tokens,
    )


class Entry:
    """A request that was let in. It is over after ``close``, whatever has become of it.

    Args:
        services: the rooms.
        request: what the client asked for.
        record: notes of the request, for the log.
        caller: who asks.

    Attributes:
        permit: what it holds, once it was let in.
        shared: the answer that it shares with equal requests.
        flight: where that is being made.
        drives: this request was the first of this worker to ask for it.
        wake: tells when asking for it again is worth it; only for who drives, and may have to wait.
        is_driving: a task makes the shared answer, for other requests, too; it closes the entry.
        refusal: why it may not make the shared answer, which others may.
        is_alone: it makes an answer of its own, as what it can afford is less than others have asked for.
        has_left: its client is gone while it makes an answer for others, too.
        headers: of the client's reply, by what is known so far.
    """

    def __init__(self, services: Services, request: ChatRequest, record: RequestRecord, caller: Caller) -> None:
        self._services = services
        self._caller = caller
        self._expecting: AbstractContextManager[Wake] | None = None
        self._turn: Turn | None = None
        self._kept: tuple[str, ...] = ()
        self._reading: asyncio.Future[list[Reply | StateError]] | None = None
        self._admitted: Admitted | None = None
        self._is_settled = False
        self.request = request
        self.record = record
        self.permit: Permit
        self.shared: Shared | None = None
        self.flight: Flight | None = None
        self.drives = False
        self.is_driving = False
        self.refusal: RateLimited | None = None
        self.is_alone = False
        self.has_left = False
        self.wake: Wake | None = None
        self.headers: dict[str, str] = dict(BYPASS)

    @property
    def call(self) -> MessagesCall:
        """What the request has become, as far as is known."""
        return self.request.call if self._admitted is None else self._admitted.call

    @property
    def is_ready(self) -> bool:
        """Whether everything is there that its call needs."""
        return self._admitted is not None

    @property
    def credential(self) -> str:
        """The client's own Anthropic key, if that is what pays."""
        return self._caller.credential

    async def let_in(self) -> None:
        """Admission, and everything that is asked along with it; see ``Admission.admit`` for what it raises.

        Raises:
            IdempotencyKeyReused: the same key is being used by another request on this worker.
        """
        services, request, caller = self._services, self.request, self._caller
        permit_id = services.ledger.new_id()
        owner = caller if caller.verified else await self._owner()
        self.shared = shared_answer(services, request, owner)
        commands: list[Command] = []
        try:
            if self.shared is not None and self._board(self.shared):
                commands.append(self.join_command(permit_id))
            name = self._session(owner)
            if name is not None:
                self._turn = Turn(services, name, permit_id, request.wants, request.chat.request.messages)
                if self.shared is None:  # else only who makes the answer may hold it: the others wait for that one
                    self._turn.begin()
                commands += peek_commands(name)
            elif request.call.keeps_answers:
                self._kept = kept_ids(request.chat)
            if self._kept:
                reads = kept_commands(caller.tag, self._kept)
                self._reading = asyncio.ensure_future(services.state.pipeline(reads, large=True))
            self.permit = await self._admit(permit_id, name, commands)
            self.record.cache = "bypass"  # until an answer that is shared says otherwise
            if name is not None and self.permit.replies:
                self._foresee(name, self.permit.replies[-len(peek_commands(name)) :])
            if not owner.verified:
                self._board_late()
        except BaseException:
            self._leave_session()
            self._leave_flight(permit_id)
            raise

    def _leave_flight(self, permit_id: str) -> None:
        """It was not let in: others have to make the answer that it may have promised to make."""
        flight, shared, services = self.flight, self.shared, self._services
        self._expect_no_wake()
        if flight is None or shared is None:
            return
        if not self.drives:
            services.beside(services.flights.leave(flight))
            return
        services.flights.close(flight)
        flight.abandon()
        if shared.joins:
            services.beside(unfollow(services.state, shared.slot, channel=services.wakes.channel))
            services.insist(
                partial(
                    land_flight,
                    services.state,
                    shared.slot,
                    permit_id,
                    value=None,
                    fingerprint=shared.fingerprint,
                    ttl_s=1,
                )
            )

    async def _owner(self) -> Caller:
        """The caller with what is known of its key: whom it shares with, and what it may do."""
        services, caller, request = self._services, self._caller, self.request
        recalled = services.gate.recalled(caller)
        if recalled is not None:
            return recalled
        if request.wants.is_none and not request.session and services.cache_rule.mode != "on":
            return caller  # what its key says of sharing would not be worth a look-up; its admission brings it
        return await services.gate.verified(caller)

    def _board_late(self) -> None:
        """What its key says of sharing is known only now: the store has yet to be asked for the answer."""
        owner = self._services.gate.recalled(self._caller)
        if owner is None or self.permit.degraded:
            return
        self.shared = shared_answer(self._services, self.request, owner)
        if self.shared is not None:
            self._board(self.shared)

    def _board(self, shared: Shared) -> bool:
        """Joins the flight of this worker, or begins one; whether the store has to be asked for the answer then."""
        services = self._services
        flight = services.flights.find(shared.slot) if shared.joins else None
        if flight is not None and flight.fingerprint != shared.fingerprint:
            raise key_reused()
        if flight is not None and flight.is_fresh_for(shared.max_age_s):
            self.flight = flight
            flight.members += 1
            return False
        self.drives = True
        self.flight = flight = Flight(shared.slot, shared.fingerprint, int(services.now()), max_age_s=shared.max_age_s)
        flight.members += 1
        if shared.joins:
            services.flights.open(flight)
            self.expect_wake(shared)
        return shared.joins

    def expect_wake(self, shared: Shared) -> None:
        """From now on it is noticed when another worker has ended its flight."""
        self._expect_no_wake()
        self._expecting = self._services.wakes.expect(shared.slot.digest)
        self.wake = self._expecting.__enter__()

    def _expect_no_wake(self) -> None:
        expecting, self._expecting = self._expecting, None
        if expecting is not None:
            expecting.__exit__(None, None, None)

    def join_command(self, permit_id: str = "") -> ScriptCall:
        """Asks the store for the shared answer, or who makes it."""
        assert self.shared is not None  # noqa: S101 - for the type checker
        return self.shared.join_command(permit_id or self.permit.id, channel=self._services.wakes.channel)

    def _session(self, owner: Caller) -> SessionName | None:
        request = self.request
        if not request.session:
            return None
        if "sessions" not in owner.scopes:
            raise scope_missing("sessions")
        return SessionName(owner.tag, session_scope(self._services, owner), request.session)

    async def _admit(self, permit_id: str, name: SessionName | None, commands: Sequence[Command]) -> Permit:
        services, request, record, caller = self._services, self.request, self.record, self._caller
        call = request.call
        strict = request.translation.strict if request.strict is None else request.strict
        names = request.models.names_of(call.model, asked=request.chat.model)
        is_ours = not caller.credential
        is_once = self.shared is not None and self.shared.slot.kind == "once"
        asked_at = services.monotonic()
        record.client_credential = not is_ours
        try:
            permit = await services.admission.admit(
                caller,
                demand_of(call, names, is_ours=is_ours, strict=strict, grows=name is not None),
                permit_id=permit_id,
                sid=name.sid if name is not None else "",
                alongside=commands,
                needs_state=name is not None or is_once or bool(self._kept),
            )
        except GatewayError as error:
            record.degraded = services.admission.alone_at >= asked_at
            record.verdict = verdict_of(error)
            raise
        finally:
            record.admitted_at = services.monotonic()
        record.tenant, record.key_id = permit.tenant, permit.account.key_id
        record.degraded = permit.degraded
        record.verdict = "admitted_alone" if permit.degraded else "admitted"
        return permit

    def _foresee(self, name: SessionName, replies: Sequence[Reply | StateError]) -> None:
        """Tells which session will have to go for a new one."""
        going = read_peek(name, replies, self._services.session_rules.max_sessions)
        if going is not None:
            self.headers |= session_headers(name, evicted=[going])

    async def ready(self) -> Admitted:
        """The call as it will be made: the session's history before it, kept thinking back in its place.

        Raises:
            Conflict: another turn holds the session.
            InvalidRequest: with its history the request cannot be served.
            RateLimited: what was reserved does not cover it.
            StateUnavailable: the store went away meanwhile.
        """
        services, permit, turn = self._services, self.permit, self._turn
        try:
            kept = await self._recall()
        except StateUnavailable as error:
            raise state_needed(error) from error
        call = self._call_with(kept)
        spending = Spending(
            call,
            services.ratios,
            services.pace,
            services.prompts,
            monotonic=services.monotonic,
            is_ours=not self.credential,
        )
        permit.progress = spending.use
        self._admitted = Admitted(
            call=call,
            permit=permit,
            spending=spending,
            turn=turn,
            history=turn.history if turn is not None else None,
            kept=kept,
            credential=self.credential,
        )
        return self._admitted

    async def _recall(self) -> dict[str, bytes]:
        """Holds the session, and reads the answers that were kept."""
        turn = self._turn
        if turn is not None:
            await turn.hold(self.permit)
            if turn.is_fork or not turn.is_new:
                self.headers.pop(EVICTED_HEADER, None)
            self.headers |= turn.headers
        return read_kept(self._kept, await self._reading) if self._reading is not None else {}

    def _call_with(self, kept: Mapping[str, bytes]) -> MessagesCall:
        """The call with what comes before the client's messages, and within what was granted."""
        request, turn = self.request, self._turn
        if turn is None and not self._kept:
            return granted(request.call, self.permit.max_tokens)
        call = to_messages(
            request.chat,
            request.models,
            request.translation,
            history=turn.history if turn is not None else None,
            kept=kept,
            thinking_tokens=request.thinking_tokens,
            strict=request.strict,
        )
        if call.restored or call.lost:
            self.headers["x-claude-wrapper-thinking"] = f"restored={call.restored}, lost={call.lost}"
        return self._covered(granted(call, self.permit.max_tokens))

    def _covered(self, call: MessagesCall) -> MessagesCall:
        """The call within what is reserved of budgets: what has come to the prompt shortens the answer."""
        held, worst = self.permit.hold.nano, worst_case(call)
        if not held or not isinstance(worst, WorstCase) or not worst.output_nano_per_token:
            return call
        affordable = (held - worst.input_nano) // worst.output_nano_per_token
        if affordable >= call.max_tokens:
            return call
        strict = self.request.translation.strict if self.request.strict is None else self.request.strict
        if affordable < (call.max_tokens if strict else call.least_tokens):
            refusal = Refusal(whose="key", limit="budget_reserved", retry_after_s=1)
            raise limited(refusal, self._services.admission.limits_of(self._caller.limits), {})
        return granted(call, affordable)

    def settle(self, *, complete: bool) -> None:
        """Its call is over, whatever has become of it; the first time counts."""
        admitted = self._admitted
        if admitted is None:
            self._give_back(NOTHING_USED)
        elif not self._is_settled:
            use = admitted.spending.use(complete=complete)
            self.record.nano, self.record.estimated = use.nano, use.estimated
            if use.estimated:  # Anthropic has not told it, as of an answer that its client did not wait for
                self.record.usage = _usage_of(use)
            self._give_back(use)

    def served(self) -> None:
        """It has got the answer without a call: it costs nothing."""
        self._give_back(Use(requests=0, cache_hits=1))

    def _give_back(self, use: Use) -> None:
        if not self._is_settled:
            self._is_settled = True
            self._services.ledger.settle(self.permit, use, trace=self.record.trace)
            self._services.metrics.used(tenant=self.permit.tenant, model=self.permit.model, use=use)

    def _leave_session(self) -> None:
        if self._turn is not None:
            self._turn.give_up()
        if self._reading is not None and not self._reading.cancel() and not self._reading.cancelled():
            self._reading.exception()  # it has failed before anybody came to ask for it

    def close(self) -> None:
        """Frees what it still holds, unless it makes an answer for others, too. May be called twice."""
        if self.is_driving:
            self.has_left = True
            return
        self.settle(complete=False)
        self._leave_session()
        self._expect_no_wake()
