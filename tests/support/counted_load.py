"""Requests at an even rate, plain and streamed in turn, each on a connection of its own, so that any worker gets it.

What was answered is kept, to be compared with what a gateway has counted.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from msgspec import Struct

from tests.support.chat_wire import Reply, Wire, post

#: Has neither sampling limits nor thinking to pay for.
MODEL: Final = "claude-haiku-4-5"


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
        asking: set[asyncio.Task[None]] = set()
        pace = asyncio.create_task(self._pace(asking))
        try:
            yield self
        finally:
            pace.cancel()
            await asyncio.gather(pace, return_exceptions=True)
            await asyncio.gather(*asking)

    async def _pace(self, asking: set[asyncio.Task[None]]) -> None:
        began = time.monotonic()
        for number in itertools.count():
            await asyncio.sleep(max(0.0, began + number / self._per_second - time.monotonic()))
            task = asyncio.create_task(self._ask(number, streamed=number % 2 == 1))
            asking.add(task)
            task.add_done_callback(asking.discard)

    async def _ask(self, number: int, *, streamed: bool) -> None:
        whole, used = False, Counter[str]()
        try:
            wire = await Wire.open(self._port)
            try:
                wire.send(post(_body(number, streamed)))
                whole, used = _read(await wire.reply(), streamed)
            finally:
                wire.close()
        except (OSError, EOFError):
            pass
        self.answers.append(Answer(streamed=streamed, ended_at=time.monotonic(), whole=whole, used=used))


def _body(number: int, streamed: bool) -> bytes:
    request: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": f"Question {number}."}]}
    if streamed:
        request |= {"stream": True, "stream_options": {"include_usage": True}}
    return json.dumps(request).encode()


def _read(reply: Reply, streamed: bool) -> tuple[bool, Counter[str]]:
    """Whether a reply is whole, and what it tells to have been used."""
    if reply.status != 200:
        return False, Counter()
    if not streamed:
        return True, _tokens(json.loads(reply.body)["usage"])
    found = re.search(rb'data: (\{[^\n]*"usage":\{[^\n]*\})\n', reply.body)
    if found is None or not reply.body.endswith(b"data: [DONE]\n\n"):
        return False, Counter()
    return True, _tokens(json.loads(found[1])["usage"])


def _tokens(usage: dict[str, int]) -> Counter[str]:
    return Counter(input=usage["prompt_tokens"], output=usage["completion_tokens"])
