"""One answer for equal requests: who makes it, who reads it, and what happens when whoever makes it is gone.

The first request of a worker that asks for an answer *drives* its flight: it finds the answer in the store, waits for
the worker that is making it, or makes it, by a call of its own. All requests of the worker, the driver among them, read
the flight. When the driver's client leaves, the flight goes on as long as somebody reads it, or waits for it on another
worker. Contract: DESIGN.md section 3, "Response cache" and "Single flight".

Who takes over: a leader that dies loses its lease, and one of those who asked its slot again leads. An answer that a
leader got and that is no good for others (cut off, refused, an error) is not stored; each other worker then makes its
own, one after the other twice, and after that at once.
"""

from __future__ import annotations

import asyncio
import logging
import random
from functools import partial
from typing import Final, Literal

from app.domain.calls import MessagesCall
from app.domain.recording import RecordedAnswer, decode_recording, encode_recording
from app.errors import GatewayError, InternalError, RateLimited, StateError, UpstreamUnreachable
from app.gateway.admission import state_needed
from app.gateway.chat import downgraded
from app.gateway.entrance import CACHE_HEADER, Entry, Shared, key_reused
from app.gateway.flights import Flight, is_of_a_turn
from app.gateway.ledger import Permit
from app.gateway.live_answer import LiveAnswer
from app.gateway.services import Services
from app.gateway.whole_answer import answer_whole
from app.state.answers import (
    Follow,
    Hit,
    Join,
    Large,
    Lead,
    Reused,
    fetch_large,
    jittered_ttl,
    land_flight,
    read_join,
    renew_flight,
    unfollow,
)
from app.translate.replay import is_storable, is_whole

log = logging.getLogger(__name__)

#: A wake is a hint that may be lost: whoever follows asks again after this long.
ASK_AGAIN_S: Final = 1.0
#: So many leaders may fail before whoever follows makes the answer without asking again.
MOST_LEADERS: Final = 2

BROKEN_OFF: Final = "The answer broke off: whoever was getting it is gone."

#: How a reply is marked in its usage; empty for the request that made the call.
Mark = Literal["", "hit", "joined"]

_WORDS: Final[dict[Mark, str]] = {"": "MISS", "hit": "HIT", "joined": "JOINED"}


class Part:
    """One request's part in a shared answer.

    Args:
        services: the rooms.
        entry: the request, which was let in.
    """

    def __init__(self, services: Services, entry: Entry) -> None:
        assert entry.shared is not None  # noqa: S101 - for the type checker
        assert entry.flight is not None  # noqa: S101
        self._services = services
        self._entry = entry
        self._shared: Shared = entry.shared
        self._drives = entry.drives
        self.flight: Flight = entry.flight
        if entry.drives:
            self._drive(self._first_reply(entry.permit))

    def _first_reply(self, permit: Permit) -> object:
        """Of the store, to who makes the answer; ``None``: that could not be asked before the request was let in."""
        if not self._shared.joins:
            return _LEADS
        if permit.degraded:
            return StateError("The request was let in without the state store.")
        return permit.replies[0] if permit.replies else None

    @property
    def call(self) -> MessagesCall:
        """What the answer is rendered for; known once it has begun."""
        entry = self._entry
        if self.flight.forced_tool_refused:
            return downgraded(self._services, entry.request, max_tokens=entry.call.max_tokens)
        return entry.call

    @property
    def mark(self) -> Mark:
        """How the reply is marked."""
        if self.flight.origin == "hit":
            return "hit"
        return "" if self._drives and self.flight.origin == "call" else "joined"

    @property
    def usage_mark(self) -> Mark:
        """How its usage says so: not at all where a retry gets the first answer byte by byte."""
        return "" if self._shared.slot.kind == "once" else self.mark

    @property
    def headers(self) -> dict[str, str]:
        """What the reply tells, known once the answer has begun: a retry is told what the first request was."""
        own, mark = self._entry.headers, self.mark
        if self._shared.slot.kind == "answer":
            age = {"age": str(int(self.flight.age_s))} if mark == "hit" else {}
            return {**own, CACHE_HEADER: _WORDS[mark], **age}
        if not mark:
            return own
        others = {name: value for name, value in own.items() if not is_of_a_turn(name)}
        return {**others, **self.flight.told, "idempotent-replayed": "true"}

    async def begun(self) -> None:
        """Waits until something has come, or it is over.

        Raises:
            GatewayError: there will be no answer.
        """
        while True:
            flight = self.flight
            flight.check()
            if flight.abandoned:
                self._take_over()
            elif flight.pieces or flight.is_whole:
                break
            else:
                await flight.change()

    async def whole(self) -> Flight:
        """The flight, once its answer is whole.

        Raises:
            GatewayError: there will be no answer.
        """
        await self.begun()
        while not self.flight.is_whole:
            self.flight.check()
            if self.flight.abandoned:  # nothing of it has been given to the client yet
                self._take_over()
            else:
                await self.flight.change()
        self._served()
        return self.flight

    async def kept(self) -> None:
        """Waits until the answer, which the client has got most of, is whole, and kept where it has to be.

        Raises:
            GatewayError: it could not be kept.
        """
        flight = self.flight
        while not flight.is_whole:
            flight.check()
            if flight.abandoned:
                raise UpstreamUnreachable(BROKEN_OFF)
            await flight.change()
        self._served()

    async def leave(self) -> None:
        """The request is over, whatever has become of it; a call that nobody else needs is cancelled."""
        await self._services.flights.leave(self.flight)

    def _served(self) -> None:
        if self.mark:
            self._entry.served()

    def _take_over(self) -> None:
        """Whoever drove it was not let in, or is gone: this request does, or reads whose turn it is now.

        Raises:
            RateLimited: this one drove it, and may not.
            IdempotencyKeyReused: the key is another request's by now.
        """
        shared, flights = self._shared, self._services.flights
        if self._entry.refusal is not None:
            raise self._entry.refusal
        flight = flights.find(shared.slot)
        if flight is not None and flight.fingerprint != shared.fingerprint:
            raise key_reused()
        self.flight.members -= 1
        self._drives = flight is None or not flight.is_fresh_for(shared.max_age_s)
        if flight is None or self._drives:
            flight = Flight(shared.slot, shared.fingerprint, int(self._services.now()), max_age_s=shared.max_age_s)
            flights.open(flight)
            self._entry.expect_wake(shared)
        self.flight = flight
        flight.members += 1
        if self._drives:
            self._drive(None)

    def _drive(self, reply: object) -> None:
        drive = _Drive(self._services, self._entry, self.flight)
        self._entry.is_driving = True
        self.flight.task = asyncio.create_task(drive.run(reply))


_LEADS: Final = Lead()


class _Drive:
    """Brings a flight to its end."""

    def __init__(self, services: Services, entry: Entry, flight: Flight) -> None:
        assert entry.shared is not None  # noqa: S101 - for the type checker
        self._services = services
        self._entry = entry
        self._flight = flight
        self._shared: Shared = entry.shared
        self._follows = False

    async def run(self, reply: object) -> None:
        """Runs until the flight is over.

        Args:
            reply: of the store, to the question who makes the answer; ``None``: it has to be asked first.
        """
        flight = self._flight
        try:
            await self._end_by(reply)
        except RateLimited as refusal:  # its own limits, not those of the others
            self._entry.refusal = refusal
        except GatewayError as error:
            flight.fail(error)
        except Exception:  # the task's outermost edge
            log.exception("A bug: a shared answer was not made.")
            flight.fail(InternalError("The gateway has failed; please report this."))
        finally:
            self._services.flights.close(flight)
            flight.abandon()
            if flight.leads:
                flight.leads = False
                self._services.insist(partial(self._land, None))
            if self._follows:
                services = self._services
                services.beside(unfollow(services.state, flight.slot, channel=services.wakes.channel))
            self._entry.is_driving = False
            self._entry.close()

    async def _end_by(self, reply: object) -> None:
        join, leaders = await self._first(reply), set[str]()
        while True:
            self._follows = isinstance(join, Follow)
            match join:
                case Hit() | Large():
                    read = await self._read(join)
                    if isinstance(read, RecordedAnswer):
                        self._replay(read, join.age_s, followed=bool(leaders))
                        return
                    join = read
                case Follow():
                    leaders.add(join.leader)
                    if len(leaders) > MOST_LEADERS and self._shared.slot.kind == "answer":
                        await self._lead()
                        return
                    wake = self._entry.wake
                    assert wake is not None  # noqa: S101 - for the type checker: it was expected before the question
                    await wake.wait(ASK_AGAIN_S)
                    join = await self._ask()
                case Reused():
                    raise key_reused()
                case Lead():
                    self._flight.leads = self._shared.joins
                    await self._lead()
                    return

    async def _first(self, reply: object) -> Join:
        if isinstance(reply, Lead):
            return reply
        try:
            return read_join(reply) if reply is not None else await self._ask()
        except StateError as error:
            return self._without_store(error)

    async def _ask(self) -> Join:
        try:
            script, names, args = self._entry.join_command()
            return read_join(await self._services.state.run_script(script, names, args))
        except StateError as error:
            return self._without_store(error)

    async def _read(self, found: Hit | Large) -> RecordedAnswer | Join:
        """The stored answer; one that cannot be read is deleted, and asked for once more."""
        state, slot = self._services.state, self._shared.slot
        try:
            value = found.value if isinstance(found, Hit) else await fetch_large(state, slot)
            answer = decode_recording(value) if value is not None else None
            if value is not None and answer is None:
                await state.call("DEL", slot.value_key)
        except StateError as error:
            return self._without_store(error)
        return await self._ask() if answer is None else answer

    def _without_store(self, error: StateError) -> Join:
        """A cache that is away is no cache; the promise of an ``Idempotency-Key`` cannot be kept."""
        if self._shared.slot.kind == "once":
            raise state_needed(error) from error
        return _LEADS

    def _replay(self, answer: RecordedAnswer, age_s: float, *, followed: bool) -> None:
        self._entry.served()
        self._flight.replay(answer, "joined" if followed else "hit", age_s)

    async def _lead(self) -> None:
        """Makes the answer by a call of its own."""
        services, entry, flight = self._services, self._entry, self._flight
        if flight.leads:
            entry.permit.renewals.append(self._renew)
        admitted = await entry.ready()
        self._note_told()
        if admitted.call.stream:
            live = LiveAnswer(services, entry, admitted, created=flight.created, tape=flight)
            try:
                await live.open()
                while not live.stopped:
                    await live.next()
                await live.finish()
                await self._land_well(admitted.call)  # before the upstream connection is read to its end
            finally:
                await live.close()
        else:
            await answer_whole(services, entry, admitted, created=flight.created, tape=flight)
            await self._land_well(admitted.call)

    def _note_told(self) -> None:
        """Retries are told of the turn what this request was; whom a cached answer is for it does not concern."""
        if self._shared.slot.kind == "once":
            self._flight.note_told(self._entry.headers)

    async def _land_well(self, call: MessagesCall) -> None:
        self._note_told()  # which sessions had to go is known for sure now
        await self._keep(call)
        self._flight.land()

    async def _renew(self) -> None:
        services, flight = self._services, self._flight
        if not flight.leads:  # it has landed while its lease was looked at
            return
        await renew_flight(services.state, flight.slot, self._entry.permit.id, fingerprint=flight.fingerprint)
        if not flight.members:
            services.beside(services.flights.end_unread(flight))

    async def _keep(self, call: MessagesCall) -> None:
        """Stores the answer where it is good for others."""
        services, shared = self._services, self._shared
        answer = self._flight.recording()
        if shared.slot.kind == "once":
            if is_whole(answer):
                self._flight.leads = False
                keeping = asyncio.ensure_future(self._keep_first(answer))
                services.beside(keeping)
                await asyncio.shield(keeping)  # also when the client leaves now: it may come again
            return
        is_good = is_storable(answer) and call.max_tokens == self._entry.request.call.max_tokens  # not lowered
        if shared.ttl_s and is_good and self._flight.size_bytes <= services.config.cache_max_entry_bytes:
            self._flight.leads = False
            services.beside(self._store(answer))

    async def _keep_first(self, answer: RecordedAnswer) -> None:
        try:
            await self._land(answer)
        except StateError as error:
            self._services.insist(partial(self._land, answer))  # whoever repeats the request may still get it
            raise state_needed(error) from error

    async def _store(self, answer: RecordedAnswer) -> None:
        services = self._services
        room = await services.cache_room.has_room(self._flight.size_bytes, services.admission.workers_seen)
        try:
            await self._land(answer if room else None)
        except StateError:
            services.insist(partial(self._land, None))

    async def _land(self, answer: RecordedAnswer | None) -> None:
        shared = self._shared
        is_once = shared.slot.kind == "once"
        await land_flight(
            self._services.state,
            shared.slot,
            self._entry.permit.id,
            value=None if answer is None else encode_recording(answer),
            fingerprint=shared.fingerprint,
            ttl_s=shared.ttl_s if is_once else jittered_ttl(max(shared.ttl_s, 1), random.random),
        )
