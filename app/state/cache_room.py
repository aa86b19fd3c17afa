"""Whether the store has room for another cached answer: above 80 % of its memory nothing more is stored.

``volatile-ttl`` would evict cached answers first, so this is the second line of defence: entries that were paid for are
not pushed out by those that come, and what must not be lost is never in danger. Source: DESIGN.md section 3, "TTL is
the rank of eviction".
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from app.errors import StateError, StateUnavailable
from app.state.connection import StateConnection
from app.state.store_memory import StoreMemory, read_store_memory

log = logging.getLogger(__name__)

#: Of the store's memory may be used with the new entry.
SHARE: Final = 0.8
#: A reading of the store's memory counts for this long.
READ_EVERY_S: Final = 1.0
#: What an entry takes beside its value: its name, its header and the server's books.
ENTRY_BYTES: Final = 256


class CacheRoom:
    """What one worker knows of the store's memory: read while something is stored, at most once a second.

    Between two readings it counts what it has let in itself, and takes it that every other worker does as much.

    Args:
        state: the store.
        monotonic: a clock in seconds that never goes back.
    """

    def __init__(self, state: StateConnection, *, monotonic: Callable[[], float]) -> None:
        self._state = state
        self._monotonic = monotonic
        self._memory: StoreMemory | None = None
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()
        self._let_in_bytes = 0
        self._has_told = False

    async def has_room(self, size_bytes: int, workers: int) -> bool:
        """Whether an answer may be stored, which then counts as stored. Never raises; asks the store now and then.

        Args:
            size_bytes: of the answer as it is kept.
            workers: how many share the store, this one among them.
        """
        if self._state.status.kind == "memory":
            return True
        await self._read_if_old()
        memory = self._memory
        if memory is None:
            return False
        size_bytes += ENTRY_BYTES
        to_come = (self._let_in_bytes + size_bytes) * workers
        if memory.most_bytes and memory.used_bytes + to_come > SHARE * memory.most_bytes:
            return False
        self._let_in_bytes += size_bytes
        return True

    @property
    def is_full(self) -> bool:
        """Whether the store was above its share when it was read last; a new reading is left to ``look``."""
        memory = self._memory
        return memory is not None and bool(memory.most_bytes) and memory.used_bytes > SHARE * memory.most_bytes

    async def look(self) -> None:
        """Reads how full the store is, if that was not known lately. Never raises."""
        if self._state.status.kind != "memory":
            await self._read_if_old()

    async def _read_if_old(self) -> None:
        async with self._reading:  # whoever comes meanwhile waits for the same answer
            if self._monotonic() - self._read_at < READ_EVERY_S:
                return
            self._memory = await self._read()
            self._let_in_bytes = 0
            self._read_at = self._monotonic()

    async def _read(self) -> StoreMemory | None:
        try:
            return await read_store_memory(self._state)
        except StateUnavailable:  # whose log is that of the connection
            return None
        except StateError:
            self._tell()
            return None

    def _tell(self) -> None:
        """Once, as it is tried again every second."""
        if not self._has_told:
            self._has_told = True
            log.warning("Nothing is stored in the response cache: the state store does not say how full it is (INFO).")
