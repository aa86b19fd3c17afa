"""Holding a session, and writing to it, over the store in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import msgspec
import pytest

from app.config import Config
from app.domain.auth import Caller
from app.domain.caching import CacheRule
from app.domain.sessions import SessionHead, SessionName
from app.errors import Conflict, GatewayError, InvalidRequest, StateUnavailable
from app.gateway import session_book
from app.gateway.services import Services
from app.gateway.session_book import (
    Written,
    append_messages,
    create_session,
    fork_session,
    hold_session,
    let_go,
    session_headers,
    session_scope,
)
from app.schemas.openai_chat import Message
from app.state import sessions
from app.state.scripts import ScriptCall
from app.state.session_index import session_stats
from app.translate.history import read_messages
from tests.support.services import make_services

NAME = SessionName(tag="t", scope="ann", id="trip")


def said(*messages: dict[str, Any]) -> list[Message]:
    return read_messages(list(messages))


def user(text: str = "hi") -> dict[str, Any]:
    return {"role": "user", "content": text}


ANSWER = {"role": "assistant", "content": "ok"}
CALLS = {
    "role": "assistant",
    "tool_calls": [
        {"id": call, "type": "function", "function": {"name": "f", "arguments": "{}"}} for call in ("c1", "c2")
    ],
}
ASKS_FUNCTION = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}
FUNCTION = {"role": "function", "name": "f", "content": "1"}


def result(call: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call, "content": "1"}


class Lossy:
    """The store in memory: some answers of scripts are lost on the way back; others, of pipelines, are overtaken.

    It counts how often a session was read.
    """

    def __init__(self, state: Any) -> None:
        self._state = state
        self.lose: Callable[[str], bool] = lambda _: False
        self.meanwhile: dict[str, Callable[[], Awaitable[object]]] = {}
        self.reads = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._state, name)

    def run_script(self, script: Any, *rest: Any, **options: Any) -> Any:
        return self._kept(script.name, self._state.run_script(script, *rest, **options))

    async def pipeline(self, commands: Any, **options: Any) -> Any:
        commands = list(commands)
        self.reads += any(command[0] == "LRANGE" for command in commands)
        reply = await self._state.pipeline(commands, **options)
        for command in commands:
            if isinstance(command, ScriptCall) and command.script.name in self.meanwhile:
                await self.meanwhile.pop(command.script.name)()
        return reply

    async def _kept(self, name: str, asked: Any) -> Any:
        reply = await asked
        if self.lose(name):
            raise StateUnavailable("The state store did not answer in time.")
        return reply


@pytest.fixture
async def services() -> AsyncIterator[Services]:
    made = make_services(config=Config(session_max_messages=100, max_sessions=2, session_wait_s=0))
    made.state = Lossy(made.state)  # type: ignore[assignment]
    yield made
    await made.close()
    await made.state.close()


async def messages_of(services: Services, name: SessionName = NAME) -> int:
    head = await sessions.read_head(services.state, name)
    return head.messages if head is not None else 0


# Holding


async def test_a_free_session_is_held_at_once(services: Services) -> None:
    history = await hold_session(services, NAME, "a", wait_s=0)
    assert (history.head.seq, history.turns) == (0, ())
    assert await hold_session(services, NAME, "a", wait_s=0) == history


async def test_who_may_not_wait_is_told_what_to_do(services: Services) -> None:
    await hold_session(services, NAME, "a", wait_s=0)
    with pytest.raises(Conflict, match="'trip' is held by another turn") as caught:
        await hold_session(services, NAME, "b", wait_s=0)
    assert (caught.value.code, caught.value.retry_after_s) == ("conversation_locked", 1)
    with pytest.raises(Conflict):
        await hold_session(services, NAME, "c", wait_s=0.05)


async def test_who_waits_gets_it_when_it_becomes_free(services: Services) -> None:
    await hold_session(services, NAME, "a", wait_s=0)
    waiting = asyncio.ensure_future(hold_session(services, NAME, "b", wait_s=30))
    await asyncio.sleep(0)
    await let_go(services, NAME, "a")
    assert (await asyncio.wait_for(waiting, 10)).head.seq == 0
    with pytest.raises(Conflict):
        await hold_session(services, NAME, "a", wait_s=0)


async def test_a_wake_is_not_waited_out(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_book, "LOOK_AGAIN_S", 3600.0)
    await hold_session(services, NAME, "a", wait_s=0)
    waiting = asyncio.ensure_future(hold_session(services, NAME, "b", wait_s=3600))
    await asyncio.sleep(0)
    await let_go(services, NAME, "a")
    services.wakes.ear.heard(NAME.sid.encode())
    await asyncio.wait_for(waiting, 10)


async def test_who_waits_reads_it_once_it_is_theirs(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_book, "LOOK_AGAIN_S", 0.001)
    await create_session(services, NAME, "acme", said(user()))
    await hold_session(services, NAME, "a", wait_s=0)
    state: Any = services.state
    before = state.reads
    waiting = asyncio.ensure_future(hold_session(services, NAME, "b", wait_s=30, is_told=True))
    await asyncio.sleep(0.05)
    assert state.reads == before
    await let_go(services, NAME, "a")
    assert (await asyncio.wait_for(waiting, 10)).head.messages == 1
    assert state.reads == before + 1


async def test_who_stops_waiting_does_not_hold_it(services: Services) -> None:
    await hold_session(services, NAME, "a", wait_s=0)
    waiting = asyncio.ensure_future(hold_session(services, NAME, "b", wait_s=30))
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await let_go(services, NAME, "a")
    await hold_session(services, NAME, "c", wait_s=0)


# Writing


async def test_whatever_fails_the_session_is_free_again(services: Services) -> None:
    await create_session(services, NAME, "acme", said(user()))
    for failing in (
        create_session(services, NAME, "acme", []),
        append_messages(services, NAME, "acme", said(*[user()] * 101)),
        fork_session(services, NAME, NAME, "acme"),
    ):
        with pytest.raises(GatewayError, match=r"already|too large"):
            await failing
        await hold_session(services, NAME, "b", wait_s=0)
        await let_go(services, NAME, "b")


async def test_a_commit_whose_answer_was_lost_counts_once(services: Services) -> None:
    await create_session(services, NAME, "acme", said(user()))
    lost: list[str] = []

    def lose(name: str) -> bool:
        if name != "commit_turn" or lost:
            return False
        lost.append(name)
        return True

    services.state.lose = lose  # type: ignore[attr-defined]
    entry = await append_messages(services, NAME, "acme", said(user()))
    assert (entry.head.messages, await messages_of(services), lost) == (2, 2, ["commit_turn"])


async def test_what_was_committed_and_not_seated_is_not_an_error(services: Services) -> None:
    services.state.lose = lambda name: name == "seat_session"  # type: ignore[attr-defined]
    entry = await create_session(services, NAME, "acme", said(user()))
    assert (entry.head.messages, entry.evicted, await messages_of(services)) == (1, (), 1)


@pytest.mark.parametrize("route", [create_session, append_messages])
async def test_a_session_that_is_deleted_under_a_change_is_in_no_list(services: Services, route: Any) -> None:
    if route is append_messages:
        await create_session(services, NAME, "acme", said(user()))
    services.state.meanwhile["open_turn"] = partial(sessions.delete_session, services.state, NAME)  # type: ignore[attr-defined]
    with pytest.raises(Conflict) as caught:
        await route(services, NAME, "acme", said(user()))
    assert caught.value.code == "conversation_changed"
    assert await messages_of(services) == 0
    assert (await session_stats(services.state, NAME.tag, scope=None)).total == 0
    assert await services.state.call("KEYS", "cw:*:seat:*") == []


async def test_a_commit_that_stays_without_an_answer_is_one(services: Services) -> None:
    services.state.lose = lambda name: name == "commit_turn"  # type: ignore[attr-defined]
    with pytest.raises(StateUnavailable):
        await create_session(services, NAME, "acme", said(user()))


async def test_appends_at_the_same_time_are_all_there(services: Services) -> None:
    services.config = msgspec.structs.replace(services.config, session_wait_s=30.0)
    await create_session(services, NAME, "acme", [])
    heads = await asyncio.gather(*[append_messages(services, NAME, "acme", said(user())) for _ in range(5)])
    assert sorted(entry.head.messages for entry in heads) == [1, 2, 3, 4, 5]


async def test_a_session_that_had_to_go_is_gone(services: Services) -> None:
    names = [SessionName("t", "ann", session_id) for session_id in ("a", "b", "c")]
    entries = [await create_session(services, name, "acme", said(user())) for name in names]
    gone = [[(name.scope, name.id) for name in entry.evicted] for entry in entries]
    assert gone == [[], [], [("ann", "a")]]
    await services.close()
    assert [await messages_of(services, name) for name in names] == [0, 1, 1]
    assert services.take_to_prune() == {"t"}


async def test_the_seat_says_what_the_history_adds_to_a_prompt(services: Services) -> None:
    await create_session(services, NAME, "acme", said({"role": "system", "content": "x" * 4000}, user("x" * 4000)))
    seat = await services.state.call("GET", f"cw:{{t}}:seat:v1:{NAME.sid}")
    expected, most, messages, _ = map(int, seat.split())
    assert 1950 < expected < 2050
    assert most > 8000
    assert messages == 2


# Turns


async def turns_of(services: Services, *messages: dict[str, Any]) -> list[int]:
    await create_session(services, NAME, "acme", said(*messages))
    history = await sessions.read_session(services.state, NAME)
    assert history is not None
    kept = [message for turn in history.turns for message in msgspec.json.decode(turn.messages)]
    assert len(kept) == sum(turn.count for turn in history.turns) == len(messages)
    return [turn.count for turn in history.turns]


@pytest.mark.parametrize(
    ("messages", "counts"),
    [
        ([user()], [1]),
        ([ANSWER], [1]),
        ([user(), user(), ANSWER, user(), ANSWER], [3, 2]),
        ([user(), ANSWER, {"role": "system", "content": "Be brief."}, user()], [3, 1]),
        ([user(), CALLS, result("c1"), result("c2"), ANSWER, user()], [5, 1]),
        ([user(), CALLS, result("c1")], [3]),
        ([user(), ASKS_FUNCTION, FUNCTION, user()], [3, 1]),
    ],
)
async def test_messages_are_kept_in_turns_that_begin_with_a_question_and_are_whole(
    services: Services, messages: list[dict[str, Any]], counts: list[int]
) -> None:
    assert await turns_of(services, *messages) == counts


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([result("c0")], "messages[0]"),
        ([user(), CALLS, result("c1"), user()], "messages[1]"),
        ([user(), ASKS_FUNCTION, ANSWER], "messages[1]"),
    ],
)
async def test_messages_that_no_turn_could_go_on_from_are_not_kept(
    services: Services, messages: list[dict[str, Any]], param: str
) -> None:
    other = SessionName("t", "ann", "other")
    await create_session(services, NAME, "acme", said(user()))
    for refused in (
        append_messages(services, NAME, "acme", said(*messages)),
        create_session(services, other, "acme", said(*messages)),
    ):
        with pytest.raises(InvalidRequest) as caught:
            await refused
        assert caught.value.param == param
    assert (await messages_of(services), await messages_of(services, other)) == (1, 0)
    assert (await append_messages(services, NAME, "acme", said(user()))).head.messages == 2


async def test_results_may_be_added_later_but_once(services: Services) -> None:
    await create_session(services, NAME, "acme", said(user(), CALLS))
    await append_messages(services, NAME, "acme", said(result("c2")))
    await append_messages(services, NAME, "acme", said(result("c1"), ANSWER))
    with pytest.raises(InvalidRequest):
        await append_messages(services, NAME, "acme", said(result("c1")))
    assert await messages_of(services) == 5


# Words


@pytest.mark.parametrize(
    ("own", "default", "scope"),
    [(None, "key", "k"), (None, "tenant", "*"), ("key", "tenant", "k"), ("tenant", "key", "*")],
)
def test_whose_sessions_a_caller_has(own: Any, default: Any, scope: str) -> None:
    services = make_services(config=Config(share_within=default))
    assert session_scope(services, Caller(tag="t", key_id="k", cache=CacheRule(share_within=own))) == scope


def test_a_reply_names_what_had_to_go_but_not_what_is_not_the_callers() -> None:
    gone = [SessionName("t", scope, session_id) for scope, session_id in (("ann", "a"), ("bob", "b"), ("ann", "c"))]
    assert session_headers(NAME) == {"x-claude-wrapper-session": "trip"}
    assert session_headers(NAME, dropped=4, evicted=gone) == {
        "x-claude-wrapper-session": "trip",
        "x-claude-wrapper-session-dropped": "4",
        "x-claude-wrapper-session-evicted": "a, c, 1 of another key",
    }
    written = Written(name=NAME, head=SessionHead(), dropped=4, evicted=tuple(gone))
    assert written.headers == session_headers(NAME, dropped=4, evicted=gone)
