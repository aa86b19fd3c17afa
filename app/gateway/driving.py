"""What brings a shared answer to its end: found in the store, waited for, or made by a call.

One task of the worker for each flight, begun by the request that asked for it first (``sharing.py``). Contract:
DESIGN.md section 3, "Response cache" and "Single flight".
"""

from __future__ import annotations

import asyncio
import logging
import random
from functools import partial
from typing import Final

from app.domain.calls import MessagesCall
from app.domain.recording import RecordedAnswer, decode_recording, encode_recording
from app.errors import (
    Conflict,
    GatewayError,
    InternalError,
    RateLimited,
    StateError,
    StateUnavailable,
)
from app.gateway.admission import state_needed
from app.gateway.chat import Admitted
from app.gateway.entrance import Entry
from app.gateway.finishing import Contents, finish
from app.gateway.flights import Flight
from app.gateway.live_answer import LiveAnswer
from app.gateway.services import Services
from app.gateway.shared_answer import Shared, key_reused
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
#: When a store that is nearly full may have room again.
FULL_RETRY_S: Final = 10
#: So many leaders may fail before whoever follows makes the answer without asking again.
MOST_LEADERS: Final = 2

LEADS: Final = Lead()


class Drive:
    """Brings a flight to its end."""

    def __init__(self, services: Services, entry: Entry, flight: Flight) -> None:
        assert entry.shared is not None  # noqa: S101 - for the type checker
        self._services = services
        self._entry = entry
        self._flight = flight
        self._shared: Shared = entry.shared
        self._follows = False
        self._is_unanswered = False
        self._goes_on_alone = False

    async def run(self, reply: object) -> None:
        """Runs until the flight is over.

        Args:
            reply: of the store, to the question who makes the answer; ``None``: it has to be asked first.
        """
        flight = self._flight
        self._is_unanswered = isinstance(reply, StateError)
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
            if flight.leads or self._is_unanswered:  # it may lead without having been told
                flight.leads = False
                self._services.insist(partial(self._land, None))
            if self._follows:
                services = self._services
                services.beside(unfollow(services.state, flight.slot, channel=services.wakes.channel))
            self._entry.is_driving = False
            if self._entry.has_left or not self._goes_on_alone:
                self._entry.close()

    async def _end_by(self, reply: object) -> None:
        join, leaders = await self._first(reply), set[str]()
        while True:
            self._follows = self._follows or isinstance(join, Follow)
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
                    self._flight.leads = self._shared.joins and not self._entry.is_alone
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
        self._is_unanswered = True
        script, names, args = self._entry.join_command()
        try:
            join = read_join(await self._services.state.run_script(script, names, args))
        except StateError as error:
            return self._without_store(error)
        self._is_unanswered = False
        return join

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
        return LEADS

    def _replay(self, answer: RecordedAnswer, age_s: float, *, followed: bool) -> None:
        self._entry.served()
        self._flight.replay(answer, "joined" if followed else "hit", age_s)

    async def _lead(self) -> None:
        """Makes the answer by a call of its own."""
        services, entry, flight = self._services, self._entry, self._flight
        if flight.leads:
            entry.permit.renewals.append(self._renew)
        is_once = self._shared.slot.kind == "once"
        if is_once:
            services.beside(services.cache_room.look())
        if is_once and services.cache_room.is_full:
            raise StateUnavailable(
                "The state store is nearly full, so the answer to an Idempotency-Key could not be kept; please try "
                "again later, or without it.",
                retry_after_s=FULL_RETRY_S,
            )
        admitted = await entry.ready()
        if self._is_short(admitted.call) and self._is_for_others:
            self._goes_on_alone = entry.is_alone = True
            return
        self._note_told()
        if admitted.call.stream:
            live = LiveAnswer(services, entry, admitted, created=flight.created, tape=flight)
            try:
                await live.open()
                while not live.stopped:
                    await live.next()
                live.note_end()
                await self._end_well(admitted, live.contents)  # before the upstream connection is read to its end
            finally:
                await live.close()
        else:
            whole = await answer_whole(services, entry, admitted, created=flight.created, tape=flight)
            await self._end_well(admitted, whole.contents)

    def _is_short(self, call: MessagesCall) -> bool:
        """Whether less is asked for than the client, and whoever asks the same, wants: a budget is nearly spent."""
        return call.max_tokens < self._entry.request.call.max_tokens

    @property
    def _is_for_others(self) -> bool:
        """Whether other requests may get the answer, which are not repetitions of this one."""
        return self._shared.slot.kind == "answer" and self._shared.joins and not self._entry.is_alone

    async def _end_well(self, admitted: Admitted, contents: Contents) -> None:
        """Everything has come: keeps what has to be kept, and lands."""
        if self._shared.slot.kind == "once":  # also when the client leaves now: it may come again
            ending = asyncio.ensure_future(self._end_once(admitted, contents))
            self._services.beside(ending)
            await asyncio.shield(ending)
            return
        await finish(self._services, self._entry, admitted, contents)
        self._store_if_good(admitted.call)
        self._flight.land()

    async def _end_once(self, admitted: Admitted, contents: Contents) -> None:
        """What a retry must not find half done: its turn is made, and the answer is kept for it.

        While nobody knows whether the turn was made, the flight stays this request's, so that a retry waits for it.
        """
        flight, services = self._flight, self._services
        flight.leads = False
        try:
            await finish(services, self._entry, admitted, contents)
        except StateError:
            services.insist(partial(self._end_once_again, admitted, contents))
            raise
        except BaseException:
            services.insist(partial(self._land, None))
            raise
        self._note_told()  # which sessions had to go is known for sure now
        answer = flight.recording()
        if is_whole(answer):
            await self._keep_first(answer)
        else:
            services.insist(partial(self._land, None))
        flight.land()

    async def _end_once_again(self, admitted: Admitted, contents: Contents) -> None:
        try:
            await finish(self._services, self._entry, admitted, contents)
        except Conflict:
            await self._land(None)
        else:
            await self._land(self._flight.recording())

    def _note_told(self) -> None:
        """Retries are told of the turn what this request was; whom a cached answer is for it does not concern."""
        if self._shared.slot.kind == "once":
            self._flight.note_told(self._entry.headers)

    async def _renew(self) -> None:
        services, flight = self._services, self._flight
        if not flight.leads:  # it has landed while its lease was looked at
            return
        await renew_flight(services.state, flight.slot, self._entry.permit.id, fingerprint=flight.fingerprint)
        if not flight.members:
            services.beside(services.flights.end_unread(flight))

    def _store_if_good(self, call: MessagesCall) -> None:
        """Stores the answer, beside the request, where it is good for others."""
        services, shared, answer = self._services, self._shared, self._flight.recording()
        is_good = is_storable(answer) and not self._is_short(call)
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
