"""What comes of one answer, who reads it, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from app.domain.recording import RecordedAnswer, RecordedReply
from app.errors import StateUnavailable, UpstreamUnreachable
from app.gateway.flights import Flight, Flights, Tape
from app.state.answers import Slot

SLOT = Slot("answer", "tag", "d" * 40)


def flight() -> Flight:
    return Flight(SLOT, b"", 1_790_000_000)


# The tape


def test_the_pieces_of_one_reply_are_one_body() -> None:
    tape = Tape(5)
    tape.add(0, 0, b"ab", is_stream=True)
    tape.add(0, 0, b"c", is_stream=True)
    assert tape.recording() == RecordedAnswer(created=5, choices=((RecordedReply(True, b"abc"),),))
    assert tape.size_bytes == 3


def test_choices_and_their_chains_are_in_order_however_they_arrive() -> None:
    tape = Tape(5)
    for choice, reply, data in ((1, 0, b"1.0"), (0, 0, b"0.0"), (1, 1, b"1.1"), (0, 0, b"+")):
        tape.add(choice, reply, data, is_stream=True)
    bodies = [[reply.body for reply in chain] for chain in tape.recording().choices]
    assert bodies == [[b"0.0+"], [b"1.0", b"1.1"]]


def test_a_plain_message_is_recorded_as_one() -> None:
    tape = Tape(5)
    tape.add(0, 0, b"{}", is_stream=False)
    assert tape.recording().choices == ((RecordedReply(False, b"{}"),),)


def test_the_headers_are_those_of_the_first_reply() -> None:
    tape = Tape(5)
    tape.note_headers({"request-id": "req_1"})
    tape.note_headers({"request-id": "req_2"})
    assert tape.headers == {"request-id": "req_1"}


def test_only_headers_that_clients_are_told_are_kept() -> None:
    tape = Tape(5)
    tape.note_headers({"request-id": "req_1", "anthropic-organization-id": "org"})
    assert tape.recording().headers == {"request-id": "req_1"}


def test_a_refused_tool_choice_is_kept_with_the_answer() -> None:
    tape = Tape(5)
    tape.forced_tool_refused = True
    assert tape.recording().forced_tool_refused


def test_what_clients_are_told_of_its_turn_is_kept_with_the_answer() -> None:
    tape = Tape(5)
    tape.note_told(
        {
            "x-claude-wrapper-session": "copy",
            "x-claude-wrapper-session-forked-from": "trip",
            "x-claude-wrapper-thinking": "restored=1, lost=0",
            "x-claude-wrapper-cache": "BYPASS",
        }
    )
    assert tape.recording().told == {
        "x-claude-wrapper-session": "copy",
        "x-claude-wrapper-session-forked-from": "trip",
        "x-claude-wrapper-thinking": "restored=1, lost=0",
    }


# Its ends

ENDS: dict[str, Callable[[Flight], None]] = {
    "something arrives": lambda one: one.add(0, 0, b"x", is_stream=True),
    "it lands": Flight.land,
    "it fails": lambda one: one.fail(UpstreamUnreachable("gone")),
    "it is abandoned": Flight.abandon,
}


@pytest.mark.parametrize("happens", ENDS.values(), ids=ENDS)
async def test_everybody_is_told(happens: Callable[[Flight], None]) -> None:
    one = flight()
    waiting = [asyncio.ensure_future(one.change()) for _ in range(3)]
    await asyncio.sleep(0)
    happens(one)
    await asyncio.wait_for(asyncio.gather(*waiting), 5)


async def test_who_has_left_is_not_told() -> None:
    one = flight()
    gone = asyncio.ensure_future(one.change())
    await asyncio.sleep(0)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    one.land()


def test_everybody_gets_its_error_without_the_traces_of_the_others() -> None:
    one = flight()
    one.fail(UpstreamUnreachable("gone"))
    depths = []
    for _ in range(3):
        with pytest.raises(UpstreamUnreachable) as caught:
            one.check()
        depths.append(len(caught.traceback))
    assert len(set(depths)) == 1


def test_what_has_landed_is_not_abandoned() -> None:
    one = flight()
    one.land()
    one.abandon()
    assert (one.is_whole, one.abandoned, one.is_over) == (True, False, True)


def test_what_has_failed_is_not_abandoned() -> None:
    one = flight()
    one.fail(UpstreamUnreachable("gone"))
    one.abandon()
    assert (one.abandoned, one.is_over) == (False, True)


def test_a_stored_answer_is_there_at_once_with_all_that_was_told_of_it() -> None:
    one = flight()
    stored = RecordedAnswer(
        created=7,
        choices=((RecordedReply(True, b"a"), RecordedReply(True, b"b")), (RecordedReply(True, b"c"),)),
        headers={"request-id": "req_1"},
        forced_tool_refused=True,
        told={"x-claude-wrapper-session": "trip"},
    )
    one.replay(stored, "hit", 12.5)
    assert (one.is_whole, one.origin, one.age_s, one.created) == (True, "hit", 12.5, 7)
    assert one.recording() == stored


def test_the_choices_of_one_answer_share_an_id_that_its_slot_says() -> None:
    assert flight().shared_id == flight().shared_id == "chatcmpl-" + "d" * 24


# Its readers


class Followed:
    """A store that says who waits for a flight on other workers."""

    def __init__(self, *fields: bytes, fails: bool = False) -> None:
        self.fields, self.fails = list(fields), fails
        self.asked: list[Any] = []
        self.meanwhile: Callable[[], None] = lambda: None

    async def call(self, *words: Any) -> list[bytes]:
        self.asked.append(words)
        self.meanwhile()
        if self.fails:
            raise StateUnavailable("away")
        return self.fields


async def driven(members: int = 1, *, leads: bool = False) -> Flight:
    one = flight()
    one.members, one.leads = members, leads
    one.task = asyncio.create_task(asyncio.Event().wait())  # type: ignore[arg-type]
    await asyncio.sleep(0)
    return one


def is_driven(one: Flight) -> bool:
    return one.task is not None and not one.task.done()


def flights_with(store: Followed) -> Flights:
    return Flights(store)  # type: ignore[arg-type]


async def test_while_somebody_reads_it_goes_on() -> None:
    one = await driven(members=2)
    await flights_with(Followed()).leave(one)
    assert is_driven(one)


async def test_when_the_last_reader_leaves_it_ends() -> None:
    flights, one = flights_with(Followed()), await driven()
    flights.open(one)
    await flights.leave(one)
    assert not is_driven(one)
    assert one.abandoned
    assert flights.find(SLOT) is None


async def test_it_goes_on_while_another_worker_waits_for_it() -> None:
    one = await driven(leads=True)
    store = Followed(b"leader", b"wake cw:{_}:wake:v1:other")
    await flights_with(store).leave(one)
    assert is_driven(one)
    store.fields = [b"leader"]
    await flights_with(store).end_unread(one)
    assert not is_driven(one)


async def test_only_of_who_leads_others_may_wait() -> None:
    store = Followed(b"wake somebody")
    one = await driven()
    await flights_with(store).leave(one)
    assert not is_driven(one)
    assert store.asked == []


async def test_who_comes_while_the_store_is_asked_is_not_cut_off() -> None:
    one, store = await driven(leads=True), Followed()

    def join() -> None:
        one.members += 1

    store.meanwhile = join
    await flights_with(store).leave(one)
    assert is_driven(one)


async def test_while_the_store_is_away_nobody_else_counts_as_waiting() -> None:
    one = await driven(leads=True)
    await flights_with(Followed(fails=True)).leave(one)
    assert not is_driven(one)


async def test_what_drives_an_answer_that_is_over_is_left_alone() -> None:
    one = await driven()
    one.land()
    await flights_with(Followed()).leave(one)
    assert is_driven(one)


async def test_the_last_reader_may_leave_before_anybody_drives_it() -> None:
    one = flight()
    one.members = 1
    await flights_with(Followed()).leave(one)
    assert not one.is_over


async def test_at_the_end_of_the_worker_all_end() -> None:
    flights, one = flights_with(Followed()), await driven(members=3, leads=True)
    flights.open(one)
    await flights.end_all()
    assert not is_driven(one)
    assert flights.find(SLOT) is None


@pytest.mark.parametrize(
    ("drivers", "readers", "is_fresh"),
    [(None, None, True), (60, None, True), (60, 60, True), (10, 60, True), (60, 10, False), (None, 60, False)],
)
def test_a_reader_is_content_with_what_the_driver_accepts(
    drivers: float | None, readers: float | None, is_fresh: bool
) -> None:
    assert Flight(SLOT, b"", 0, max_age_s=drivers).is_fresh_for(readers) is is_fresh


# The flights of a worker


def test_an_open_flight_is_found_until_it_is_closed() -> None:
    flights, one = flights_with(Followed()), flight()
    assert flights.find(SLOT) is None
    flights.open(one)
    assert flights.find(SLOT) is one
    flights.close(one)
    assert flights.find(SLOT) is None


def test_closing_an_older_flight_leaves_the_newer_one() -> None:
    flights, older, newer = flights_with(Followed()), flight(), flight()
    flights.open(older)
    flights.open(newer)
    flights.close(older)
    assert flights.find(SLOT) is newer
