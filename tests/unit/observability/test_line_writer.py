"""Lines leave without anybody waiting for their reader; what waits is bounded, what is lost is told."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import TextIO

import pytest

from app.observability.bounded_write import PIPE_BUF
from app.observability.line_writer import STALL_S, LineWriter

#: However busy the machine is.
PATIENCE_S = 20.0


def until(condition: Callable[[], bool]) -> None:
    ends_at = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < ends_at
        time.sleep(0.005)


class Pipe:
    """A pipe whose reader reads when it is told to."""

    def __init__(self) -> None:
        self.reader, writer = os.pipe()
        self.stream: TextIO = open(writer, "w", encoding="utf-8")  # noqa: PTH123, SIM115

    def read_all(self) -> bytes:
        """Everything up to the end; closes the writing side."""
        self.stream.close()
        data = b""
        while part := os.read(self.reader, 65536):
            data += part
        return data


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    os.close(pipe.reader)
    if not pipe.stream.closed:
        pipe.stream.close()


def test_before_the_start_a_line_is_written_where_it_is_put() -> None:
    out = io.StringIO()
    LineWriter(out).put(b"one\n")
    assert out.getvalue() == "one\n"


def test_from_the_start_on_a_thread_writes_in_the_order_of_the_lines() -> None:
    out = io.StringIO()
    writer = LineWriter(out)
    writer.start()
    for number in range(1000):
        writer.put(b"%d\n" % number)
    writer.close()
    assert out.getvalue().split() == [str(number) for number in range(1000)]


def test_what_is_to_be_written_soon_is() -> None:
    out = io.StringIO()
    writer = LineWriter(out)
    writer.start()
    writer.put(b"last words\n", soon=True)
    until(lambda: out.getvalue() == "last words\n")
    writer.close()


def test_after_the_end_lines_are_written_at_once_and_it_may_start_again() -> None:
    out = io.StringIO()
    writer = LineWriter(out)
    for _ in range(2):
        writer.start()
        writer.start()
        writer.close()
        writer.close()
        writer.put(b"x\n")
    assert out.getvalue() == "x\nx\n"


def test_a_reader_that_stands_still_stops_nobody_and_what_is_too_much_is_lost(pipe: Pipe) -> None:
    writer = LineWriter(pipe.stream, most_bytes=20_000)
    writer.start()
    line = b"x" * 99 + b"\n"
    began = time.monotonic()
    for _ in range(5000):  # 500 KB: the pipe holds 64, the writer 20 and what its thread has taken
        writer.put(line)
    assert time.monotonic() - began < PATIENCE_S
    assert 0 < writer.dropped < 5000
    received = []
    reading = threading.Thread(target=lambda: received.append(_read(pipe.reader, (5000 - writer.dropped) * 100)))
    reading.start()
    reading.join(PATIENCE_S)
    writer.close()
    assert set(received[0].splitlines()) == {line.strip()}


def _read(descriptor: int, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += os.read(descriptor, size - len(data))
    return data


def test_what_is_lost_is_told(pipe: Pipe, caplog: pytest.LogCaptureFixture) -> None:
    writer = LineWriter(pipe.stream, most_bytes=100)
    writer.start()
    for _ in range(50):
        writer.put(b"x" * 60 + b"\n")
    writer.close()
    if writer.dropped:
        assert "lines of the log are lost" in caplog.text
    assert pipe.read_all().count(b"\n") == 50 - writer.dropped


def test_the_end_does_not_wait_for_a_reader_that_stands_still(pipe: Pipe) -> None:
    writer = LineWriter(pipe.stream)
    writer.start()
    for _ in range(20):
        writer.put(b"x" * 9999 + b"\n")
    writer.close(within_s=0.05)
    writer.put(b"nobody takes this\n")
    writer.close(within_s=0.05)
    assert writer.dropped == 1
    drain = threading.Thread(target=lambda: _read(pipe.reader, 200_000))  # lets the thread end
    drain.start()
    drain.join(PATIENCE_S)
    assert not drain.is_alive()


def test_lines_that_are_written_together_stay_whole_in_a_pipe_of_several_processes(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    real = os.write

    def write(descriptor: int, data: bytes) -> int:
        sizes.append(len(data))
        assert data.endswith(b"\n")
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", write)
    writer = LineWriter(pipe.stream)
    writer.start()
    for _ in range(50):
        writer.put(b"x" * 699 + b"\n")
    writer.put(b"y" * (PIPE_BUF + 10) + b"\n")
    writer.close()
    assert max(size for size in sizes if size != PIPE_BUF + 11) <= PIPE_BUF
    assert len(sizes) < 51


def test_a_descriptor_that_does_not_want_to_wait_gets_everything_all_the_same(pipe: Pipe) -> None:
    os.set_blocking(pipe.stream.fileno(), False)
    received = []
    reading = threading.Thread(target=lambda: received.append(_read(pipe.reader, 300_000)))
    reading.start()
    LineWriter(pipe.stream).put(b"x" * 299_999 + b"\n")
    reading.join(PATIENCE_S)
    assert received == [b"x" * 299_999 + b"\n"]


def fill(pipe: Pipe) -> int:
    """Writes until the pipe takes no more; how many bytes that were."""
    os.set_blocking(pipe.stream.fileno(), False)
    size = 0
    try:
        while True:
            size += os.write(pipe.stream.fileno(), b"." * PIPE_BUF)
    except BlockingIOError:
        os.set_blocking(pipe.stream.fileno(), True)
        return size


def test_without_the_thread_a_reader_that_stands_still_is_waited_for_once_and_shortly(pipe: Pipe) -> None:
    fill(pipe)
    writer = LineWriter(pipe.stream)
    began = time.monotonic()
    for _ in range(1000):
        writer.put(b"x\n")
    assert STALL_S <= time.monotonic() - began < PATIENCE_S, "a thousand waits would be 100 s"
    assert writer.dropped == 1000
    assert os.get_blocking(pipe.stream.fileno()), "others who share the pipe still wait"


def test_without_the_thread_what_is_lost_is_told_once_the_reader_reads_again(
    pipe: Pipe, caplog: pytest.LogCaptureFixture
) -> None:
    size = fill(pipe)
    writer = LineWriter(pipe.stream)
    for _ in range(3):
        writer.put(b"lost\n")
    assert "lines of the log are lost" not in caplog.text
    assert _read(pipe.reader, size) == b"." * size
    writer.put(b"taken\n")
    assert "3 lines of the log are lost" in caplog.text
    assert pipe.read_all() == b"taken\n"


def test_nobody_reads_any_more(pipe: Pipe) -> None:
    os.close(pipe.reader)
    writer = LineWriter(pipe.stream)
    writer.put(b"lost\n")
    assert writer.dropped == 1
    pipe.reader = os.open(os.devnull, os.O_RDONLY)


def test_a_stream_that_was_closed_is_let_be() -> None:
    out = io.StringIO()
    out.close()
    LineWriter(out).put(b"x\n")
    assert not LineWriter(out).is_terminal


def test_without_a_stream_nothing_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", None)
    LineWriter().put(b"x\n")
    assert not LineWriter().is_terminal


def test_a_file_is_no_terminal(pipe: Pipe) -> None:
    assert not LineWriter(pipe.stream).is_terminal
