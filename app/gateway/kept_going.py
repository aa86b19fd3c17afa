"""Keeps what runs for ever running, should it fail by a bug, without filling the log."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final

log = logging.getLogger(__name__)

#: Pause before what has failed begins anew.
RESTART_AFTER_S: Final = 1.0
#: What goes on failing is said this often.
SAID_EVERY_S: Final = 60.0


async def kept_going(
    run: Callable[[], Awaitable[None]],
    *,
    what: str,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    monotonic: Callable[[], float] = time.monotonic,
) -> None:
    """Runs something, again and again as long as it fails, and returns when it does.

    Args:
        run: what to run.
        what: it is, for people, at the beginning of a sentence.
        sleep: waits so many seconds.
        monotonic: a clock in seconds that never goes back.
    """
    silent_until = float("-inf")
    while True:
        try:
            await run()
        except Exception:  # the outermost edge
            if monotonic() >= silent_until:
                log.exception("%s has failed, and begins anew.", what)
                silent_until = monotonic() + SAID_EVERY_S
            await sleep(RESTART_AFTER_S)
        else:
            return
