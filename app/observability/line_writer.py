"""Lines of the log on their way out, so that nobody waits for whoever reads them.

While a worker serves, a thread writes: a terminal that is held or a collector that stands still must not stop the
event loop. What waits is bounded; what comes beyond is dropped, counted and told. Before and after (``start``,
``close``), and in processes that only start or stop others, a line is written where it is put: nobody waits longer than
``STALL_S`` for a reader there, and for one that stands still nobody waits again.

Several processes share one pipe, and a pipe keeps only writes of up to ``PIPE_BUF`` bytes in one piece (POSIX,
``write``): whole lines are written together up to that.
"""

from __future__ import annotations

import logging
import os
import select
import sys
import threading
from collections.abc import Iterable, Iterator
from typing import Final, TextIO

from app.observability.bounded_write import PIPE_BUF, write_within

logger = logging.getLogger(__name__)

#: Lines wait this long for others to be written with, unless they are to be written soon.
WRITE_EVERY_S: Final = 0.25

#: So many bytes are not left waiting.
ENOUGH_BYTES: Final = 64 * 1024

#: Bound of what waits; as much again may be with the thread.
MOST_BYTES: Final = 4 * 1024 * 1024

#: Without a thread, so long the reader may take nothing before a line is lost.
STALL_S: Final = 0.1


class LineWriter:
    """Writes lines to one stream.

    Args:
        stream: where to; standard error, as it is at the time, by default.
        most_bytes: bound of what waits to be written.
    """

    __slots__ = (
        "_closing",
        "_dropped",
        "_is_stuck",
        "_lock",
        "_may_stall_s",
        "_most_bytes",
        "_stream",
        "_thread",
        "_waiting",
        "_waiting_bytes",
        "_wake",
        "dropped",
    )

    def __init__(self, stream: TextIO | None = None, *, most_bytes: int = MOST_BYTES) -> None:
        self._stream = stream
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._closing = False
        self._is_stuck = False
        self._may_stall_s = STALL_S
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._dropped = 0
        self.dropped = 0
        """Lines that were lost since the start, as nobody took them."""

    @property
    def is_terminal(self) -> bool:
        """Whether a person reads along."""
        stream = self._stream or sys.stderr
        return stream is not None and not stream.closed and stream.isatty()

    def put(self, line: bytes, *, soon: bool = False) -> None:
        """Writes a line, or has it written within ``WRITE_EVERY_S``.

        Args:
            line: with its end.
            soon: at once, as it may be the last word of this process.
        """
        if self._thread is None:
            if self._write([line]):
                self._tell_lost()
            return
        with self._lock:
            if self._is_stuck or self._waiting_bytes + len(line) > self._most_bytes:
                self._drop(1)
                return
            self._waiting.append(line)
            self._waiting_bytes += len(line)
        if soon or self._waiting_bytes >= ENOUGH_BYTES:
            self._wake.set()

    def start(self) -> None:
        """From now on a thread writes. Call it in the process that serves: threads do not survive a fork."""
        if self._thread is None:
            self._closing = self._is_stuck = False
            self._thread = threading.Thread(target=self._run, name="log", daemon=True)
            self._thread.start()

    def close(self, *, within_s: float = 2.0) -> None:
        """Writes what waits; from then on lines are written where they are put.

        Args:
            within_s: if that takes longer, what is left is lost, and so is everything that comes.
        """
        thread = self._thread
        if thread is None or self._is_stuck:
            return
        self._closing = True
        self._wake.set()
        thread.join(within_s)
        if thread.is_alive():
            self._is_stuck = True
            return
        self._thread = None
        self._write_waiting()

    def _run(self) -> None:
        while not self._closing:
            self._wake.wait(WRITE_EVERY_S)
            self._wake.clear()
            self._write_waiting()

    def _write_waiting(self) -> None:
        with self._lock:
            lines, self._waiting, self._waiting_bytes = self._waiting, [], 0
        if lines:
            self._write(lines)
        self._tell_lost()

    def _tell_lost(self) -> None:
        with self._lock:
            dropped, self._dropped = self._dropped, 0
        if dropped:
            logger.warning("%d lines of the log are lost: they were not taken in time.", dropped)

    def _write(self, lines: list[bytes]) -> bool:
        """Whether all of them were taken."""
        stream = self._stream or sys.stderr
        if stream is None:  # closed from the start
            return False
        try:
            descriptor = stream.fileno()
        except (OSError, ValueError):  # a stream in memory, or one that was closed
            _write_text(stream, lines)
            return True
        try:
            for piece in _together(lines):
                self._write_piece(descriptor, piece)
        except OSError:  # the disk is full, or nobody reads any more
            with self._lock:
                self.dropped += len(lines)
            return False
        return self._may_stall_s > 0

    def _write_piece(self, descriptor: int, piece: bytes) -> None:
        if self._thread is not None:
            _write_all(descriptor, piece)
            return
        is_taken = write_within(descriptor, piece, stall_s=self._may_stall_s)
        self._may_stall_s = STALL_S if is_taken else 0.0
        if not is_taken:
            with self._lock:
                self._drop(piece.count(b"\n"))

    def _drop(self, lines: int) -> None:
        self._dropped += lines
        self.dropped += lines


def _write_text(stream: TextIO, lines: Iterable[bytes]) -> None:
    if not stream.closed:
        stream.write(b"".join(lines).decode("utf-8", "backslashreplace"))
        stream.flush()


def _together(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Whole lines in pieces of up to ``PIPE_BUF`` bytes; a longer line is a piece of its own."""
    piece: list[bytes] = []
    size = 0
    for line in lines:
        if piece and size + len(line) > PIPE_BUF:
            yield b"".join(piece)
            piece, size = [], 0
        piece.append(line)
        size += len(line)
    if piece:
        yield b"".join(piece)


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:  # somebody who shares it does not want to wait
            select.select([], [descriptor], [], 1.0)
