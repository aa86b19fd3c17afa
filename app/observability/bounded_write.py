"""Writes that give up where nobody reads: for processes that have no thread to wait for a reader.

Whether a pipe takes a page is asked first. Between the question and the write another process may fill it, so a pipe is
opened once more, not to wait; the descriptor itself keeps waiting, as others share it (Linux, ``proc(5)``). Elsewhere,
and for sockets, the question has to do.
"""

from __future__ import annotations

import os
import select
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

#: Largest write that a pipe keeps in one piece, and that does not wait where the pipe takes anything.
PIPE_BUF: Final = 4096


def write_within(descriptor: int, data: bytes, *, stall_s: float) -> bool:
    """Writes data as long as it is taken.

    Args:
        descriptor: of a file, a pipe, a terminal or a socket.
        data: what to write.
        stall_s: give up once nothing was taken for so long; 0: at once.

    Returns:
        Whether all of it was written.

    Raises:
        OSError: it cannot be written: nobody will read any more, or the disk is full.
    """
    left = memoryview(data)
    with _never_waiting(descriptor) as own:
        asked = select.poll()
        asked.register(own, select.POLLOUT)
        ends_at = time.monotonic() + stall_s
        while left:
            if not asked.poll(1000 * max(0.0, ends_at - time.monotonic())):
                return False
            try:
                left = left[os.write(own, left[:PIPE_BUF]) :]
            except BlockingIOError:  # another process was faster
                if time.monotonic() >= ends_at:
                    return False
            else:
                ends_at = time.monotonic() + stall_s
    return True


@contextmanager
def _never_waiting(descriptor: int) -> Iterator[int]:
    """The descriptor, or for a pipe one of its own that does not wait."""
    own = None
    if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        try:
            own = os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # no such file system, a pipe of another user, or nobody reads it any more
            own = None
    try:
        yield descriptor if own is None else own
    finally:
        if own is not None:
            os.close(own)
