"""A way to Anthropic that is opened beside the event loop: importing its library takes longer than a client waits.

A worker is ready to listen at once; a call that comes before the lane is open waits for it.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable

from app.domain.upstream import Upstream, UpstreamReply, UpstreamRequest


class DeferredUpstream:
    """An ``Upstream`` that is opened in a thread, by ``start`` or by the first call.

    Args:
        open_: opens the lane; may block, for 0.1 s (``direct``) or seconds (``sdk``).
    """

    def __init__(self, open_: Callable[[], Upstream]) -> None:
        self._open = open_
        self._opening: asyncio.Task[Upstream] | None = None
        self._upstream: Upstream | None = None

    async def start(self) -> None:
        """Opens the lane now.

        Raises:
            SettingError: a setting of the lane makes no sense.
        """
        await self._opened()

    async def send(self, request: UpstreamRequest) -> UpstreamReply:
        """Sends a request once the lane is open; see ``app.domain.upstream.Upstream.send``."""
        upstream = self._upstream
        if upstream is None:
            upstream = await self._opened()
        return await upstream.send(request)

    async def close(self) -> None:
        """Closes the lane, if it is open; one that is still opening has no connections yet, and is not waited for."""
        if self._upstream is not None:
            await self._upstream.close()

    async def _opened(self) -> Upstream:
        if self._opening is None or (self._opening.done() and self._opening.exception() is not None):
            self._opening = asyncio.create_task(asyncio.to_thread(_without_collector, self._open))
        # Shielded: a client that leaves must not undo the opening for everybody.
        self._upstream = await asyncio.shield(self._opening)
        return self._upstream


def _without_collector(open_: Callable[[], Upstream]) -> Upstream:
    """Opens with the garbage collector off, and keeps it from what it finds then.

    The imports of a worker make hundreds of thousands of objects that all stay. A full collection of them takes 30 ms,
    110 ms with the SDK, in which no request is answered; under load there was one every 800 requests.
    """
    gc.disable()
    try:
        return open_()
    finally:
        gc.freeze()
        gc.enable()
