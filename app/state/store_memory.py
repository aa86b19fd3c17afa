"""How much memory the store uses, and how much it may: what ``INFO memory`` says."""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

from app.errors import StateError
from app.state.connection import StateConnection

_FIELDS: Final = re.compile(rb"^(used_memory|maxmemory):(\d{1,18})\r?$", re.MULTILINE)


class StoreMemory(Struct, frozen=True, kw_only=True):
    """Memory of the store.

    Args:
        used_bytes: in use.
        most_bytes: that it may use; 0: as much as the machine has.
    """

    used_bytes: int
    most_bytes: int

    @property
    def share(self) -> float | None:
        """Used of what it may use; ``None`` without a bound."""
        return self.used_bytes / self.most_bytes if self.most_bytes else None


async def read_store_memory(state: StateConnection) -> StoreMemory | None:
    """How full the store is; ``None`` for one inside this process.

    Raises:
        StateUnavailable: no answer in time.
        StateError: the store does not let us ask, or what it says cannot be read.
    """
    if state.status.kind == "memory":
        return None
    told = await state.call("INFO", "memory")
    found = dict(_FIELDS.findall(told)) if isinstance(told, bytes) else {}
    try:
        return StoreMemory(used_bytes=int(found[b"used_memory"]), most_bytes=int(found[b"maxmemory"]))
    except KeyError:
        raise StateError("The state store does not say how full it is (INFO memory).") from None
