"""Answers in the making on this worker: what has come of each so far, read by everybody who asked for the same.

Whoever asks first makes the flight and drives it (``sharing.py``): by a call of its own, or by waiting for another
worker's. The others read along. A flight ends with a whole answer, with an error, or abandoned, in which case nobody
has got anything of it from elsewhere and one of the others begins anew. Contract: DESIGN.md section 3, "Single flight".
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final, Literal

from msgspec import Struct

from app.domain.recording import RecordedAnswer, RecordedReply
from app.errors import GatewayError, StateError
from app.state.answers import Slot, is_followed
from app.state.connection import StateConnection

#: What clients are told of an upstream reply's headers when it is replayed.
TOLD_HEADERS = ("request-id",)

#: How headers begin that tell of the turn of a session that was made, and of its thinking.
_OF_A_TURN: Final = ("x-claude-wrapper-session", "x-claude-wrapper-thinking")


def is_of_a_turn(header: str) -> bool:
    """Whether a header tells of the session or the thinking of the request that has made the answer."""
    return header.startswith(_OF_A_TURN)


class Piece(Struct, frozen=True, gc=False):
    """Bytes of one upstream reply, as they came.

    Args:
        choice: whose answer, counted from 0.
        reply: which reply of it; more than one where ``pause_turn`` made a chain.
        is_stream: part of an event stream; otherwise a whole message as JSON.
        data: the bytes.
    """

    choice: int
    reply: int
    is_stream: bool
    data: bytes


class Tape:
    """What Anthropic sends for one answer, in the order of arrival.

    Args:
        created: Unix seconds that clients are told.

    Attributes:
        pieces: so far.
        size_bytes: of them.
        headers: of the first upstream reply.
        forced_tool_refused: the model turned out to refuse the forced tool choice, and was asked differently.
        told: what clients are told of the turn that was made; see ``is_of_a_turn``.
    """

    def __init__(self, created: int) -> None:
        self.created = created
        self.pieces: list[Piece] = []
        self.size_bytes = 0
        self.headers: dict[str, str] = {}
        self.forced_tool_refused = False
        self.told: dict[str, str] = {}

    def add(self, choice: int, reply: int, data: bytes, *, is_stream: bool) -> None:
        """Something has arrived."""
        self.pieces.append(Piece(choice, reply, is_stream, data))
        self.size_bytes += len(data)

    def note_headers(self, headers: Mapping[str, str]) -> None:
        """An upstream reply has begun."""
        self.headers = self.headers or dict(headers)

    def note_told(self, headers: Mapping[str, str]) -> None:
        """What the client is told by the gateway's own headers, of which those of its turn are kept."""
        self.told = {name: value for name, value in headers.items() if is_of_a_turn(name)}

    def recording(self) -> RecordedAnswer:
        """Everything, for keeping."""
        replies: dict[tuple[int, int], list[Piece]] = {}
        for piece in self.pieces:
            replies.setdefault((piece.choice, piece.reply), []).append(piece)
        choices: dict[int, list[RecordedReply]] = {}
        for (choice, _), pieces in sorted(replies.items()):
            body = b"".join(piece.data for piece in pieces)
            choices.setdefault(choice, []).append(RecordedReply(pieces[0].is_stream, body))
        return RecordedAnswer(
            created=self.created,
            choices=tuple(map(tuple, choices.values())),
            headers={name: self.headers[name] for name in TOLD_HEADERS if name in self.headers},
            forced_tool_refused=self.forced_tool_refused,
            told=self.told,
        )


#: How a flight came by its answer: by a call, from the store, or from another worker's call.
Origin = Literal["call", "hit", "joined"]


class Flight(Tape):
    """One answer in the making.

    Args:
        slot: which answer.
        fingerprint: of the request that it answers.
        created: Unix seconds.
        max_age_s: of a stored answer that whoever drives it takes; ``None``: any.

    Attributes:
        members: requests that read it, or are being let in to.
        origin: how it came by its answer.
        age_s: of a stored answer.
        is_whole: it has ended well.
        error: it has ended so.
        abandoned: it has ended, and somebody else has to begin anew.
        task: drives it.
        leads: it is the one that makes the answer, of all workers; those of others may wait for it.
    """

    def __init__(self, slot: Slot, fingerprint: bytes, created: int, *, max_age_s: float | None = None) -> None:
        super().__init__(created)
        self.slot = slot
        self.fingerprint = fingerprint
        self.max_age_s = max_age_s
        self.members = 0
        self.origin: Origin = "call"
        self.age_s = 0.0
        self.is_whole = False
        self.error: GatewayError | None = None
        self.abandoned = False
        self.task: asyncio.Task[None] | None = None
        self.leads = False
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def shared_id(self) -> str:
        """Of a streamed completion that has several choices."""
        return f"chatcmpl-{self.slot.digest[:24]}"

    def is_fresh_for(self, max_age_s: float | None) -> bool:
        """Whether its answer will be no older than that, whatever is found in the store; ``None``: any age will do."""
        return max_age_s is None or (self.max_age_s is not None and self.max_age_s <= max_age_s)

    @property
    def is_over(self) -> bool:
        """Nothing more will come."""
        return self.is_whole or self.abandoned or self.error is not None

    def add(self, choice: int, reply: int, data: bytes, *, is_stream: bool) -> None:
        """Something has arrived."""
        super().add(choice, reply, data, is_stream=is_stream)
        self._tell()

    def replay(self, answer: RecordedAnswer, origin: Origin, age_s: float) -> None:
        """The answer is there already."""
        self.created, self.headers, self.origin, self.age_s = answer.created, answer.headers, origin, age_s
        self.forced_tool_refused, self.told = answer.forced_tool_refused, answer.told
        for choice, replies in enumerate(answer.choices):
            for number, reply in enumerate(replies):
                super().add(choice, number, reply.body, is_stream=reply.is_stream)
        self.land()

    def land(self) -> None:
        """The answer is whole, and kept where it had to be."""
        self.is_whole = True
        self._tell()

    def fail(self, error: GatewayError) -> None:
        """There will be no answer."""
        self.error = error
        self._tell()

    def abandon(self) -> None:
        """Whoever drove it has left; nothing if it is over."""
        if not self.is_over:
            self.abandoned = True
            self._tell()

    def check(self) -> None:
        """Raises the error that it has ended with."""
        if self.error is not None:
            raise self.error.with_traceback(None)  # many raise it: none holds on to the traces of the others

    async def change(self) -> None:
        """Waits until something has arrived, or it is over."""
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        await waiting

    def _tell(self) -> None:
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if not one.done():
                one.set_result(None)


class Flights:
    """The flights of one worker, by slot.

    Args:
        state: knows who waits on other workers.
    """

    def __init__(self, state: StateConnection) -> None:
        self._state = state
        self._open: dict[Slot, Flight] = {}

    def find(self, slot: Slot) -> Flight | None:
        """The flight that is under way."""
        return self._open.get(slot)

    def open(self, flight: Flight) -> None:
        """A new flight, which others find from now on."""
        self._open[flight.slot] = flight

    def close(self, flight: Flight) -> None:
        """Nobody finds it any more; those who read it go on."""
        if self._open.get(flight.slot) is flight:
            del self._open[flight.slot]

    async def leave(self, flight: Flight) -> None:
        """One reader less, which may have been the last."""
        flight.members -= 1
        await self.end_unread(flight)

    async def end_unread(self, flight: Flight) -> None:
        """Cancels the call of a flight that nobody waits for any more, neither here nor on another worker."""
        if flight.task is None or _is_read(flight):
            return
        if flight.leads and await self._is_followed(flight):
            return  # asked again whenever its lease is renewed
        if _is_read(flight):  # by somebody who has come meanwhile
            return
        await self._end(flight)

    async def _is_followed(self, flight: Flight) -> bool:
        try:
            return await is_followed(self._state, flight.slot)
        except StateError:
            return False

    async def end_all(self) -> None:
        """Cancels what is made for other workers only, at the end of this one: one of those makes it anew."""
        await asyncio.gather(*map(self._end, tuple(self._open.values())))

    async def _end(self, flight: Flight) -> None:
        self.close(flight)
        flight.abandon()
        if flight.task is not None:
            flight.task.cancel()
            await asyncio.gather(flight.task, return_exceptions=True)


def _is_read(flight: Flight) -> bool:
    return flight.members > 0 or flight.is_over
