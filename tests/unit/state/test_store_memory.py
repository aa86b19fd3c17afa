"""What ``INFO memory`` says."""

from __future__ import annotations

from typing import Any, cast

import pytest

from app.errors import StateError
from app.state import connect
from app.state.connection import StateConnection, StoreStatus
from app.state.store_memory import StoreMemory, read_store_memory


class Store:
    """Says what it was told to."""

    status = StoreStatus(kind="redis", available=True, connected=True)

    def __init__(self, says: Any) -> None:
        self._says = says

    async def call(self, *words: Any, large: bool = False) -> Any:
        assert words == ("INFO", "memory")
        return self._says


async def read(says: Any) -> StoreMemory | None:
    return await read_store_memory(cast("StateConnection", Store(says)))


async def test_used_and_most_are_found_among_the_others() -> None:
    told = b"# Memory\r\nused_memory:750\r\nused_memory_peak:900\r\nmaxmemory:1000\r\nmaxmemory_human:1K\r\n"
    memory = await read(told)
    assert memory == StoreMemory(used_bytes=750, most_bytes=1000)
    assert memory.share == 0.75


async def test_without_a_bound_there_is_no_share() -> None:
    memory = await read(b"used_memory:750\r\nmaxmemory:0\r\n")
    assert memory is not None
    assert memory.share is None


@pytest.mark.parametrize("said", [b"", b"used_memory:5\r\n", None, 3, b"used_memory:x\r\nmaxmemory:0\r\n"])
async def test_what_cannot_be_read_is_an_error(said: Any) -> None:
    with pytest.raises(StateError, match="INFO memory"):
        await read(said)


async def test_a_store_in_this_process_has_no_memory_of_its_own() -> None:
    state = connect("memory://")
    assert await read_store_memory(state) is None
    await state.close()
