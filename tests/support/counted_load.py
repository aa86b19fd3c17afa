"""Requests at an even rate, plain and streamed in turn, each on a connection of its own, so that any worker gets it.

What was answered is kept, to be compared with what a gateway has counted.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from msgspec import Struct

from tests.support.chat_wire import Wire, post
from tests.support.paced_load import asking, question, read_answer


class Answer(Struct, frozen=True, kw_only=True):
    """What became of one request.

    Args:
        streamed: whether a stream was asked for.
        ended_at: monotonic seconds at which it was over.
        whole: it was answered to its end.
        used: tokens as the answer tells them: ``input``, ``output``.
    """

    streamed: bool
    ended_at: float
    whole: bool
    used: Counter[str] = Counter()


class CountedLoad:
    """Requests to a gateway.

    Args:
        port: of the gateway, on loopback.
        per_second: requests.

    Attributes:
        answers: in the order in which they were over.
    """

    def __init__(self, port: int, *, per_second: float) -> None:
        self._port = port
        self._per_second = per_second
        self.answers: list[Answer] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator[CountedLoad]:
        """Asks until the block ends, then waits for the answers that are due."""
        async with asking(self._ask, per_second=self._per_second):
            yield self

    async def _ask(self, number: int) -> None:
        streamed = number % 2 == 1
        whole, used = False, Counter[str]()
        try:
            wire = await Wire.open(self._port)
            try:
                wire.send(post(question(number, streamed)))
                reply = await wire.reply()
                fault, used = read_answer(reply.status, reply.body, streamed)
                whole = not fault
            finally:
                wire.close()
        except (OSError, EOFError):
            pass
        self.answers.append(Answer(streamed=streamed, ended_at=time.monotonic(), whole=whole, used=used))
