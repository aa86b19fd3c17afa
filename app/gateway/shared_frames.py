"""The frames of an answer that is shared, for one of those who asked for it: rendered from what came of it so far."""

from __future__ import annotations

from functools import reduce
from operator import add

from app.domain.calls import MessagesCall, Report, Usage
from app.errors import UpstreamUnreachable
from app.gateway.chat import note_request_id
from app.gateway.sharing import BROKEN_OFF, Part
from app.translate.replay import ReplayedChoice


class SharedFrames:
    """Frames, as ``LiveAnswer`` gives them.

    Args:
        part: of the request in the answer.
    """

    def __init__(self, part: Part) -> None:
        self._part = part
        self._read = 0
        self._choices: list[ReplayedChoice] = []

    @property
    def call(self) -> MessagesCall:
        """What the frames are for."""
        return self._part.call

    async def open(self) -> None:
        """Returns once something of the answer is there.

        Raises:
            GatewayError: there will be no answer.
        """
        await self._part.begun()
        call, flight = self.call, self._part.flight
        shared_id = flight.shared_id if call.n > 1 else None
        self._choices = [
            ReplayedChoice(call.plan, created=flight.created, index=index, id=shared_id, mark=self._part.usage_mark)
            for index in range(call.n)
        ]

    async def next(self) -> bytes:
        """The next frames; the last ones set ``stopped``.

        Raises:
            GatewayError: the answer has broken off.
        """
        flight = self._part.flight
        while True:
            frames = b"".join(map(self._frames, range(self._read, len(flight.pieces))))
            self._read = len(flight.pieces)
            if flight.is_whole:  # what paused and was not continued is over with it
                frames += b"".join(choice.end() for choice in self._choices)
            if self.stopped or (frames and any(choice.started for choice in self._choices)):
                return frames
            for choice in self._choices:
                if choice.error is not None:
                    note_request_id(choice.error, flight.headers)
                    raise choice.error
            flight.check()
            if flight.is_over:
                raise UpstreamUnreachable(BROKEN_OFF)
            await flight.change()

    def _frames(self, at: int) -> bytes:
        piece = self._part.flight.pieces[at]
        return self._choices[piece.choice].feed(piece.reply, piece.is_stream, piece.data)

    @property
    def stopped(self) -> bool:
        """Whether every choice is complete."""
        return bool(self._choices) and all(choice.stopped for choice in self._choices)

    @property
    def has_content(self) -> bool:
        """Whether frames with a part of the answer were returned."""
        return any(choice.has_content for choice in self._choices)

    @property
    def headers(self) -> dict[str, str]:
        """Of Anthropic's first reply."""
        return self._part.flight.headers

    @property
    def usage(self) -> Usage:
        """Tokens of the answer so far."""
        return reduce(add, (choice.usage for choice in self._choices), Usage())

    @property
    def report(self) -> Report:
        """What only the answer could tell."""
        adjusted = dict.fromkeys(one for choice in self._choices for one in choice.report.adjusted)
        return Report(adjusted=tuple(adjusted))

    async def finish(self) -> None:
        """Waits until the answer is kept where it has to be.

        Raises:
            GatewayError: it could not be kept.
        """
        await self._part.kept()
        self._part.note_cache(self.usage)

    def closing(self) -> bytes:
        """The last frames of the client's stream."""
        return self._choices[0].closing(self.usage)

    async def close(self) -> None:
        """Reads no further."""
        await self._part.leave()
