"""A block ends when the client leaves, and only then is that called a disconnect."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.api.presence import ClientPresence
from app.errors import ClientDisconnected


class Client:
    def __init__(self) -> None:
        self.left = asyncio.Event()

    async def receive(self) -> Any:
        await self.left.wait()
        return {"type": "http.disconnect"}


async def test_a_client_that_leaves_cancels_the_block() -> None:
    client = Client()
    cancelled = False
    asyncio.get_running_loop().call_soon(client.left.set)
    with pytest.raises(ClientDisconnected):
        async with ClientPresence(client.receive):
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                cancelled = True
                raise
    assert cancelled


async def test_the_task_goes_on_after_a_disconnect() -> None:
    client = Client()
    client.left.set()
    with pytest.raises(ClientDisconnected):
        async with ClientPresence(client.receive):
            await asyncio.get_running_loop().create_future()
    await asyncio.sleep(0)  # would raise if the cancellation were still pending
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_cancellation_from_elsewhere_passes_through() -> None:
    client = Client()

    async def block() -> None:
        async with ClientPresence(client.receive):
            await asyncio.get_running_loop().create_future()

    task = asyncio.create_task(block())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_disconnect_after_the_reply_means_nothing() -> None:
    client = Client()
    async with ClientPresence(client.receive) as presence:
        presence.over()
        client.left.set()
        for _ in range(3):
            await asyncio.sleep(0)
    assert not presence.is_gone


async def test_an_error_of_the_block_stays_itself() -> None:
    with pytest.raises(ZeroDivisionError):
        async with ClientPresence(Client().receive):
            raise ZeroDivisionError
