"""When the bytes of a reply leave, by a clock that the test turns."""

import asyncio
import heapq

import pytest

from tests.support.simulator_calls import body, content, send
from workers.simulator.delivery import Delivery
from workers.simulator.service import Simulator
from workers.simulator.settings import SimulatorSettings


class Handle:
    def __init__(self):
        self.cancelled = False

    def cancel(self):
        self.cancelled = True


class Clock:
    """A loop's clock and timers, turned by hand."""

    def __init__(self):
        self.now = 100.0
        self._timers = []
        self._count = 0

    def time(self):
        return self.now

    def call_at(self, when, callback):
        handle = Handle()
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, callback, handle))
        return handle

    def call_soon(self, callback):
        return self.call_at(self.now, callback)

    def run(self, until=None, late_s=0.0):
        """Fires the timers up to a time; every timer fires ``late_s`` too late."""
        while self._timers and (until is None or self._timers[0][0] <= until):
            when, _, callback, handle = heapq.heappop(self._timers)
            self.now = max(self.now, when + late_s)
            if not handle.cancelled:
                callback()

    @property
    def waiting(self):
        return len([timer for timer in self._timers if not timer[3].cancelled])


class Wire(asyncio.Transport):
    """A transport that keeps what is written and when."""

    def __init__(self, clock):
        super().__init__()
        self._clock = clock
        self.writes = []

    def write(self, data):
        self.writes.append((round(self._clock.now - 100.0, 4), bytes(data)))

    def get_extra_info(self, name, default=None):
        return default


class Sent:
    """A reply on its way."""

    def __init__(self, reply):
        self.clock = Clock()
        self.wire = Wire(self.clock)
        self.ends = []
        self.delivery = Delivery(reply, self.wire, self.clock, 100.0, keep_alive=True, done=self.ends.append)
        self.delivery.start()

    @property
    def data(self):
        return b"".join(data for _, data in self.wire.writes)


def reply(prompt="Hello", *, stream=False, **settings):
    simulator = Simulator(SimulatorSettings(**settings))
    return send(simulator, body(prompt, stream=stream, thinking={"type": "disabled"}))


def unchunked(data):
    """The body of a chunked response, and whether it was complete."""
    rest = data.partition(b"\r\n\r\n")[2]
    parts = []
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        if size == b"0":
            return b"".join(parts), True
        parts.append(rest[: int(size, 16)])
        rest = rest[int(size, 16) + 2 :]
    return b"".join(parts), False


def test_a_plain_reply_without_pace_is_one_write():
    sent = Sent(reply())
    assert [when for when, _ in sent.wire.writes] == [0.0]
    assert sent.ends == [True]


def test_a_plain_reply_comes_when_its_last_token_is_made():
    sent = Sent(reply(ttft_ms=200, tokens_per_second=100, output_tokens=50))
    assert sent.wire.writes == []
    sent.clock.run()
    assert [when for when, _ in sent.wire.writes] == [0.7]


def test_a_stream_without_pace_is_one_write_with_its_end():
    streamed = reply(stream=True)
    sent = Sent(streamed)
    assert len(sent.wire.writes) == 1
    assert unchunked(sent.data) == (content(streamed), True)


def test_a_token_is_due_at_ttft_plus_its_number_by_the_rate():
    sent = Sent(
        reply("[[sim: text=twenty_bytes_of_text]]", stream=True, ttft_ms=100, tokens_per_second=10, delta_tokens=1)
    )
    sent.clock.run()
    assert [when for when, _ in sent.wire.writes] == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]


def test_delays_do_not_add_up():
    sent = Sent(reply(f"[[sim: text={'x' * 200}]]", stream=True, tokens_per_second=10, delta_tokens=1))
    sent.clock.run(late_s=0.02)
    assert sent.wire.writes[-1][0] == 5.02


def test_what_is_due_together_leaves_together():
    sent = Sent(reply(stream=True, tokens_per_second=1000, output_tokens=50, delta_tokens=1))
    sent.clock.run(late_s=0.0101)
    assert len(sent.wire.writes) < 8


def test_one_timer_is_enough():
    sent = Sent(reply(stream=True, tokens_per_second=10, output_tokens=50))
    assert sent.clock.waiting == 1


def test_jitter_delays_but_never_reorders():
    jittered = reply(stream=True, tokens_per_second=100, jitter_ms=30, output_tokens=60, delta_tokens=1)
    due = [part.due_s for part in jittered.parts]
    assert due == sorted(due)
    assert any(due[3 + i] > i / 100 + 0.005 for i in range(60))
    assert all(due[2 + i] <= i / 100 + 0.031 for i in range(60))


def test_pings_fill_the_silence_before_the_first_token():
    parts = reply(stream=True, ttft_ms=1000, ping_interval_ms=300).parts
    assert [part.due_s for part in parts if b"event: ping" in part.data] == pytest.approx([0, 0.3, 0.6, 0.9])


def test_a_stamp_is_the_time_at_which_the_delta_was_due(monkeypatch):
    monkeypatch.setattr("workers.simulator.schedule.time.time", lambda: 1_800_000_000.0)
    parts = reply(stream=True, stamp=True, ttft_ms=500, tokens_per_second=10, output_tokens=8, delta_tokens=4).parts
    stamps = [part.data.split(b'"text":"')[1].split(b'"')[0] for part in parts if b"text_delta" in part.data]
    assert stamps == [b"1800000000500.000 ", b"1800000000900.000 "]


def test_the_pace_is_in_the_headers():
    headers = reply(stream=True, ttft_ms=500, tokens_per_second=25).headers
    for line in (b"x-simulator-ttft-ms: 500", b"x-simulator-tokens-per-second: 25", b"x-simulator-started-at: "):
        assert line in headers


@pytest.mark.parametrize("stream", [False, True])
def test_a_cut_ends_the_connection_at_the_byte(stream):
    sent = Sent(reply("[[sim: cut_at_byte=100]]", stream=stream))
    got = unchunked(sent.data)[0] if stream else sent.data.partition(b"\r\n\r\n")[2]
    assert len(got) == 100
    assert sent.ends == [False]


@pytest.mark.parametrize("stream", [False, True])
def test_a_cut_at_byte_zero_sends_the_headers(stream):
    sent = Sent(reply("[[sim: cut_at_byte=0]]", stream=stream))
    assert sent.data.startswith(b"HTTP/1.1 200 OK\r\n")
    assert sent.data.endswith(b"\r\n\r\n")
    assert sent.ends == [False]


def test_a_drop_sends_nothing_and_closes():
    sent = Sent(reply("[[sim: drop ttft_ms=50]]"))
    sent.clock.run()
    assert (sent.data, sent.ends) == (b"", [False])


def test_silence_sends_nothing_and_keeps_the_connection():
    sent = Sent(reply("[[sim: silent]]"))
    sent.clock.run()
    assert (sent.data, sent.ends) == (b"", [])


def test_silence_after_events_keeps_the_connection():
    sent = Sent(reply("[[sim: silent_after_events=3]]", stream=True))
    data, complete = unchunked(sent.data)
    assert (data.count(b"event: "), complete, sent.ends) == (3, False, [])


def test_a_stall_keeps_the_connection():
    sent = Sent(reply("[[sim: stall_at_byte=40]]"))
    assert len(sent.data.partition(b"\r\n\r\n")[2]) == 40
    assert sent.ends == []


def test_odd_chunks_are_writes_of_their_own_and_change_nothing():
    whole = content(reply("[[sim: chunk_bytes=7]]", stream=True))
    sent = Sent(reply("[[sim: chunk_bytes=7]]", stream=True))
    sent.clock.run()
    assert unchunked(sent.data) == (whole, True)
    assert len(sent.wire.writes) >= len(whole) / 7 / 2


def test_a_slow_body_takes_its_time():
    slow = reply("[[sim: bytes_per_second=1000 text=x]]")
    assert slow.parts[-1].due_s == pytest.approx(slow.full_bytes / 1000, rel=0.05)


def test_nothing_is_written_while_the_client_does_not_read():
    sent = Sent(reply(stream=True, tokens_per_second=10, output_tokens=50))
    before = len(sent.wire.writes)
    sent.delivery.pause()
    sent.clock.run()
    assert len(sent.wire.writes) == before
    sent.delivery.resume()
    sent.clock.run()
    assert sent.ends == [True]


def test_after_a_stop_no_timer_is_left():
    sent = Sent(reply(stream=True, tokens_per_second=10, output_tokens=50))
    sent.delivery.stop()
    assert sent.clock.waiting == 0
