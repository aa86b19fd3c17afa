"""Processes that the gateway needs beside its workers: the embedded state server, the simulator.

The master starts them first, looks after them and stops them last. One that dies is started again, and again: workers
answer without it as well as they can, and notice when it is back.
"""

from __future__ import annotations

import logging
from typing import Protocol

log = logging.getLogger(__name__)


class Companion(Protocol):
    """A process that was started, and is to live as long as the gateway."""

    def revive(self) -> bool:
        """Starts it again if it has died, at a bounded pace; whether it was started.

        Raises:
            OSError: it could not be started.
        """
        ...

    def stop(self) -> None:
        """Ends it, and returns when it is gone."""
        ...


class Companions:
    """All of them, in the order in which they were started."""

    def __init__(self) -> None:
        self._companions: list[tuple[str, Companion]] = []
        self._watching = True

    def add(self, name: str, companion: Companion) -> None:
        """One more, already running; messages call it by its name."""
        self._companions.append((name, companion))

    def watch(self) -> None:
        """Revives what has died; called by the master on every turn."""
        if not self._watching:
            return
        for name, companion in self._companions:
            try:
                if companion.revive():
                    log.error("%s died and was started again.", name)
            except OSError as exc:
                log.error("%s died and cannot be started: %s", name, exc)  # noqa: TRY400 - no bug of ours

    def release(self) -> None:
        """The gateway is stopping: what dies from now on stays dead."""
        self._watching = False

    def stop(self) -> None:
        """Ends all of them, the last one started first."""
        self.release()
        for _, companion in reversed(self._companions):
            companion.stop()
        self._companions.clear()
