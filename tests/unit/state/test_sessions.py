"""What sessions ask of the store, when, and what is made of its answers; the store is a list of replies."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from app.domain.sessions import SessionHead, SessionHistory
from app.errors import StateError
from app.state import sessions
from app.state.connection import Argument, Command
from app.state.scripts import Script, ScriptCall
from app.state.sessions import TurnHeld
from app.state.stored_sessions import pack_turn
from tests.support.session_store import CHANNEL, NAME, TTL_S, SessionStore, turn

TURN = turn("one")
HEAD = [b"7", b"2", b"90", b"0", b"1", b"1000000", b"2000000", None]
HISTORY = SessionHistory(SessionHead(seq=7, messages=2, size_bytes=90, created_at=1.0, used_at=2.0), (TURN,))
NOTHING: list[None] = [None] * 8


def opened(
    head: Sequence[bytes | None] = HEAD, *, seen: Sequence[bytes | None] = (b"7", b"1000000"), turns: int = 1
) -> list[Any]:
    """The replies to the opening of a turn: the commit as it was seen before, the script's, the list."""
    return [list(seen), [b"r1", b"open", *head], [pack_turn(TURN)] * turns]


class Replies:
    """A store that answers in turn, and remembers what it was asked and whether over the lane of large replies."""

    def __init__(self, *replies: Any) -> None:
        self.replies = list(replies)
        self.asked: list[tuple[Any, bool]] = []

    def pipeline(self, commands: Iterable[Command], *, large: bool = False) -> asyncio.Future[Any]:
        return self._answer(list(commands), large)

    def run_script(
        self, script: Script, keys: Sequence[Argument], args: Sequence[Argument] = (), *, large: bool = False
    ) -> asyncio.Future[Any]:
        return self._answer(ScriptCall(script, keys, args), large)

    def _answer(self, asked: Any, large: bool) -> asyncio.Future[Any]:
        self.asked.append((asked, large))
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        future.set_result(self.replies.pop(0))
        return future


def store(*replies: Any) -> tuple[SessionStore, Replies]:
    state: Any = Replies(*replies)
    return SessionStore(state), state


async def test_a_turn_is_opened_in_one_pipeline_that_is_sent_before_it_is_awaited() -> None:
    _, state = store(opened())
    opening = sessions.open_turn(state, NAME, "r1", channel=CHANNEL, ttl_s=TTL_S)  # type: ignore[arg-type]
    ((commands, large),) = state.asked
    assert [one.script.name if isinstance(one, ScriptCall) else one[0] for one in commands] == [
        "HMGET",
        "open_turn",
        "LRANGE",
    ]
    assert large
    assert await opening == HISTORY
    assert len(state.asked) == 1


async def test_the_id_of_the_call_goes_first_as_bytes() -> None:
    one, state = store([b"r1", 1], [b"r1", 1], [b"r1", b"committed", 1, b"1", b"1"], [b"r1"])
    await one.renew("r1")
    await one.release("r1")
    await one.commit("r1", SessionHead(), [])
    await one.seat("r1")
    assert [call.args[0] for call, _ in state.asked] == [b"r1"] * 4
    assert all(call.script.echoes for call, _ in state.asked)


async def test_what_was_read_between_the_commits_of_others_is_read_again() -> None:
    one, state = store(
        opened(seen=(b"6", b"1000000")),
        opened(seen=(b"7", b"999999")),
        opened(turns=0),
        opened(turns=2),
        opened(),
    )
    assert await one.open("r1") == HISTORY
    assert len(state.asked) == 5


async def test_what_never_fits_is_unreadable() -> None:
    one, state = store(*[opened(turns=2)] * 5)
    with pytest.raises(StateError, match="cannot be read"):
        await one.open("r1")
    assert (state.replies, len(state.asked)) == ([], 5)


async def test_a_read_that_never_fits_is_unreadable() -> None:
    one, state = store(*[[HEAD, [], [b"7", b"1000000"]]] * 5)
    with pytest.raises(StateError, match="cannot be read"):
        await one.read()
    assert state.replies == []


async def test_a_session_that_is_deleted_meanwhile_is_begun_anew() -> None:
    one, _ = store(opened(turns=0), opened(NOTHING, seen=(None, None), turns=0))
    assert await one.open("r1") == SessionHistory(SessionHead())


async def test_what_was_left_of_a_session_whose_head_is_gone_does_not_count() -> None:
    one, _ = store(opened(NOTHING, turns=3))
    assert (await one.open("r1")).turns == ()


async def test_a_held_session_says_when_to_look_again() -> None:
    one, _ = store([[b"7", b"1000000"], [b"r1", b"held", 2_500_000], []])
    assert await one.try_open("r1") == TurnHeld(2.5)


@pytest.mark.parametrize(
    ("reply", "queued"), [([b"r1", b"held", 2_500_000], TurnHeld(2.5)), ([b"r1", b"open", *HEAD], None)]
)
async def test_who_queues_reads_nothing(reply: list[Any], queued: TurnHeld | None) -> None:
    _, state = store(reply)
    asking = sessions.queue_for_turn(state, NAME, "r1", channel=CHANNEL, ttl_s=TTL_S)  # type: ignore[arg-type]
    ((call, large),) = state.asked
    assert (call.script.name, large) == ("open_turn", True)  # what it answers may hold long instructions
    assert await asking == queued


@pytest.mark.parametrize("at", [0, 1, 2])
async def test_a_command_that_is_refused_fails_the_opening(at: int) -> None:
    replies = opened()
    replies[at] = StateError("refused")
    one, _ = store(replies)
    with pytest.raises(StateError, match="refused"):
        await one.open("r1")


@pytest.mark.parametrize("what", [b"damaged", b"something new"])
async def test_a_commit_that_was_not_made_is_never_told_as_made(what: bytes) -> None:
    one, _ = store([b"r1", what])
    with pytest.raises(StateError, match="cannot be read"):
        await one.commit("r1", SessionHead(), [TURN])


async def test_entries_of_the_index_that_are_not_ours_are_not_told_as_evicted() -> None:
    one, _ = store([b"r1", b"\xff", b"3600000001", b"key2 a b", b"3.600000002e9"])
    (gone,) = await one.seat()
    assert (gone.scope, gone.id, gone.seated_us) == ("key2", "a b", 2)


async def test_without_names_nothing_is_deleted_but_the_store_is_asked() -> None:
    _, state = store([])
    assert await sessions.delete_sessions(state, []) == 0  # type: ignore[arg-type]
