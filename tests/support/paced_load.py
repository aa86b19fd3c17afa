"""Requests at an even rate, whether or not earlier ones were answered, by several callers in turn: plain and streamed.

Every answer is kept with what the client saw of it: how long it waited for the first byte, whether it was whole, and
what it was told to have used. It runs in the event loop of whoever watches.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

from msgspec import Struct

from tests.support.chat_wire import Wire, post

#: Has neither sampling limits nor thinking to pay for.
MODEL: Final = "claude-haiku-4-5"

#: Who waits this long gives up, and counts as having got no answer.
PATIENCE_S: Final = 8.0

#: Every so many requests, one is a stream.
_STREAM_EVERY: Final = 3


class Client(Struct, frozen=True):
    """Who asks: a name for the figures, and the key that is presented."""

    name: str
    key: str


class Answer(Struct, frozen=True, kw_only=True):
    """What a client saw of one request.

    Args:
        client: name of who asked.
        streamed: whether it asked for a stream.
        began_at: monotonic seconds at which it asked.
        took_s: until the reply began; until it gave up where there was none.
        status: 0 where the connection ended, or nothing came.
        degraded: the reply said that it was given without the store.
        code: of the error, or what happened instead of a reply.
        retry_after: the header of that name.
        used: tokens as the reply tells them: ``input``, ``output``; empty where it does not.
    """

    client: str
    streamed: bool
    began_at: float
    took_s: float
    status: int = 0
    degraded: bool = False
    code: str = ""
    retry_after: str = ""
    used: Counter[str] = Counter()

    @property
    def ended_at(self) -> float:
        """When the reply began."""
        return self.began_at + self.took_s

    @property
    def whole(self) -> bool:
        """A complete answer."""
        return self.status == 200 and not self.code

    @property
    def is_documented(self) -> bool:
        """The failure that the gateway promises while the store is away."""
        return self.status == 503 and self.code == "state_unavailable" and self.retry_after.isdigit()


class PacedLoad:
    """Requests to a gateway.

    Args:
        port: of the gateway, on loopback.
        clients: who ask, in turn.
        per_second: requests.

    Attributes:
        answers: in the order in which they were over.
    """

    def __init__(self, port: int, clients: Sequence[Client], *, per_second: float) -> None:
        self._port = port
        self._clients = clients
        self._per_second = per_second
        self._idle: list[Wire] = []
        self._numbers = itertools.count()
        self.answers: list[Answer] = []

    def running(self) -> AbstractAsyncContextManager[None]:
        """Asks until the block ends, then waits for the answers that are due."""
        return asking(lambda _: self._ask(), per_second=self._per_second)

    async def ask_each(self, times: int = 1) -> None:
        """Asks for every client so many times, at the same time."""
        await asyncio.gather(*(self._ask() for _ in range(times * len(self._clients))))

    def close(self) -> None:
        """Ends the connections."""
        for wire in self._idle:
            wire.close()
        self._idle.clear()

    async def _ask(self) -> None:
        number = next(self._numbers)
        client = self._clients[number % len(self._clients)]
        streamed = number // len(self._clients) % _STREAM_EVERY == 0
        began_at = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE_S):
                answer = await self._answer(client, number, streamed, began_at)
        except (OSError, EOFError, TimeoutError) as error:
            took_s = time.monotonic() - began_at
            answer = Answer(
                client=client.name, streamed=streamed, began_at=began_at, took_s=took_s, code=type(error).__name__
            )
        self.answers.append(answer)

    async def _answer(self, client: Client, number: int, streamed: bool, began_at: float) -> Answer:
        wire = self._idle.pop() if self._idle else await Wire.open(self._port)
        wire.send(post(question(number, streamed), headers=f"authorization: Bearer {client.key}\r\n"))
        status, headers = await wire.head()
        took_s = time.monotonic() - began_at
        body = await wire.rest(headers)
        self._idle.append(wire)
        code, used = read_answer(status, body, streamed)
        return Answer(
            client=client.name,
            streamed=streamed,
            began_at=began_at,
            took_s=took_s,
            status=status,
            degraded=headers.get("x-claude-wrapper-degraded") == "state",
            code=code,
            retry_after=headers.get("retry-after", ""),
            used=used,
        )


@asynccontextmanager
async def asking(ask: Callable[[int], Coroutine[Any, Any, None]], *, per_second: float) -> AsyncIterator[None]:
    """Asks at an even rate until the block ends, then waits for the answers that are due.

    Args:
        ask: asks the question of a number, from 0 on.
        per_second: questions.
    """
    asked: set[asyncio.Task[None]] = set()

    async def keep_pace() -> None:
        began = time.monotonic()
        for number in itertools.count():
            await asyncio.sleep(max(0.0, began + number / per_second - time.monotonic()))
            task = asyncio.create_task(ask(number))
            asked.add(task)
            task.add_done_callback(asked.discard)

    pace = asyncio.create_task(keep_pace())
    try:
        yield
    finally:
        pace.cancel()
        await asyncio.gather(pace, return_exceptions=True)
        await asyncio.gather(*asked)


def question(number: int, streamed: bool) -> bytes:
    """A request that is like no other of its load."""
    request: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": f"Question {number}."}]}
    if streamed:
        request |= {"stream": True, "stream_options": {"include_usage": True}}
    return json.dumps(request).encode()


def read_answer(status: int, body: bytes, streamed: bool) -> tuple[str, Counter[str]]:
    """What is wrong with a reply, if anything, and what it tells to have been used."""
    if status != 200:
        return str(json.loads(body)["error"]["code"]), Counter()
    if not streamed:
        return "", _tokens(json.loads(body)["usage"])
    if not body.endswith(b"data: [DONE]\n\n"):
        return "unfinished", Counter()
    found = re.search(rb'data: (\{[^\n]*"usage":\{[^\n]*\})\n', body)
    return ("", _tokens(json.loads(found[1])["usage"])) if found else ("no usage", Counter())


def _tokens(usage: dict[str, int]) -> Counter[str]:
    return Counter(requests=1, input=usage["prompt_tokens"], output=usage["completion_tokens"])
