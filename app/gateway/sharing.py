"""One answer for equal requests: who makes it, who reads it, and what happens when whoever makes it is gone.

The first request of a worker that asks for an answer *drives* its flight: it finds the answer in the store, waits for
the worker that is making it, or makes it, by a call of its own. All requests of the worker, the driver among them, read
the flight. When the driver's client leaves, the flight goes on as long as somebody reads it, or waits for it on another
worker. Contract: DESIGN.md section 3, "Response cache" and "Single flight".

Who takes over: a leader that dies loses its lease, and one of those who asked its slot again leads. An answer that a
leader got and that is no good for others (cut off, refused, an error) is not stored; each other worker then makes its
own, one after the other twice, and after that at once. Who can afford less than was asked for, near the end of a
budget, makes its answer for itself and leaves the shared one to the others.
"""

from __future__ import annotations

import asyncio
from typing import Final, Literal

from app.domain.calls import MessagesCall, Usage
from app.domain.pricing import cost_of
from app.errors import (
    StateError,
    UpstreamUnreachable,
)
from app.gateway.chat import downgraded
from app.gateway.driving import LEADS, Drive
from app.gateway.entrance import CACHE_HEADER, Entry
from app.gateway.flights import Flight, is_of_a_turn
from app.gateway.ledger import Permit
from app.gateway.services import Services
from app.gateway.shared_answer import Shared, key_reused

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
            return LEADS
        if permit.degraded:
            return StateError("The request was let in without the state store.")
        return permit.replies[0] if permit.replies else None

    @property
    def call(self) -> MessagesCall:
        """What the answer is rendered for; known once it has begun."""
        entry = self._entry
        if self.flight.forced_tool_refused:
            return downgraded(entry.request, max_tokens=entry.call.max_tokens)
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

    def note_cache(self, usage: Usage) -> None:
        """Notes in the request's record what the response cache did for it.

        Args:
            usage: tokens of the answer, which would have been paid for without it.
        """
        if self._shared.slot.kind != "answer":
            return
        record, mark = self._entry.record, self.mark
        record.cache = mark or ("bypass" if self._entry.permit.degraded else "miss")  # without the store there is none
        if mark and not self._entry.credential:
            record.saved_nano = cost_of(self.call, [usage]) or 0

    async def leave(self) -> None:
        """The request is over, whatever has become of it; a call that nobody else needs is cancelled."""
        await self._services.flights.leave(self.flight)

    def _served(self) -> None:
        if self.mark:
            self._entry.served()

    def _take_over(self) -> None:
        """Whoever drove it was not let in, or is gone, or goes on alone: this request does, or reads whose turn it is.

        Raises:
            RateLimited: this one drove it, and may not.
            IdempotencyKeyReused: the key is another request's by now.
        """
        shared, flights = self._shared, self._services.flights
        if self._entry.refusal is not None:
            raise self._entry.refusal
        is_alone = self._entry.is_alone
        flight = None if is_alone else flights.find(shared.slot)
        if flight is not None and flight.fingerprint != shared.fingerprint:
            raise key_reused()
        self.flight.members -= 1
        self._drives = flight is None or not flight.is_fresh_for(shared.max_age_s)
        if flight is None or self._drives:
            flight = Flight(shared.slot, shared.fingerprint, int(self._services.now()), max_age_s=shared.max_age_s)
            if not is_alone:
                flights.open(flight)
                self._entry.expect_wake(shared)
        self.flight = flight
        flight.members += 1
        if self._drives:
            self._drive(LEADS if is_alone else None)

    def _drive(self, reply: object) -> None:
        drive = Drive(self._services, self._entry, self.flight)
        self._entry.is_driving = True
        self.flight.task = asyncio.create_task(drive.run(reply))
