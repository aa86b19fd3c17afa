"""The corridor without its doors: requests of callers, answered over a store in memory and a scripted upstream.

corridor = Corridor(FakeReply(message(text("Hello."))))
completed = await corridor.ask("Hi", wants=CACHED)
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from app.config import Config
from app.domain.auth import SCOPES, Caller, tenant_tag
from app.domain.caching import CacheControl
from app.gateway.chat import ChatRequest, read_chat
from app.gateway.complete import Completed, complete
from app.gateway.entrance import Entry
from app.gateway.stream import ChatEvents
from app.gateway.wants import NOTHING_WANTED, Wants
from app.observability.record import RequestRecord
from tests.support.fake_upstream import FakeUpstream, data_frames
from tests.support.services import make_services
from tests.support.steered_state import SteeredState

#: A model that thinks, in the table.
MODEL = "claude-opus-5-5"

#: A turn of a session.
TRIP = Wants(session="trip")

#: Takes an answer of the last minute, and has its own kept for one.
CACHED = Wants(cache=CacheControl(max_age_s=60))


def caller(key_id: str = "ann", tenant: str = "acme", **facts: Any) -> Caller:
    """Somebody whose key needs no look-up, with all scopes."""
    known: dict[str, Any] = {"source": "file", "authenticated": True, "scopes": SCOPES, **facts}
    return Caller(tenant=tenant, tag=tenant_tag(tenant), key_id=key_id, **known)


ANN = caller()


class Corridor:
    """One worker.

    Args:
        replies: of the upstream, see ``FakeUpstream``.
        state: the store, which other workers may have, too.
        settings: fields of ``Config``.
    """

    def __init__(self, *replies: Any, state: SteeredState | None = None, **settings: Any) -> None:
        self.state = SteeredState() if state is None else state
        self.upstream = FakeUpstream(*replies)
        self.services = make_services(config=Config(**settings), state=self.state, upstream=self.upstream)

    def another(self, *replies: Any, **settings: Any) -> Corridor:
        """Another worker on the same store."""
        return Corridor(*replies, state=self.state, **settings)

    def read(self, said: Any = "Hi", *, wants: Wants = NOTHING_WANTED, **fields: Any) -> ChatRequest:
        """A request as the door has read it; ``said``: text of the user, or all messages."""
        messages = [{"role": "user", "content": said}] if isinstance(said, str) else said
        body = {"model": MODEL, "messages": messages, **fields}
        return read_chat(self.services, msgspec.json.encode(body), wants=wants)

    def entry(self, said: Any = "Hi", *, who: Caller = ANN, **request: Any) -> Entry:
        """A request that waits to be let in."""
        return Entry(self.services, self.read(said, **request), new_record(), who)

    async def ask(self, said: Any = "Hi", *, who: Caller = ANN, **request: Any) -> Completed:
        """A plain request, answered."""
        return await complete(self.services, self.read(said, **request), new_record(), who)

    def events(self, said: Any = "Hi", *, who: Caller = ANN, **request: Any) -> ChatEvents:
        """A streamed request."""
        return ChatEvents(self.services, self.read(said, stream=True, **request), new_record(), who)

    async def listen(self, said: Any = "Hi", **request: Any) -> bytes:
        """A streamed request, read to its end."""
        return await frames_of(self.events(said, **request))

    async def upstream_called(self, times: int) -> None:
        """Returns once the upstream was called so often."""
        while len(self.upstream.requests) < times:  # noqa: ASYNC110 - a turn of the loop, not a wait
            await asyncio.sleep(0)

    async def settled(self) -> None:
        """Returns once nothing runs beside the requests."""
        while self.services._beside:
            await asyncio.wait(self.services._beside)
        await self.services.ledger.close()

    async def leftovers(self) -> dict[str, Any]:
        """What requests have left behind that has to end with them, by its name; empty when all is well."""
        await self.settled()
        services, state = self.services, self.state
        live, heads = await state.call("KEYS", "cw:*:live:*"), await state.call("KEYS", "cw:*:session:*")
        left = {
            "open permits": services.ledger.open_permits,
            "settlements": services.ledger.unsettled,
            "leases": sum([await state.call("ZCARD", name) for name in live]),
            "flights": len(services.flights._open),
            "flights in the store": await state.call("KEYS", "cw:*:flight:*"),
            "held sessions": [name for name in heads if await state.call("HGET", name, "holder")],
            "who waits": len(services.wakes._waiting),
        }
        return {name: value for name, value in left.items() if value}


def new_record() -> RequestRecord:
    """Notes of a request."""
    return RequestRecord("r1", "POST", "/v1/chat/completions")


async def frames_of(events: ChatEvents) -> bytes:
    """All frames of a stream, which is closed then, whatever becomes of it."""
    frames = b""
    try:
        while not events.finished:
            frames += await events.next()
    finally:
        await events.close()
    return frames


def said_in(frames: bytes, index: int = 0) -> str:
    """The text of a choice in the frames of a stream."""
    return "".join(
        choice["delta"].get("content") or ""
        for frame in data_frames(frames)
        if isinstance(frame, dict)
        for choice in frame["choices"]
        if choice["index"] == index
    )


def answer_of(completed: Completed) -> Any:
    """A plain answer, decoded."""
    return msgspec.json.decode(completed.body)


def text_of(completed: Completed, index: int = 0) -> str:
    """What a plain answer says."""
    content: str = answer_of(completed)["choices"][index]["message"]["content"]
    return content


async def soon(*, steps: int = 50) -> None:
    """Lets everything run that can run without an answer from outside."""
    for _ in range(steps):
        await asyncio.sleep(0)
