"""Many workers on one session of one server: every turn whole, in order, on the very history that it was made from."""

from __future__ import annotations

import asyncio
import pydoc_data.topics
from collections import Counter
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from app.domain.sessions import SessionHistory, StoredTurn
from app.errors import Conflict
from app.state import connect
from app.state.connection import StateConnection
from app.state.session_index import list_sessions
from app.state.sessions import TurnHeld, delete_sessions_data
from tests.support.redis import RedisServer
from tests.support.session_store import TAG, SessionStore, texts, turn

REPLICAS = 4
#: 20 turns of text shall take no more than this in the store.
MOST_BYTES = 20 * 1024


@pytest_asyncio.fixture
async def replicas(server: RedisServer) -> AsyncIterator[list[SessionStore]]:
    """The session as so many workers see it."""
    connections = [connect(server.url, timeout_s=30.0) for _ in range(REPLICAS)]
    yield [SessionStore(connection) for connection in connections]
    await asyncio.gather(*(connection.close() for connection in connections))


async def held(store: SessionStore, holder: str) -> SessionHistory:
    """Waits for the session, without being woken."""
    while True:
        opened = await store.try_open(holder)
        if not isinstance(opened, TurnHeld):
            return opened
        await asyncio.sleep(0.0005)


async def test_two_writers_make_a_thousand_turns_in_a_valid_order(replicas: list[SessionStore]) -> None:
    async def write(store: SessionStore, writer: str) -> None:
        for number in range(500):
            holder = f"{writer}{number}"
            seen = await held(store, holder)
            await store.commit(holder, seen.head, [turn(f"{holder} after {len(seen.turns)}", answer=None)])

    await asyncio.gather(write(replicas[0], "a"), write(replicas[1], "b"))
    history = await replicas[2].read()
    assert history is not None
    assert (history.head.seq, history.head.messages) == (1000, 1000)
    written = [text.split(" after ") for text in texts(history)]
    assert [int(after) for _, after in written] == list(range(1000))
    for writer in "ab":
        own = [int(holder[1:]) for holder, _ in written if holder[0] == writer]
        assert own == list(range(500))


async def test_commits_onto_one_head_make_one_turn(replicas: list[SessionStore]) -> None:
    head = await replicas[0].add("r0", turn("first"))

    async def commit(number: int) -> bool:
        try:
            await replicas[number % REPLICAS].commit(f"r{number}", head, [turn(f"t{number}")])
        except Conflict:
            return False
        return True

    outcomes = await asyncio.gather(*map(commit, range(1, 101)))
    assert Counter(outcomes) == {True: 1, False: 99}
    assert texts(await replicas[0].read()) == ["first", f"t{outcomes.index(True) + 1}"]


async def test_of_all_who_ask_at_once_one_holds_it(replicas: list[SessionStore]) -> None:
    opened = await asyncio.gather(*(replicas[number % REPLICAS].try_open(f"r{number}") for number in range(100)))
    assert sum(not isinstance(one, TurnHeld) for one in opened) == 1


async def test_repeated_commits_from_everywhere_count_once(replicas: list[SessionStore]) -> None:
    opened = await replicas[0].open("r1")
    heads = await asyncio.gather(*(replicas[n % REPLICAS].commit("r1", opened.head, [turn()]) for n in range(40)))
    assert len({(head.seq, head.created_at, head.used_at) for head in heads}) == 1
    assert len(texts(await replicas[0].read())) == 1


async def test_a_session_is_read_as_of_one_moment_while_others_write(replicas: list[SessionStore]) -> None:
    """The list keeps its length, so only the commits tell one moment from another."""
    writer = replicas[0]
    await writer.add("r", *(turn(f"{number}", answer=None) for number in range(4)))
    is_over = False

    async def write() -> None:
        nonlocal is_over
        for number in range(300):
            seen = await writer.open(f"w{number}")
            one: StoredTurn = seen.turns[0]
            await writer.commit(
                f"w{number}",
                seen.head,
                [turn(f"{number + 4}", answer=None)],
                drop_turns=1,
                drop_messages=1,
                drop_bytes=one.size_bytes,
            )
        is_over = True

    async def read(store: SessionStore) -> int:
        reads = 0
        while not is_over:
            history = await store.read()
            assert history is not None
            first = history.head.seq - 1
            assert texts(history) == [str(number) for number in range(first, first + 4)]
            reads += 1
        return reads

    _, *reads = await asyncio.gather(write(), *map(read, replicas[1:]))
    assert min(reads) > 10


async def test_a_server_that_forgot_its_scripts_reads_no_older_turns(
    replicas: list[SessionStore], server: RedisServer
) -> None:
    for number in range(20):
        store = replicas[number % REPLICAS]
        server.ask("SCRIPT", "FLUSH")
        seen = await held(store, f"r{number}")
        assert texts(seen) == [f"t{earlier}" for earlier in range(number)]
        await store.commit(f"r{number}", seen.head, [turn(f"t{number}")])


async def test_a_delete_and_turns_at_once_leave_a_whole_session_or_none(replicas: list[SessionStore]) -> None:
    lost = 0

    async def write(store: SessionStore, writer: int) -> None:
        nonlocal lost
        for number in range(60):
            holder = f"{writer}-{number}"
            seen = await held(store, holder)
            await asyncio.sleep(0)
            try:
                await store.commit(holder, seen.head, [turn(f"after {len(seen.turns)}")])
            except Conflict:
                lost += 1

    async def delete(store: SessionStore) -> int:
        return sum([await store.delete() for _ in range(40)])

    *_, deleted = await asyncio.gather(
        *(write(store, number) for number, store in enumerate(replicas[:3])), delete(replicas[3])
    )
    assert deleted >= 1
    assert lost <= 3 * deleted
    history = await replicas[0].read()
    if history is not None:
        assert texts(history) == [f"after {number}" for number in range(history.head.seq)]


async def test_never_more_sessions_than_a_tenant_may_have(replicas: list[SessionStore]) -> None:
    async def use(number: int) -> None:
        store = replicas[number % REPLICAS].other(f"s{number % 60}")
        head = (await held(store, f"r{number}")).head
        try:
            await store.commit(f"r{number}", head, [turn()])
        except Conflict:
            return  # it had to go meanwhile
        await delete_sessions_data(store.state, await store.seat(f"r{number}", max_sessions=20))

    for start in range(0, 240, 30):
        await asyncio.gather(*map(use, range(start, start + 30)))
    state: StateConnection = replicas[0].state
    page = await list_sessions(state, TAG, scope="key1", after=None, limit=100)
    assert 15 <= len(page.sessions) <= 20
    assert await state.call("ZCARD", replicas[0].index_key) == 20


# What a worker hears


async def test_who_waits_on_another_worker_is_woken(replicas: list[SessionStore]) -> None:
    first, second = replicas[:2]
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    is_listening = asyncio.Event()
    listening = asyncio.ensure_future(
        second.state.listen("chan", on_subscribed=is_listening.set, on_message=heard.put_nowait)
    )
    await asyncio.wait_for(is_listening.wait(), 10)
    wake = f"wake {first.name.sid}".encode()

    async def queue_behind(holder: str) -> None:
        assert isinstance(await second.try_open(holder, channel="chan"), TurnHeld)
        assert heard.empty()

    base = (await first.open("r1")).head
    await queue_behind("r2")
    await first.commit("r1", base, [turn("one")])
    assert await asyncio.wait_for(heard.get(), 10) == wake
    assert texts(await first.open("r3")) == ["one"]
    await queue_behind("r2")
    await first.release("r3")
    assert await asyncio.wait_for(heard.get(), 10) == wake
    await first.open("r4")
    await queue_behind("r2")
    await first.delete()
    assert await asyncio.wait_for(heard.get(), 10) == wake
    await first.open("r5")
    await queue_behind("r2")
    await first.release("r5")  # there is no session
    assert await asyncio.wait_for(heard.get(), 10) == wake
    listening.cancel()
    await asyncio.wait([listening])


# What it takes


async def test_a_session_of_twenty_text_turns_takes_no_more_than_20_kb(replicas: list[SessionStore]) -> None:
    store = replicas[0]
    prose = " ".join(" ".join(pydoc_data.topics.topics.values()).split())  # Python's language reference
    length, cut = 1200, 200
    for number in range(20):
        text = prose[number * length : (number + 1) * length]
        await store.add(f"req_{number:024}", turn(text[:cut], answer=text[cut:]))
        await store.seat(f"req_{number:024}")
    used = {}
    for key in (store.head_key, store.turns_key, store.seat_key, store.index_key):
        used[key] = await store.state.call("MEMORY", "USAGE", key, "SAMPLES", 0)
    history = await store.read()
    assert history is not None
    assert history.head.size_bytes > 20 * length
    assert sum(used.values()) <= MOST_BYTES, used


@pytest.mark.parametrize("size", [10, 70_000, 1_500_000])
async def test_large_turns_are_kept_as_small_ones(replicas: list[SessionStore], size: int) -> None:
    first, second = replicas[:2]
    await first.add("r1", turn("x" * size, answer="y" * size))
    assert [len(text) for text in texts(await second.open("r2"))] == [size]
    await second.release("r2")
