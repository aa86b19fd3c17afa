"""The shared secret, on the store in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from app.errors import StateError
from app.state import connect, keys
from app.state.connection import StateConnection
from app.state.secret import SECRET_BYTES, shared_secret


@pytest.fixture
async def state() -> AsyncIterator[StateConnection]:
    connection = connect("memory://")
    yield connection
    await connection.close()


async def test_the_secret_is_made_once(state: StateConnection) -> None:
    secret = await shared_secret(state)
    assert len(secret) == SECRET_BYTES
    assert await shared_secret(state) == secret


async def test_replicas_that_start_together_agree(state: StateConnection) -> None:
    assert len(set(await asyncio.gather(*(shared_secret(state) for _ in range(20))))) == 1


async def test_deployments_differ(state: StateConnection) -> None:
    other = connect("memory://")
    assert await shared_secret(state) != await shared_secret(other)
    await other.close()


async def test_asking_renews_the_time_to_live(state: StateConnection) -> None:
    await shared_secret(state)
    assert await state.call("TTL", keys.SECRET) == keys.SECRET_TTL_S
    await state.call("EXPIRE", keys.SECRET, 10)
    await shared_secret(state)
    assert await state.call("TTL", keys.SECRET) == keys.SECRET_TTL_S


async def test_something_else_under_the_name_is_an_error(state: StateConnection) -> None:
    await state.call("SET", keys.SECRET, "short", "EX", 60)
    with pytest.raises(StateError, match="CLAUDE_WRAPPER_SECRET"):
        await shared_secret(state)
