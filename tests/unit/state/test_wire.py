"""A wire over a transport that only records: replies to calls, in order, however the bytes are cut."""

from __future__ import annotations

import asyncio
import itertools
from time import monotonic
from typing import Any

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.histograms import BOUNDS_S, Histogram
from app.errors import StateError, StateUnavailable
from app.state.scripts import script_from_text
from app.state.wire import Batch, Pending, Wire, pack

#: What lies between the sending of a call and its deadline.
TIMEOUT_S = 0.25


class RecordingTransport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.aborted = False

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def abort(self) -> None:
        self.aborted = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass


class RecordingOwner:
    """Completes refused calls as a lane would, and remembers what it was told."""

    def __init__(self) -> None:
        self.answered_times = 0
        self.lost: list[str] = []

    def answered(self, wire: Wire) -> None:
        self.answered_times += 1

    def refused(self, wire: Wire, call: Pending, error: StateError) -> None:
        future, _, _, batch, index, _ = call
        if batch is None:
            future.set_exception(error)
        else:
            batch.fill(index, error)

    def wire_lost(self, wire: Wire, reason: str) -> None:
        self.lost.append(reason)


class Setup:
    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.owner = RecordingOwner()
        self.transport = RecordingTransport()
        self.times = Histogram()
        self.wire = Wire(self.owner, self.loop, timeout_s=TIMEOUT_S, times=self.times)
        self.wire.connection_made(self.transport)

    def call(self, *words: str) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = self.loop.create_future()
        self.wire.pending.append((future, 0.0, None, None, 0, False))
        self.wire.write(pack(words))
        return future

    def batch(self, size: int) -> asyncio.Future[list[Any]]:
        batch = Batch(self.loop.create_future(), size)
        self.wire.pending.extend((batch.future, 0.0, None, batch, index, False) for index in range(size))
        return batch.future


async def test_commands_of_one_turn_leave_in_one_write() -> None:
    setup = Setup()
    setup.call("GET", "a")
    setup.call("GET", "b")
    assert setup.transport.written == []
    await asyncio.sleep(0)
    assert setup.transport.written == [pack(("GET", "a")) + pack(("GET", "b"))]


async def test_commands_of_two_turns_leave_in_two_writes() -> None:
    setup = Setup()
    for name in "ab":
        setup.call("GET", name)
        await asyncio.sleep(0)
    assert setup.transport.written == [pack(("GET", "a")), pack(("GET", "b"))]


async def test_replies_go_to_the_calls_in_order() -> None:
    setup = Setup()
    calls = [setup.call("GET", name) for name in "abc"]
    setup.wire.data_received(b"+A\r\n:2\r\n$-1\r\n")
    assert [call.result() for call in calls] == [b"A", 2, None]


async def test_the_reply_of_an_abandoned_call_is_dropped() -> None:
    setup = Setup()
    abandoned, waiting = setup.call("GET", "a"), setup.call("GET", "b")
    abandoned.cancel()
    setup.wire.data_received(b"+A\r\n+B\r\n")
    assert waiting.result() == b"B"


async def test_a_batch_is_complete_with_its_last_reply() -> None:
    setup = Setup()
    batch = setup.batch(3)
    setup.wire.data_received(b"+A\r\n-ERR no\r\n")
    assert not batch.done()
    setup.wire.data_received(b":3\r\n")
    first, second, third = batch.result()
    assert (first, third) == (b"A", 3)
    assert isinstance(second, StateError)


async def test_a_cancelled_batch_does_not_shift_the_replies() -> None:
    setup = Setup()
    batch, waiting = setup.batch(3), setup.call("GET", "b")
    batch.cancel()
    setup.wire.data_received(b"+1\r\n+2\r\n+3\r\n+B\r\n")
    assert waiting.result() == b"B"


async def test_error_replies_go_to_the_owner_and_prove_no_answer() -> None:
    setup = Setup()
    call = setup.call("GET", "a")
    setup.wire.data_received(b"-LOADING wait\r\n")
    assert isinstance(call.exception(), StateUnavailable)
    assert setup.owner.answered_times == 0


async def test_replies_that_arrive_together_are_told_once() -> None:
    setup = Setup()
    for name in "abc":
        setup.call("GET", name)
    setup.wire.data_received(b"+A\r\n+B\r\n+C\r\n")
    assert setup.owner.answered_times == 1


async def test_late_replies_alone_prove_no_answer() -> None:
    setup = Setup()
    setup.call("GET", "a").cancel()
    setup.wire.data_received(b"+A\r\n")
    assert setup.owner.answered_times == 0


ADMIT = script_from_text("admit", b"return { ARGV[1] }", echoes=True)


def script_call(setup: Setup, id_: bytes) -> asyncio.Future[Any]:
    """A script that echoes the id of its call."""
    future: asyncio.Future[Any] = setup.loop.create_future()
    setup.wire.pending.append((future, 0.0, (ADMIT, (), (id_,)), None, 0, False))
    return future


async def test_a_reply_with_the_id_of_its_call_is_handed_out() -> None:
    setup = Setup()
    call = script_call(setup, b"r1")
    setup.wire.data_received(b"*2\r\n$2\r\nr1\r\n$8\r\nadmitted\r\n")
    assert call.result() == [b"r1", b"admitted"]


@pytest.mark.parametrize(
    "reply", [b"*2\r\n$2\r\nr2\r\n$8\r\nadmitted\r\n", b"*0\r\n", b"$2\r\nr1\r\n", b"$-1\r\n", b":1\r\n"]
)
async def test_a_reply_with_another_id_reaches_nobody(reply: bytes) -> None:
    setup = Setup()
    calls = [script_call(setup, b"r1"), setup.call("GET", "a"), script_call(setup, b"r2")]
    setup.wire.data_received(reply + b"+A\r\n")
    assert all(isinstance(call.exception(), StateUnavailable) for call in calls)
    assert setup.transport.aborted
    assert setup.owner.lost == ["the server sent the reply to another call"]


async def test_the_reply_of_an_abandoned_call_is_checked_as_well() -> None:
    setup = Setup()
    abandoned, waiting = script_call(setup, b"r1"), script_call(setup, b"r2")
    abandoned.cancel()
    setup.wire.data_received(b"*1\r\n$2\r\nr2\r\n")
    assert isinstance(waiting.exception(), StateUnavailable)


async def test_a_refusal_of_a_script_has_no_id() -> None:
    setup = Setup()
    call = script_call(setup, b"r1")
    setup.wire.data_received(b"-OOM no memory\r\n")
    assert isinstance(call.exception(), StateError)
    assert not setup.transport.aborted


async def test_one_reply_with_another_id_fails_its_whole_pipeline() -> None:
    setup = Setup()
    batch = Batch(setup.loop.create_future(), 3)
    scripts = [None, (ADMIT, (), (b"r1",)), (ADMIT, (), (b"r2",))]
    setup.wire.pending.extend((batch.future, 0.0, script, batch, at, False) for at, script in enumerate(scripts))
    setup.wire.data_received(b"+A\r\n*1\r\n$2\r\nr2\r\n*1\r\n$2\r\nr1\r\n")
    assert isinstance(batch.future.exception(), StateUnavailable)
    assert setup.transport.aborted


async def test_a_script_that_is_sent_whole_is_checked_as_well() -> None:
    setup = Setup()
    future: asyncio.Future[Any] = setup.loop.create_future()
    setup.wire.pending.append((future, 0.0, (ADMIT, (), (b"r1",)), None, 0, True))
    setup.wire.data_received(b"*1\r\n$2\r\nr2\r\n")
    assert isinstance(future.exception(), StateUnavailable)


async def test_a_script_without_an_id_answers_what_it_likes() -> None:
    setup = Setup()
    future: asyncio.Future[Any] = setup.loop.create_future()
    script = script_from_text("other", b"return { 'x' }")
    setup.wire.pending.append((future, 0.0, (script, (), (b"r1",)), None, 0, False))
    setup.wire.data_received(b"*1\r\n$1\r\nx\r\n")
    assert future.result() == [b"x"]


@given(data=st.data(), size=st.integers(2, 12))
def test_whatever_is_lost_or_said_twice_no_call_gets_the_reply_of_another(data: st.DataObject, size: int) -> None:
    ids = [b"r%d" % number for number in range(size)]
    replies = list(ids)
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(replies) - 1))
        if data.draw(st.booleans()):
            replies.insert(data.draw(st.integers(0, len(replies))), replies[at])
        elif len(replies) > 1:
            del replies[at]
    abandoned = data.draw(st.sets(st.sampled_from(ids)))

    async def run() -> None:
        setup = Setup()
        calls = {id_: script_call(setup, id_) for id_ in ids}
        for id_ in abandoned:
            calls[id_].cancel()
        for reply in replies:
            setup.wire.data_received(_on_the_wire([reply, b"admitted"]))
        setup.wire.close("the end")
        for id_, call in calls.items():
            if call.cancelled() or call.exception() is not None:
                continue
            assert call.result() == [id_, b"admitted"]

    asyncio.run(run())


@pytest.mark.parametrize("data", [b"+A\r\n+nobody asked\r\n", b"+A\r\nHTTP/1.1 400 Bad Request\r\n\r\n"])
async def test_a_server_out_of_step_is_left(data: bytes) -> None:
    setup = Setup()
    answered = setup.call("GET", "a")
    setup.wire.data_received(data)
    assert answered.result() == b"A"
    assert setup.transport.aborted
    assert setup.owner.lost


async def test_the_end_fails_every_call_in_flight() -> None:
    setup = Setup()
    calls = [setup.call("GET", "a"), setup.batch(2)]
    setup.wire.connection_lost(ConnectionResetError())
    assert all(isinstance(call.exception(), StateUnavailable) for call in calls)
    assert setup.owner.lost == ["the connection was lost (ConnectionResetError)"]


async def test_the_end_is_told_once() -> None:
    setup = Setup()
    setup.wire.close("enough")
    setup.wire.connection_lost(None)
    assert setup.owner.lost == ["enough"]


async def test_nothing_is_written_after_the_end() -> None:
    setup = Setup()
    call = setup.call("GET", "a")
    setup.wire.close("enough")
    await asyncio.sleep(0)
    assert setup.transport.written == []
    assert isinstance(call.exception(), StateUnavailable)


async def test_a_wire_given_up_before_it_was_made_is_closed() -> None:
    loop, transport = asyncio.get_running_loop(), RecordingTransport()
    wire = Wire(RecordingOwner(), loop, timeout_s=TIMEOUT_S, times=Histogram())
    wire.close("too late")
    wire.connection_made(transport)
    assert transport.aborted


async def test_a_congested_wire_says_so() -> None:
    setup = Setup()
    setup.wire.pause_writing()
    assert setup.wire.congested
    setup.wire.resume_writing()
    assert not setup.wire.congested


_replies = st.recursive(
    st.none() | st.integers(-(2**63), 2**63 - 1) | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=8,
)


def _on_the_wire(reply: Any) -> bytes:
    match reply:
        case None:
            return b"$-1\r\n"
        case int():
            return b":%d\r\n" % reply
        case bytes():
            return b"$%d\r\n%b\r\n" % (len(reply), reply)
        case _:
            return b"*%d\r\n" % len(reply) + b"".join(map(_on_the_wire, reply))


@given(replies=st.lists(_replies, min_size=1, max_size=8), cuts=st.lists(st.integers(0, 400)), data=st.data())
def test_any_cut_of_the_bytes_gives_the_same_replies(replies: list[Any], cuts: list[int], data: st.DataObject) -> None:
    abandoned = data.draw(st.sets(st.integers(0, len(replies) - 1)))

    async def run() -> None:
        setup = Setup()
        calls = [setup.call("GET", "key") for _ in replies]
        for number in abandoned:
            calls[number].cancel()
        stream = b"".join(map(_on_the_wire, replies))
        borders = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
        for start, end in itertools.pairwise(borders):
            setup.wire.data_received(stream[start:end])
        for number, call in enumerate(calls):
            assert call.cancelled() if number in abandoned else call.result() == replies[number]

    asyncio.run(run())


@given(st.lists(st.binary() | st.text() | st.integers() | st.floats(allow_nan=False), min_size=1, max_size=6))
def test_a_packed_command_is_read_back_word_by_word(words: list[bytes | str | int | float]) -> None:
    reader = hiredis.Reader()
    reader.feed(pack(words))
    expected = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    assert reader.gets() == expected


# How long calls take


def sent(setup: Setup, ago_s: float, *, batch: Batch | None = None, index: int = 0) -> asyncio.Future[Any]:
    """A call that was sent so long ago."""
    future: asyncio.Future[Any] = batch.future if batch is not None else setup.loop.create_future()
    setup.wire.pending.append((future, monotonic() - ago_s + TIMEOUT_S, None, batch, index, False))
    return future


def observed(setup: Setup) -> int:
    return sum(setup.times.counts)


async def test_a_call_takes_from_its_sending_to_its_reply() -> None:
    setup = Setup()
    sent(setup, 100.0)
    setup.wire.data_received(b"+A\r\n")
    assert 100.0 <= setup.times.total_s < 120.0
    assert next(BOUNDS_S[bucket] for bucket, count in enumerate(setup.times.counts) if count) >= 100.0


async def test_a_reply_that_came_too_late_counts_as_one_that_did_not() -> None:
    setup = Setup()
    sent(setup, 1.0).cancel()
    sent(setup, 1.0).set_exception(error := StateUnavailable("late"))
    setup.wire.data_received(b"+A\r\n+B\r\n")
    assert observed(setup) == 2
    assert error.args


async def test_a_call_that_is_refused_takes_its_time_too() -> None:
    setup = Setup()
    refused = sent(setup, 0.1)
    setup.wire.data_received(b"-ERR no\r\n")
    assert observed(setup) == 1
    assert refused.exception() is not None


async def test_a_pipeline_is_one_call() -> None:
    setup = Setup()
    batch = Batch(setup.loop.create_future(), 3)
    for index in range(3):
        sent(setup, 0.1, batch=batch, index=index)
    setup.wire.data_received(b"+A\r\n+B\r\n+C\r\n")
    assert observed(setup) == 1


async def test_a_handshake_is_no_call() -> None:
    setup = Setup()
    setup.wire.pending.append((setup.loop.create_future(), float("inf"), None, None, 0, False))
    setup.wire.data_received(b"+OK\r\n")
    assert observed(setup) == 0
