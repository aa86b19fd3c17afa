"""The listener against a store that answers as the test says; the two real ones are in ``tests/integration/state``."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import NoReturn

import pytest

from app.errors import StateError, StateUnavailable
from app.state import keys
from app.state.memory import MemoryConnection
from app.state.pushes import Ear, PushListener

ENDED = StateUnavailable("The state store is not available: the connection was lost.")
REFUSED = StateError("The state store does not let its user subscribe (NOPERM).")


class ScriptedStore(MemoryConnection):
    """Each subscription ends as scripted, ``None`` after it was confirmed; the last one lasts."""

    def __init__(self, endings: Iterator[StateError | None]) -> None:
        super().__init__()
        self._endings = endings
        self.exhausted = asyncio.Event()

    async def listen(
        self, *channels: str, on_subscribed: Callable[[], None], on_message: Callable[[bytes], None]
    ) -> NoReturn:
        assert channels == (keys.PUSH_CHANNEL,)
        ending = next(self._endings, REFUSED)
        if ending is None:
            on_subscribed()
            on_message(b"key heard")
            raise ENDED
        if ending is REFUSED:
            raise ending
        self.exhausted.set()
        return await asyncio.Future()


async def listened_to(*endings: StateError | None) -> tuple[int, list[bytes]]:
    """Gaps and messages until the endings are used up."""
    store = ScriptedStore(iter([*endings, ENDED]))
    gaps: list[None] = []
    messages: list[bytes] = []
    ear = Ear(channel=keys.PUSH_CHANNEL, kind=b"key", heard=messages.append, gap=lambda: gaps.append(None))
    listener = asyncio.create_task(PushListener(store, ear).run())
    async with asyncio.timeout(10):
        await store.exhausted.wait()
    listener.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listener
    await store.close()
    return len(gaps), messages


async def test_every_subscription_is_a_gap() -> None:
    assert await listened_to(None, None, None) == (3, [b"heard"] * 3)


async def test_an_attempt_that_fails_is_none() -> None:
    assert await listened_to(REFUSED, None) == (1, [b"heard"])


async def test_a_lost_subscription_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="app"):
        await listened_to(None, None)
    assert not caplog.records


async def test_a_refusal_is_told_once_until_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="app"):
        await listened_to(REFUSED, REFUSED, REFUSED)
        assert len(caplog.records) == 1
        assert "NOPERM" in caplog.text
        caplog.clear()
        await listened_to(REFUSED, None, REFUSED)
        assert len(caplog.records) == 2


class TwoChannels(MemoryConnection):
    """Confirms a subscription to two channels and publishes one message of each kind, and others."""

    async def listen(
        self, *channels: str, on_subscribed: Callable[[], None], on_message: Callable[[bytes], None]
    ) -> NoReturn:
        assert channels == ("one", "two")
        on_subscribed()
        for message in (b"wake a b", b"key c", b"keys", b"", b"wake"):
            on_message(message)
        return await asyncio.Future()


async def test_each_kind_is_heard_by_its_own_ear_over_one_subscription() -> None:
    store = TwoChannels()
    heard: list[tuple[str, bytes]] = []

    def ear(channel: str, kind: str) -> Ear:
        return Ear(
            channel=channel,
            kind=kind.encode(),
            heard=lambda rest: heard.append((kind, rest)),
            gap=lambda: heard.append((kind, b"gap")),
        )

    listener = PushListener(store, ear("one", "key"), ear("two", "wake"), ear("one", "other"))
    task = asyncio.create_task(listener.run())
    await asyncio.sleep(0)
    task.cancel()
    gaps = [(kind, b"gap") for kind in ("key", "wake", "other")]
    assert heard == [*gaps, ("wake", b"a b"), ("key", b"c"), ("wake", b"")]
    await store.close()
