"""A turn of a session: held, committed whole or not at all, and free again whatever happens."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from msgspec.structs import replace

from app.domain.sessions import SessionHistory, SessionName
from app.errors import Conflict, InvalidRequest, StateUnavailable, UpstreamUnreachable
from app.gateway.session_book import append_messages, create_session, let_go
from app.gateway.turns import Turn
from app.gateway.wants import Wants
from app.schemas.openai_chat import UserMessage
from app.state import sessions
from app.state.session_index import clear_sessions, session_stats
from tests.support.corridor import ANN, TRIP, Corridor, soon, text_of
from tests.support.fake_upstream import FakeReply, message, stream, text
from tests.support.services import NOW
from tests.support.steered_state import ALWAYS

NAME = SessionName(ANN.tag, "ann", "trip")

#: What a turn asks of the store.
STEPS = ("admit", "open_turn", "commit_turn", "seat_session")


def hello(number: int = 1) -> FakeReply:
    return FakeReply(message(text(f"Hello {number}."), id_=f"msg_{number}"))


async def history_of(corridor: Corridor, name: SessionName = NAME) -> SessionHistory | None:
    return await sessions.read_session(corridor.state, name)  # type: ignore[arg-type]


async def turns_of(corridor: Corridor, name: SessionName = NAME) -> list[tuple[list[Any], list[Any]]]:
    """Of each committed turn the client's messages, and what was answered."""
    history = await history_of(corridor, name)
    turns = history.turns if history is not None else ()
    return [(json.loads(bytes(turn.messages)), json.loads(bytes(turn.answer) or b"[]")) for turn in turns]


def user(content: str) -> dict[str, Any]:
    return {"role": "user", "content": content}


# Committed


async def test_a_turn_is_the_clients_messages_and_the_answer_as_it_came() -> None:
    corridor = Corridor(hello())
    await corridor.ask("Hi", wants=TRIP)
    assert await turns_of(corridor) == [([user("Hi")], [text("Hello 1.")])]
    assert await corridor.leftovers() == {}
    assert "release_turn" not in corridor.state.steps


async def test_a_session_is_seated_with_all_its_messages_and_since_it_was_made() -> None:
    corridor = Corridor(*(hello(number) for number in range(1, 4)), session_max_messages=4)
    for said in ("one", "two", "three"):
        await corridor.ask(said, wants=TRIP)
    corridor.services.now = lambda: NOW + 100
    history = await history_of(corridor)
    assert history is not None
    (seat,) = await corridor.state.call("KEYS", "cw:*:seat:*")
    *_, messages, created_us = (await corridor.state.call("GET", seat)).split()
    assert (int(messages), int(created_us)) == (4, round(history.head.created_at * 1e6))


async def test_a_streamed_turn_is_committed_before_its_last_frame() -> None:
    corridor = Corridor(FakeReply(*stream("Hel", "lo.")))
    events = corridor.events(wants=TRIP)
    while not events.finished:
        assert await turns_of(corridor) == []
        await events.next()
    assert await turns_of(corridor) == [([user("Hi")], [text("Hello.")])]
    await events.close()
    assert await corridor.leftovers() == {}


async def test_the_next_turn_has_the_history_before_it() -> None:
    corridor = Corridor(hello(), hello(2))
    await corridor.ask("Hi", wants=TRIP)
    await corridor.ask("And?", wants=TRIP)
    roles = [(one["role"], one["content"][0]["text"]) for one in corridor.upstream.sent(1)["messages"]]
    assert roles == [("user", "Hi"), ("assistant", "Hello 1."), ("user", "And?")]


async def test_a_reply_tells_its_session_and_how_much_came_before() -> None:
    corridor = Corridor(hello(), hello(2))
    told = [(await corridor.ask("Hi", wants=TRIP)).headers for _ in range(2)]
    assert [headers["x-claude-wrapper-session"] for headers in told] == ["trip", "trip"]
    assert [headers["x-claude-wrapper-session-messages"] for headers in told] == ["0", "2"]


async def test_instructions_that_lead_it_are_the_sessions_own() -> None:
    corridor = Corridor(hello(), hello(2))
    await corridor.ask([{"role": "system", "content": "Be brief."}, user("Hi")], wants=TRIP)
    await corridor.ask("And?", wants=TRIP)
    assert "Be brief." in json.dumps(corridor.upstream.sent(1))
    history = await history_of(corridor)
    assert history is not None
    assert (history.head.messages, json.loads(bytes(history.head.instructions))[0]["role"]) == (5, "system")


async def test_a_commit_whose_answer_was_lost_is_repeated_and_counts_once() -> None:
    corridor = Corridor(hello())
    corridor.state.lost["commit_turn"] = 1
    assert text_of(await corridor.ask(wants=TRIP)) == "Hello 1."
    assert len(await turns_of(corridor)) == 1


async def test_a_turn_that_could_not_be_seated_is_answered_all_the_same() -> None:
    corridor = Corridor(hello())
    corridor.state.refused["seat_session"] = ALWAYS
    assert text_of(await corridor.ask(wants=TRIP)) == "Hello 1."
    assert len(await turns_of(corridor)) == 1


async def seats_of(corridor: Corridor) -> tuple[int, int]:
    """How many sessions are listed, and how many have a seat, whether they are there or not."""
    await corridor.settled()
    listed = await session_stats(corridor.state, NAME.tag, scope=None)  # type: ignore[arg-type]
    return listed.total, len(await corridor.state.call("KEYS", "cw:*:seat:*"))


@pytest.mark.parametrize("deleting", ["delete", "clear"])
async def test_a_session_that_was_deleted_meanwhile_takes_no_turn_and_is_in_no_list(deleting: str) -> None:
    begins = asyncio.Event()
    corridor = Corridor(hello(), FakeReply(begins, message(text("Late."))))
    await corridor.ask(wants=TRIP)
    late = asyncio.ensure_future(corridor.ask(wants=TRIP))
    await corridor.upstream_called(2)
    state: Any = corridor.state
    if deleting == "delete":
        assert await sessions.delete_session(state, NAME)
    else:
        assert await clear_sessions(state, NAME.tag, scope="ann") == 1
    begins.set()
    with pytest.raises(Conflict) as caught:
        await late
    assert caught.value.code == "conversation_changed"
    assert await history_of(corridor) is None
    assert await seats_of(corridor) == (0, 0)


async def test_a_turn_that_lost_its_lease_to_another_is_not_kept() -> None:
    begins = asyncio.Event()
    corridor = Corridor(hello(), FakeReply(begins, message(text("Late."))))
    await corridor.ask(wants=TRIP)
    late = asyncio.ensure_future(corridor.ask(wants=TRIP))
    await corridor.upstream_called(2)
    (head,) = await corridor.state.call("KEYS", "cw:*:session:*")
    await corridor.state.call("HDEL", head, "holder", "until_us")
    await append_messages(corridor.services, NAME, "acme", [UserMessage(content="In between")])
    begins.set()
    with pytest.raises(Conflict):
        await late
    assert [turn[0][0]["content"] for turn in await turns_of(corridor)] == ["Hi", "In between"]
    assert await seats_of(corridor) == (1, 1)
    assert await corridor.leftovers() == {}


# Not committed


async def test_a_failed_turn_leaves_nothing() -> None:
    corridor = Corridor(UpstreamUnreachable("gone"))
    with pytest.raises(UpstreamUnreachable):
        await corridor.ask(wants=TRIP)
    assert await corridor.leftovers() == {}
    assert await corridor.state.call("KEYS", "*:session:*") == []


async def test_a_turn_that_breaks_off_leaves_nothing() -> None:
    corridor = Corridor(FakeReply(*stream("Hel", "lo.")[:3], UpstreamUnreachable("broken")))
    with pytest.raises(UpstreamUnreachable):
        await corridor.listen(wants=TRIP)
    assert await corridor.leftovers() == {}
    assert await corridor.state.call("KEYS", "*:session:*") == []


async def test_what_is_too_large_for_a_session_is_refused_and_leaves_it_free() -> None:
    corridor = Corridor(session_max_bytes=2000)
    with pytest.raises(InvalidRequest) as caught:
        await corridor.ask("x" * 2000, wants=TRIP)
    assert caught.value.code == "session_too_large"
    assert await corridor.leftovers() == {}


@pytest.mark.parametrize("step", STEPS)
async def test_a_client_that_leaves_at_any_step_leaves_a_whole_turn_or_none(step: str) -> None:
    corridor = Corridor(hello(), hello(2))
    held = corridor.state.hold(step)
    turn = asyncio.ensure_future(corridor.ask(wants=TRIP))
    await held.reached.wait()
    turn.cancel()
    await soon()
    corridor.state.free()
    with pytest.raises(asyncio.CancelledError):
        await turn
    assert await corridor.leftovers() == {}
    committed = await turns_of(corridor)
    assert committed in ([], [([user("Hi")], [text("Hello 1.")])])
    assert (await corridor.ask("And?", wants=TRIP)).headers["x-claude-wrapper-session-messages"] == str(
        2 * len(committed)
    )


@pytest.mark.parametrize("befalls", ["refused", "lost"])
@pytest.mark.parametrize("step", ["admit", "open_turn", "commit_turn"])
async def test_without_the_store_at_any_step_there_is_no_answer(step: str, befalls: str) -> None:
    corridor = Corridor(hello(), hello(2))
    getattr(corridor.state, befalls)[step] = ALWAYS
    with pytest.raises(StateUnavailable) as caught:
        await corridor.ask(wants=TRIP)
    assert caught.value.retry_after_s
    corridor.state.free()
    assert await corridor.leftovers() == {}
    assert await turns_of(corridor) in ([], [([user("Hi")], [text("Hello 1.")])])


async def test_while_the_store_is_known_to_be_away_nothing_is_begun() -> None:
    corridor = Corridor()
    corridor.state.dead = True
    with pytest.raises(StateUnavailable):
        await corridor.ask(wants=TRIP)
    corridor.state.dead = False
    assert await corridor.leftovers() == {}


# Two writers


async def test_a_second_writer_waits_for_the_first() -> None:
    begins = asyncio.Event()
    corridor = Corridor(FakeReply(begins, message(text("First."))), FakeReply(message(text("Second."))))
    first = asyncio.ensure_future(corridor.ask("1", wants=TRIP))
    await corridor.upstream_called(1)
    second = asyncio.ensure_future(corridor.ask("2", wants=TRIP))
    await soon()
    assert len(corridor.upstream.requests) == 1
    begins.set()
    await first
    corridor.services.wakes.ear.heard(NAME.sid.encode())
    assert text_of(await asyncio.wait_for(second, 10)) == "Second."
    assert [turn[1] for turn in await turns_of(corridor)] == [[text("First.")], [text("Second.")]]
    assert await corridor.leftovers() == {}


async def busy(**settings: Any) -> Corridor:
    """A session of one turn, held by somebody else."""
    corridor = Corridor(hello(), hello(2), hello(3), **settings)
    await corridor.ask(wants=TRIP)
    await sessions.open_turn(corridor.state, NAME, "somebody", channel="c", ttl_s=60)  # type: ignore[arg-type]
    return corridor


@pytest.mark.parametrize(("wait_s", "setting_s"), [(0.0, 30.0), (30.0, 0.0), (None, 0.0)])
async def test_a_wait_is_bounded_by_the_client_and_by_the_settings(wait_s: float | None, setting_s: float) -> None:
    corridor = await busy(session_wait_s=setting_s)
    with pytest.raises(Conflict) as caught:
        await asyncio.wait_for(corridor.ask(wants=Wants(session="trip", wait_s=wait_s)), 10)
    assert (caught.value.code, caught.value.retry_after_s) == ("conversation_locked", 1)
    assert len(await corridor.leftovers()) == 1  # the session, which is somebody's
    assert len(corridor.upstream.requests) == 1


FORK = Wants(session="trip", wait_s=0.0, forks=True)


async def test_who_forks_goes_on_in_a_copy_that_the_reply_names() -> None:
    corridor = await busy()
    headers = (await corridor.ask("Fork?", wants=FORK)).headers
    copy = replace(NAME, id=headers["x-claude-wrapper-session"])
    assert headers["x-claude-wrapper-session-forked-from"] == "trip"
    assert [turn[0] for turn in await turns_of(corridor, copy)] == [[user("Hi")], [user("Fork?")]]
    assert len(await turns_of(corridor)) == 1


async def test_a_copy_has_the_instructions_of_its_original() -> None:
    corridor = Corridor(hello())
    await create_session(
        corridor.services,
        NAME,
        "acme",
        corridor.read([{"role": "system", "content": "Be brief."}, user("Hi")]).chat.request.messages,
    )
    await sessions.open_turn(corridor.state, NAME, "somebody", channel="c", ttl_s=60)  # type: ignore[arg-type]
    headers = (await corridor.ask("Fork?", wants=FORK)).headers
    history = await history_of(corridor, replace(NAME, id=headers["x-claude-wrapper-session"]))
    assert history is not None
    assert b"Be brief." in bytes(history.head.instructions)
    assert history.head.messages == 4


async def test_a_copy_of_a_session_without_turns_begins_anew() -> None:
    corridor = Corridor(hello())
    await create_session(corridor.services, NAME, "acme", [])
    await sessions.open_turn(corridor.state, NAME, "somebody", channel="c", ttl_s=60)  # type: ignore[arg-type]
    headers = (await corridor.ask("Fork?", wants=FORK)).headers
    copy = replace(NAME, id=headers["x-claude-wrapper-session"])
    assert [turn[0] for turn in await turns_of(corridor, copy)] == [[user("Fork?")]]


async def test_a_fork_while_the_first_turn_runs_is_a_session_of_its_own() -> None:
    corridor = Corridor(hello())
    await sessions.open_turn(corridor.state, NAME, "somebody", channel="c", ttl_s=60)  # type: ignore[arg-type]
    headers = (await corridor.ask("Fork?", wants=FORK)).headers
    assert headers["x-claude-wrapper-session"] != "trip"
    assert headers["x-claude-wrapper-session-messages"] == "0"
    await let_go(corridor.services, NAME, "somebody")
    assert await corridor.leftovers() == {}


async def test_who_may_fork_does_not_when_the_session_is_free() -> None:
    corridor = Corridor(hello())
    headers = (await corridor.ask(wants=FORK)).headers
    assert headers["x-claude-wrapper-session"] == "trip"
    assert "x-claude-wrapper-session-forked-from" not in headers


async def test_a_fork_that_is_cut_off_leaves_nothing_of_the_copy() -> None:
    corridor = await busy()
    corridor.upstream.replies = [UpstreamUnreachable("gone")]
    with pytest.raises(UpstreamUnreachable):
        await corridor.ask(wants=FORK)
    await corridor.settled()
    assert len(await corridor.state.call("KEYS", "*:session:*")) == 1


# Bounds


@pytest.mark.parametrize("most", [2, 3, 4, 5])
async def test_a_session_never_has_more_messages_than_it_may(most: int) -> None:
    corridor = Corridor(*(hello(number) for number in range(1, 6)), session_max_messages=most)
    for number in range(5):
        await corridor.ask(f"{number}", wants=TRIP)
        history = await history_of(corridor)
        assert history is not None
        assert history.head.messages == min(2 * number + 2, most - most % 2)


async def test_the_oldest_turns_go_and_the_reply_tells_it() -> None:
    corridor = Corridor(*(hello(number) for number in range(1, 4)), session_max_messages=4)
    for said in ("one", "two"):
        await corridor.ask(said, wants=TRIP)
    headers = (await corridor.ask("three", wants=TRIP)).headers
    assert (headers["x-claude-wrapper-session-dropped"], headers["x-claude-wrapper-session-messages"]) == ("2", "2")
    assert [turn[0][0]["content"] for turn in await turns_of(corridor)] == ["two", "three"]
    assert "one" not in json.dumps(corridor.upstream.sent(2)["messages"])


async def test_a_dropped_turn_stays_when_its_successor_fails() -> None:
    corridor = Corridor(hello(1), hello(2), UpstreamUnreachable("gone"), session_max_messages=4)
    for said in ("one", "two"):
        await corridor.ask(said, wants=TRIP)
    with pytest.raises(UpstreamUnreachable):
        await corridor.ask("three", wants=TRIP)
    await corridor.settled()
    assert [turn[0][0]["content"] for turn in await turns_of(corridor)] == ["one", "two"]


async def test_a_copy_lacks_what_had_to_go() -> None:
    corridor = Corridor(*(hello(number) for number in range(1, 4)), session_max_messages=4)
    for said in ("one", "two"):
        await corridor.ask(said, wants=TRIP)
    await sessions.open_turn(corridor.state, NAME, "somebody", channel="c", ttl_s=60)  # type: ignore[arg-type]
    headers = (await corridor.ask("three", wants=FORK)).headers
    copy = await history_of(corridor, replace(NAME, id=headers["x-claude-wrapper-session"]))
    assert copy is not None
    assert (copy.head.messages, len(copy.turns)) == (4, 2)


# Its lease


async def begun(corridor: Corridor) -> Turn:
    return Turn(corridor.services, NAME, "me", TRIP, [UserMessage(content="Hi")])


async def test_a_turn_that_was_never_begun_has_nothing_to_give_up() -> None:
    corridor = Corridor()
    (await begun(corridor)).give_up()
    await corridor.settled()
    assert corridor.state.steps == []


async def test_giving_up_twice_gives_back_once() -> None:
    corridor = Corridor()
    turn = await begun(corridor)
    turn.begin()
    turn.give_up()
    turn.give_up()
    await corridor.settled()
    assert corridor.state.steps.count("release_turn") == 1


async def test_a_lease_is_given_back_only_after_it_was_taken() -> None:
    corridor = Corridor()
    held = corridor.state.hold("open_turn")
    turn = await begun(corridor)
    turn.begin()
    turn.give_up()
    await held.reached.wait()
    await soon()
    assert "release_turn" not in corridor.state.steps
    held.let_go()
    assert await corridor.leftovers() == {}


async def test_who_leaves_while_the_lease_is_long_on_its_way_gives_it_back_after_it_has_come() -> None:
    corridor = Corridor()
    slow = corridor.state.slow("open_turn")
    asked = asyncio.ensure_future(corridor.ask(wants=TRIP))
    await slow.reached.wait()
    while not corridor.services.ledger.open_permits:  # noqa: ASYNC110 - a turn of the loop, not a wait
        await asyncio.sleep(0)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    await soon()
    corridor.state.free()
    assert await corridor.leftovers() == {}


async def test_the_lease_is_renewed_with_that_of_the_request() -> None:
    corridor = Corridor(FakeReply(...))
    asked = asyncio.ensure_future(corridor.ask(wants=TRIP))
    await corridor.upstream_called(1)
    (head,) = await corridor.state.call("KEYS", "*:session:*")
    await corridor.state.call("HSET", head, "until_us", "1")
    for permit in corridor.services.ledger._open.values():
        permit.renewed_at = float("-inf")
    await corridor.services.ledger._renew()
    assert int(await corridor.state.call("HGET", head, "until_us")) > 1
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert await corridor.leftovers() == {}


async def test_an_entry_may_be_closed_before_the_session_was_asked_for() -> None:
    corridor = Corridor(hello())
    entry = corridor.entry(wants=replace(TRIP, idempotency_key="a"))
    await entry.let_in()
    assert "open_turn" not in corridor.state.steps
    entry.close()
    assert "held sessions" not in await corridor.leftovers()
