"""Memory that processes share: contents are replaced at once, and survive whoever is killed while writing."""

from __future__ import annotations

import os
import signal
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.observability.board import BoardFull, MetricsBoard


def test_a_slot_that_nobody_wrote_is_empty() -> None:
    board = MetricsBoard(3, 100)
    assert board.read_all() == [b"", b"", b""]


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=6))
def test_what_was_written_last_is_read(contents: list[bytes]) -> None:
    board = MetricsBoard(3, 50)
    board.write(0, b"first")
    board.write(2, b"last")
    for content in contents:
        board.write(1, content)
    assert board.read_all() == [b"first", contents[-1], b"last"]


def test_what_is_too_large_is_refused_and_leaves_what_was_there() -> None:
    board = MetricsBoard(1, 10)
    board.write(0, b"0123456789")
    with pytest.raises(BoardFull, match="11 bytes do not fit into a slot of 10"):
        board.write(0, b"0123456789a")
    assert board.read(0) == b"0123456789"


@pytest.mark.parametrize("written", range(1, 4))
def test_a_writer_that_was_killed_leaves_what_it_had_written_before(written: int) -> None:
    board = MetricsBoard(2, 64)
    for number in range(written):
        board.write(1, b"content %d" % number)
    _break_off_a_write(board, slot=1, of=written)
    assert board.read(1) == b"content %d" % (written - 1)
    board.write(1, b"of the next writer")
    assert board.read(1) == b"of the next writer"


@pytest.mark.parametrize("written", range(1, 4))
def test_a_damaged_header_is_not_believed(written: int) -> None:
    board = MetricsBoard(1, 64)
    for number in range(written):
        board.write(0, b"content %d" % number)
    start = board._start(0, written % 2)
    board._memory[start : start + 16] = struct.pack("<QII", 2**63, 10**6, 7)
    assert board.read(0) == b"content %d" % (written - 1)
    board.write(0, b"mended")
    assert board.read(0) == b"mended"


def test_a_first_write_that_was_broken_off_left_nothing() -> None:
    board = MetricsBoard(1, 64)
    start = board._start(0, 0)
    board._memory[start : start + 16] = struct.pack("<QII", 1, 5, 7)
    assert board.read(0) == b""
    board.write(0, b"whole")
    assert board.read(0) == b"whole"


def test_other_processes_see_what_is_written() -> None:
    board = MetricsBoard(2, 64)
    child = os.fork()
    if not child:
        board.write(1, b"from the child")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert board.read(1) == b"from the child"


def test_readers_see_whole_contents_that_never_get_older_while_others_write() -> None:
    board = MetricsBoard(2, 4096)
    board.write(1, _counted(0))
    child = os.fork()
    if not child:
        number = 0
        while True:  # until it is killed
            number += 1
            board.write(1, _counted(number))
    try:
        seen = [_number_in(board.read(1)) for _ in range(3000)]
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert seen == sorted(seen)
    assert _number_in(board.read(1)) >= seen[-1]


def test_all_slots_are_read_beside_one_content_of_the_first() -> None:
    board = MetricsBoard(2, 64)
    board.write(0, b"before")
    board.write(1, b"before")
    read, changed = board.read, False

    def read_while_the_first_changes(slot: int) -> bytes:
        nonlocal changed
        content = read(slot)
        if not changed:
            changed = True
            board.write(0, b"after")
            board.write(1, b"after")
        return content

    board.read = read_while_the_first_changes  # type: ignore[method-assign]
    assert board.read_all() == [b"after", b"after"]


def _break_off_a_write(board: MetricsBoard, *, slot: int, of: int) -> None:
    """What a writer leaves that is killed before the header: the buffer that is not in use has another body."""
    body = board._start(slot, of % 2) + 16
    board._memory[body : body + 8] = b"half of "


def _counted(number: int) -> bytes:
    """A content whose parts belong together."""
    return str(number).encode().rjust(8) * (1 + number % 500)


def _number_in(content: bytes) -> int:
    parts = {content[at : at + 8] for at in range(0, len(content), 8)}
    assert len(parts) == 1, "torn"
    return int(parts.pop())
