"""Notices at once that the client went away, and cancels what still runs for it."""

from __future__ import annotations

import asyncio
from types import TracebackType

from litestar.types import Receive

from app.errors import ClientDisconnected


class ClientPresence:
    """Runs a block only as long as the client is there; its request body must have been read before.

    Works like ``asyncio.timeout``: when the client closes its connection the block's task is cancelled, and leaving the
    block turns that cancellation into ``ClientDisconnected``. A cancellation from elsewhere passes through.
    """

    __slots__ = ("_gone", "_over", "_receive", "_task", "_watch")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._gone = False
        self._over = False

    async def __aenter__(self) -> ClientPresence:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in a task
        self._task = task
        self._watch = asyncio.create_task(self._wait())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over()
        self._watch.cancel()
        if self._gone and self._task.uncancel() == 0 and kind is not None and issubclass(kind, asyncio.CancelledError):
            raise ClientDisconnected("The client closed its connection.") from error

    @property
    def is_gone(self) -> bool:
        """Whether the client has left."""
        return self._gone

    def over(self) -> None:
        """The reply is complete: from now on the connection may end without meaning anything."""
        self._over = True

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if not self._over:
            self._gone = True
            self._task.cancel()
