"""Memory that the processes of one gateway share: a slot for each writer, readable by all.

The master makes it before it forks (an anonymous mapping: nothing on a disk, gone with the last process, and only pages
that were written to cost memory). What is written into a slot replaces what was there, for every reader at once: a slot
is two buffers, the writer fills the one that is not in use, and the one with the higher number and a right check sum is
in use. A writer that is killed in the middle therefore leaves what it had written before.
"""

from __future__ import annotations

import mmap
import struct
from typing import Final
from zlib import crc32

#: Room for one content. A worker with 500 series takes 75 KB.
SLOT_BYTES: Final = 512 * 1024

#: Number of the content, counted up from 1 in each slot (0: never written); its length; check sum of both and of it.
_HEADER: Final = struct.Struct("<QII")
_NUMBER_AND_LENGTH: Final = struct.Struct("<QI")


#: A reader that finds nothing whole has met a writer that was faster, and looks again; so often, and there is nothing:
#: who wrote for the first time was killed at it.
_LOOKS: Final = 100


class BoardFull(Exception):
    """A content is larger than its slot; what was there before stays."""


class MetricsBoard:
    """Slots with contents of bytes.

    Args:
        slots: how many; each has one writer at a time, which the caller sees to.
        slot_bytes: room for a content.
    """

    def __init__(self, slots: int, slot_bytes: int = SLOT_BYTES) -> None:
        self.slots = slots
        self._slot_bytes = slot_bytes
        self._buffer_bytes = _HEADER.size + slot_bytes
        self._memory = mmap.mmap(-1, 2 * slots * self._buffer_bytes)

    def write(self, slot: int, content: bytes) -> None:
        """Replaces the content of a slot.

        Raises:
            BoardFull: it is too large.
        """
        if len(content) > self._slot_bytes:
            raise BoardFull(f"{len(content)} bytes do not fit into a slot of {self._slot_bytes}.")
        number, _, in_use = self._latest(slot)
        start = self._start(slot, 1 - in_use)
        body = start + _HEADER.size
        self._memory[body : body + len(content)] = content
        # The header comes last: before, the check sum of the buffer is wrong, or its number the lower one.
        _HEADER.pack_into(self._memory, start, number + 1, len(content), _check_sum(number + 1, content))

    def read(self, slot: int) -> bytes:
        """The content of a slot; empty where nothing was written yet."""
        return self._latest(slot)[1]

    def read_all(self) -> list[bytes]:
        """The contents of all slots, at a moment at which the content of slot 0 was this one."""
        while True:
            number, first, _ = self._latest(0)
            contents = [first, *(self.read(slot) for slot in range(1, self.slots))]
            if self._latest(0)[0] == number:
                return contents

    def _latest(self, slot: int) -> tuple[int, bytes, int]:
        """Number and content of a slot, and which of its buffers is in use."""
        for _ in range(_LOOKS):
            starts = [self._start(slot, buffer) for buffer in (0, 1)]
            numbers = [_HEADER.unpack_from(self._memory, start)[0] for start in starts]
            if not any(numbers):
                break
            for buffer in sorted((0, 1), key=numbers.__getitem__, reverse=True):
                if (found := self._whole(starts[buffer])) is not None:
                    return *found, buffer
        return 0, b"", 1

    def _whole(self, start: int) -> tuple[int, bytes] | None:
        """Number and content of a buffer, unless it is being written."""
        number, length, check_sum = _HEADER.unpack_from(self._memory, start)
        if not number or length > self._slot_bytes:
            return None
        body = start + _HEADER.size
        content = self._memory[body : body + length]
        return (number, content) if _check_sum(number, content) == check_sum else None

    def _start(self, slot: int, buffer: int) -> int:
        return (2 * slot + buffer) * self._buffer_bytes


def _check_sum(number: int, content: bytes) -> int:
    return crc32(content, crc32(_NUMBER_AND_LENGTH.pack(number, len(content))))
