"""Latency of what the routes of sessions do to the store, and memory of a session, with few and with many of them.

    python -m tests.bench.sessions [--counts 1000,100000] [--samples 500] [--text 1200]

One tenant has so many sessions, of one turn each, when the operations are measured, one after the other, through the
real connection to a real server on the other core. An operation is all that its route asks of the store:

- create: hold, commit, seat.  update: the same for a turn with its answer, commit and seat sent together, as a chat
  completion does.  append: hold, commit, seat, for a message without an answer.
- read: a session of one turn, and one of twenty.  list: a page of 20 and of 100.  stats: of the tenant.
- delete: head and turns, then seat and entry of the index.

Figures are milliseconds, from the call to its result, on an event loop that does nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import msgspec
import uvloop
from msgspec import Raw

from app.domain.sessions import SessionHead, SessionName, StoredTurn
from app.state import connect, keys, sessions
from app.state.connection import StateConnection
from app.state.session_index import list_sessions, session_stats
from app.state.sessions import TurnHeld
from tests.bench.bench import GATEWAY_CORE, LOAD_CORE, print_head, print_table
from workers import embedded_state

TAG = "bench"
SCOPE = "key1"
TTL_S = 3600
#: So many that none ever has to go.
MAX_SESSIONS = 10_000_000
#: Sessions that are made at once, before anything is measured.
AT_ONCE = 100
#: A run over all sessions is measured this often.
STATS_SAMPLES = 10


def turn(text: str, answer: str = "") -> StoredTurn:
    """A turn of the user and, if there is one, its answer."""
    return StoredTurn(
        at=time.time(),
        messages=Raw(msgspec.json.encode([{"role": "user", "content": text}])),
        count=1,
        answer=Raw(msgspec.json.encode([{"type": "text", "text": answer}]) if answer else b""),
        model="claude-sonnet-5-5" if answer else "",
    )


class Bench:
    """The operations on the sessions of one tenant.

    Args:
        state: the store.
        text_chars: length of a turn.
    """

    def __init__(self, state: StateConnection, text_chars: int) -> None:
        self._state = state
        self._random = random.Random(4)
        words = Path(__file__).with_name("bench.py").read_text().split()
        self._texts = [" ".join(self._random.choices(words, k=text_chars))[:text_chars] for _ in range(50)]
        self._requests = 0
        self.count = 0

    def turn(self, *, answered: bool = True) -> StoredTurn:
        """A turn of the wanted length, a seventh of it the user's."""
        text = self._random.choice(self._texts)
        return turn(text[: len(text) // 7], text[len(text) // 7 :]) if answered else turn(text[: len(text) // 7])

    def name(self, number: int) -> SessionName:
        return SessionName(TAG, SCOPE, f"session-{number:07}")

    def any_name(self) -> SessionName:
        return self.name(self._random.randrange(self.count))

    async def create(self) -> None:
        """A session of one turn, as ``POST /v1/sessions`` makes it."""
        self.count += 1
        await self._write(self.name(self.count - 1), self.turn())

    async def append(self) -> None:
        await self._write(self.any_name(), self.turn(answered=False))

    async def update(self) -> None:
        await self._write(self.any_name(), self.turn(), together=True)

    async def read(self, name: SessionName | None = None) -> None:
        assert await sessions.read_session(self._state, name or self.any_name()) is not None

    async def list_page(self, limit: int) -> None:
        page = await list_sessions(self._state, TAG, scope=SCOPE, after=None, limit=limit)
        assert len(page.sessions) == limit

    async def stats(self) -> None:
        assert (await session_stats(self._state, TAG, scope=None)).active == self.count

    async def delete(self) -> None:
        self.count -= 1
        assert await sessions.delete_session(self._state, self.name(self.count))

    async def grow(self, name: SessionName, turns: int) -> None:
        """Adds turns to a session, one after the other."""
        for _ in range(turns):
            await self._write(name, self.turn())

    async def _write(self, name: SessionName, new: StoredTurn, *, together: bool = False) -> None:
        self._requests += 1
        holder = f"req_{self._requests:026}"
        opened = await sessions.open_turn(self._state, name, holder, channel=keys.wake_channel("bench"), ttl_s=TTL_S)
        assert not isinstance(opened, TurnHeld)
        committing, seating = self._commit(name, holder, opened.head, new), self._seat(name, holder)
        if together:
            await asyncio.gather(committing, seating)
        else:
            await committing
            await seating

    async def _commit(self, name: SessionName, holder: str, base: SessionHead, new: StoredTurn) -> None:
        await sessions.commit_turn(
            self._state,
            name,
            holder,
            tenant="bench",
            base=base,
            turns=[new],
            instructions=None,
            drop_turns=0,
            drop_messages=0,
            drop_bytes=0,
            ttl_s=TTL_S,
        )

    async def _seat(self, name: SessionName, holder: str) -> None:
        await sessions.seat_session(
            self._state,
            holder,
            name,
            expected_tokens=400,
            most_tokens=1500,
            messages=2,
            created_at=time.time(),
            ttl_s=TTL_S,
            max_sessions=MAX_SESSIONS,
        )


async def latencies(operation: Callable[[], Awaitable[None]], samples: int) -> list[float]:
    """Milliseconds of each call."""
    found = []
    for _ in range(samples):
        started = time.perf_counter()
        await operation()
        found.append((time.perf_counter() - started) * 1000)
    return sorted(found)


def row(operation: str, count: int, found: Sequence[float]) -> list[str | int]:
    """A row of the table; of sorted samples."""
    figures = (statistics.mean(found), found[len(found) // 2], found[int(len(found) * 0.99)])
    return [operation, f"{count:,}", len(found), *(f"{figure:.2f}" for figure in figures)]


async def used_bytes(state: StateConnection) -> int:
    """Memory of the data of the server."""
    info: bytes = await state.call("INFO", "memory")
    return int(info.split(b"used_memory_dataset:")[1].split()[0])


async def measure(state: StateConnection, count: int, options: argparse.Namespace) -> list[list[str | int]]:
    """All operations with so many sessions; prints what they take."""
    bench = Bench(state, options.text)
    before = await used_bytes(state)
    while bench.count < count:
        await asyncio.gather(*(bench.create() for _ in range(min(AT_ONCE, count - bench.count))))
    each = (await used_bytes(state) - before) / count
    print(f"{count:,} sessions of one turn: {each:,.0f} bytes each, with seat and entry of the index")
    long = SessionName(TAG, SCOPE, "long")
    await bench.grow(long, 20)
    own = [keys.session(TAG, long.sid), keys.turns(TAG, long.sid), keys.seat(TAG, long.sid)]
    grown = sum([await state.call("MEMORY", "USAGE", key, "SAMPLES", 0) for key in own])
    print(f"a session of 20 turns of {options.text} characters: {grown:,} bytes")
    operations: list[tuple[str, Callable[[], Awaitable[None]], int]] = [
        ("create", bench.create, options.samples),
        ("read, 1 turn", bench.read, options.samples),
        ("read, 20 turns", lambda: bench.read(long), options.samples),
        ("update", bench.update, options.samples),
        ("append", bench.append, options.samples),
        ("list, 20", lambda: bench.list_page(20), options.samples),
        ("list, 100", lambda: bench.list_page(100), options.samples),
        ("delete", bench.delete, options.samples),
    ]
    rows = [row(name, count, await latencies(operation, samples)) for name, operation, samples in operations]
    assert await sessions.delete_session(state, long)
    rows.append(row("stats", count, await latencies(bench.stats, STATS_SAMPLES)))
    await state.call("FLUSHALL")
    return rows


async def main(url: str, options: argparse.Namespace) -> None:
    state = connect(url, timeout_s=10)
    rows = [line for count in map(int, options.counts.split(",")) for line in await measure(state, count, options)]
    print()
    print_table(["operation", "sessions", "samples", "mean, ms", "p50, ms", "p99, ms"], rows)
    await state.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", default="1000,100000")
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--text", type=int, default=1200)
    options = parser.parse_args()
    print_head("Sessions in the store")
    with tempfile.TemporaryDirectory() as directory:
        server = embedded_state.start(Path(directory))
        try:
            os.sched_setaffinity(server.pid or 0, {LOAD_CORE})
            os.sched_setaffinity(0, {GATEWAY_CORE})
            uvloop.run(main(server.url, options))
        finally:
            server.stop()
