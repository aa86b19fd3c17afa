"""Clients of what the gateway keeps, while Redis fails: sessions, kept thinking, Idempotency-Keys, cached answers.

Each client asks one request after the other, plain and streamed in turn, and goes on after a failure as the contract
tells it to. What it was told is kept as ``Said``; ``SessionWriter.compared`` holds that against the session.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Final

from msgspec import Struct

from tests.support.chat_wire import Reply, Wire, post
from tests.support.paced_load import MODEL, PATIENCE_S

#: Thinks, and calls the tools that a question names.
THINKING_MODEL: Final = "claude-sonnet-5-5"

#: The promise of a reply to who has to try again.
STATE_AWAY: Final = "state_unavailable"

_TOOLS: Final = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]


class Said(Struct, frozen=True, kw_only=True):
    """What a client saw of one request.

    Args:
        kind: of the client.
        what: of its requests.
        streamed: whether it asked for a stream.
        began_at: monotonic seconds.
        took_s: until the whole reply was there.
        status: 0 where the connection ended, or nothing came.
        code: of the error, by status or in band; or what happened instead of a reply; empty for a whole answer.
        headers: of the reply.
        text: of the answer, as far as it came.
        message: the answer's message, where it was plain.
        id: of the completion.
        message_of_error: what it was told in words.
    """

    kind: str
    what: str
    streamed: bool
    began_at: float
    took_s: float
    status: int = 0
    code: str = ""
    headers: Mapping[str, str] = {}
    text: str = ""
    message: Mapping[str, Any] = {}
    id: str = ""
    message_of_error: str = ""

    @property
    def whole(self) -> bool:
        """A complete answer."""
        return self.status == 200 and not self.code

    @property
    def is_documented(self) -> bool:
        """The failure that the gateway promises while the store is away: 503, or in band once a stream has begun."""
        if self.code != STATE_AWAY:
            return False
        return (self.status == 503 and self.headers.get("retry-after", "").isdigit()) or self.begun

    @property
    def begun(self) -> bool:
        """A stream that had begun."""
        return self.streamed and self.status == 200

    def __str__(self) -> str:
        shown = f"{self.kind} {self.what!r} {'stream' if self.streamed else 'plain'}: {self.status} {self.code}"
        return f"{shown} after {self.took_s:.3f} s {self.message_of_error}"


class KeptClient(ABC):
    """One client; a connection of its own.

    Args:
        port: of the gateway, on loopback.
        key: that it presents.
        name: unique.

    Attributes:
        said: in order.
    """

    kind: ClassVar[str]

    def __init__(self, port: int, key: str, name: str) -> None:
        self._port = port
        self._key = key
        self._wire: Wire | None = None
        self.name = name
        self.said: list[Said] = []

    @abstractmethod
    async def step(self, number: int) -> None:
        """One request, or the few that belong together."""

    async def run(self, pause_s: float) -> None:
        """Steps until it is cancelled; a step that has begun is brought to its end."""
        for number in itertools.count():
            step = asyncio.ensure_future(self.step(number))
            try:
                await asyncio.shield(step)
            except asyncio.CancelledError:
                await step
                raise
            await asyncio.sleep(pause_s)

    def problems(self) -> list[str]:
        """What this client may not have seen, beside failures that are told by their status or code."""
        return []

    async def ask(
        self, what: str, body: Mapping[str, Any], *, headers: str = "", path: str = "/v1/chat/completions"
    ) -> Said:
        """One request."""
        began_at = time.monotonic()
        streamed = bool(body.get("stream"))
        facts: dict[str, Any]
        wire, self._wire = self._wire or await Wire.open(self._port), None
        try:
            async with asyncio.timeout(PATIENCE_S):
                wire.send(
                    post(
                        json.dumps(body).encode(), path=path, headers=f"authorization: Bearer {self._key}\r\n{headers}"
                    )
                )
                reply = await wire.reply()
                self._wire = wire
                facts = {"status": reply.status, "headers": reply.headers, **_read(reply, streamed)}
        except (OSError, EOFError, TimeoutError) as error:
            wire.reset()
            facts = {"code": type(error).__name__}
        said = Said(
            kind=self.kind,
            what=what,
            streamed=streamed,
            began_at=began_at,
            took_s=time.monotonic() - began_at,
            **facts,
        )
        self.said.append(said)
        return said

    def close(self) -> None:
        """Ends its connection."""
        if self._wire is not None:
            self._wire.close()


class SessionWriter(KeptClient):
    """Says one thing after the other in a session; after a failure it says the next."""

    kind = "session"

    async def step(self, number: int) -> None:
        """One turn."""
        body = question(f"{self.name} {number}", stream=number % 2 == 1, session_id=self.name)
        await self.ask(str(number), body)

    def compared(self, messages: Sequence[Mapping[str, Any]], *, since: float = float("-inf")) -> list[str]:
        """What is wrong with the session: it has whole turns in their order, among them all that were answered.

        Args:
            messages: as ``GET /v1/sessions/{id}`` shows them.
            since: monotonic seconds; what was answered before may be gone.
        """
        found: list[int] = []
        problems: list[str] = []
        for asked, answered in itertools.zip_longest(messages[::2], messages[1::2], fillvalue={}):
            number = str(asked["content"]).split()[1]
            found.append(int(number))
            if asked["role"] != "user" or answered.get("content") != answer(f"{self.name} {number}"):
                problems.append(f"not a whole turn: {asked} {answered}")
        if found != sorted(set(found)):
            problems.append(f"turns out of order, or twice: {found}")
        told = {int(said.what): said for said in self.said if said.whole and said.began_at >= since}
        if lost := sorted(told.keys() - set(found)):
            problems.append(f"answered and forgotten: {lost}")
        for place, number in enumerate(found):
            said = told.get(number)
            if said is not None and said.headers["x-claude-wrapper-session-messages"] != str(2 * place):
                problems.append(f"the turn {number} was not made from what stands before it: {said.headers}")
        return [f"{self.name}: {problem}" for problem in problems]


class Agent(KeptClient):
    """Asks, gets a tool call made by a model that thinks, and hands back its result without the thinking."""

    kind = "agent"

    def __init__(self, port: int, key: str, name: str) -> None:
        super().__init__(port, key, name)
        self._lost: list[str] = []

    async def step(self, number: int) -> None:
        """One question, and the result of the tool where one was called."""
        common = {"model": THINKING_MODEL, "tools": _TOOLS, "reasoning_effort": "medium"}
        asked = {"role": "user", "content": f"{self.name} {number}: please call get_weather for Rome."}
        first = await self.ask(f"{number} asks", {**common, "messages": [asked]})
        if not first.whole:
            return
        calls = first.message["tool_calls"]
        messages = [
            asked,
            {"role": "assistant", "content": first.message.get("content"), "tool_calls": calls},
            *({"role": "tool", "tool_call_id": call["id"], "content": "fine"} for call in calls),
        ]
        second = await self.ask(f"{number} goes on", {**common, "messages": messages, "stream": number % 2 == 1})
        while second.is_documented:
            await asyncio.sleep(0.1)
            second = await self.ask(f"{number} goes on", {**common, "messages": messages})
        kept = "x-claude-wrapper-degraded" not in first.headers
        thinking = second.headers.get("x-claude-wrapper-thinking")
        if second.whole and kept and thinking != "restored=1, lost=0":
            self._lost.append(f"{self.name} {number}: {thinking}")

    def problems(self) -> list[str]:
        """Thinking that was lost though the store was there when its answer was given."""
        return self._lost


class OnceClient(KeptClient):
    """Sends each request with an ``Idempotency-Key`` until it is answered, and once more."""

    kind = "once"

    def __init__(self, port: int, key: str, name: str) -> None:
        super().__init__(port, key, name)
        self._differ: list[str] = []

    async def step(self, number: int) -> None:
        """One request, repeated."""
        what = f"{self.name} {number}"
        body = question(what, stream=number % 2 == 1)
        ids: list[str] = []
        while len(ids) < 2:
            said = await self.ask(str(number), body, headers=f"idempotency-key: {what}\r\n")
            if said.whole:
                ids.append(said.id)
            elif said.is_documented:
                await asyncio.sleep(0.1)
            else:
                return
        if ids[0] != ids[1]:
            self._differ.append(f"{what}: answered twice: {ids}")

    def problems(self) -> list[str]:
        """Requests that were answered by two different answers."""
        return self._differ


class CachedClient(KeptClient):
    """Asks a few questions again and again, and takes cached answers."""

    kind = "cached"
    _QUESTIONS: Final = 5

    def __init__(self, port: int, key: str, name: str) -> None:
        super().__init__(port, key, name)
        self._wrong: list[str] = []

    async def step(self, number: int) -> None:
        """One of the questions."""
        what = f"{self.name} {number % self._QUESTIONS}"
        said = await self.ask(what, question(what, stream=number % 2 == 1), headers="cache-control: max-age=60\r\n")
        if said.whole and (said.text != answer(what) or said.headers["x-claude-wrapper-cache"] not in _CACHED):
            self._wrong.append(f"{said} {said.headers} {said.text!r}")

    def problems(self) -> list[str]:
        """Answers to something else, and replies that do not say how they were made."""
        return self._wrong


_CACHED: Final = ("HIT", "MISS", "JOINED", "BYPASS")


def answer(what: str) -> str:
    """What the simulator answers to ``question(what)``."""
    return f"answer to {what}"


def question(what: str, **fields: Any) -> dict[str, Any]:
    """A request that nobody else makes."""
    content = f"{what} [[sim: text='{answer(what)}']]"
    return {"model": MODEL, "messages": [{"role": "user", "content": content}], **fields}


class KeptLoad:
    """Several clients at once.

    Args:
        clients: who ask.
        pause_s: between two steps of a client.
    """

    def __init__(self, clients: Sequence[KeptClient], *, pause_s: float) -> None:
        self.clients = clients
        self._pause_s = pause_s

    @property
    def said(self) -> list[Said]:
        """What all of them were told."""
        return [said for client in self.clients for said in client.said]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """They ask until the block ends; what was asked is answered then."""
        tasks = [asyncio.create_task(client.run(self._pause_s)) for client in self.clients]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
            for client in self.clients:
                client.close()
        for end in ends:
            if isinstance(end, Exception):
                raise end


def _read(reply: Reply, streamed: bool) -> dict[str, Any]:
    if reply.status != 200:
        return {"code": reply.error["code"] or "no code", "message_of_error": reply.error["message"]}
    if not streamed:
        whole = json.loads(reply.body)
        message = whole["choices"][0]["message"]
        return {"message": message, "text": message.get("content") or "", "id": whole["id"]}
    return _read_stream(reply.body)


def _read_stream(body: bytes) -> dict[str, Any]:
    events = [line[6:] for line in body.split(b"\n") if line.startswith(b"data: ")]
    chunks = [json.loads(event) for event in events if event != b"[DONE]"]
    deltas = [choice["delta"] for chunk in chunks for choice in chunk.get("choices", ())]
    told: dict[str, Any] = {
        "text": "".join(delta.get("content") or "" for delta in deltas),
        "id": next((chunk["id"] for chunk in chunks if "id" in chunk), ""),
    }
    for error in (chunk["error"] for chunk in chunks if "error" in chunk):
        done = " and DONE" if b"[DONE]" in events else ""
        return {**told, "code": f"{error['code']}{done}", "message_of_error": error["message"]}
    if events[-1:] != [b"[DONE]"]:
        return {**told, "code": "unfinished"}
    return told
