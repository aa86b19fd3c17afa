"""A thread beside the event loop, for work that blocks: a library that waits for a collector, and takes its time."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

log = logging.getLogger(__name__)


class Work(Protocol):
    """What the thread does."""

    def round(self, *, last: bool) -> None:
        """Does what there is to do; may block. After the last one there is nobody to do what was put off."""
        ...

    def give_up(self) -> None:
        """Ends a round that still blocks, from another thread: nobody waits for it any more."""
        ...


class Rounds:
    """Does its work every so often, sooner when woken, and once more at its end.

    The thread is a daemon: what hangs in a library keeps no process from ending.

    Args:
        name: of the thread.
        open_: makes the work, in the thread: what it imports takes time.
        interval_s: between two rounds.
    """

    def __init__(self, name: str, open_: Callable[[], Work], *, interval_s: float) -> None:
        self._open = open_
        self._interval_s = interval_s
        self._awake = threading.Event()
        self._ending = False
        self._work: Work | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def is_alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begins; the first round comes after an interval."""
        self._thread.start()

    def wake(self) -> None:
        """Has a round made now; never blocks."""
        self._awake.set()

    def end(self) -> None:
        """Has the last round made now; never blocks."""
        self._ending = True
        self._awake.set()

    def join(self, deadline: float) -> None:
        """Waits for the last round, and gives it up at the deadline.

        Args:
            deadline: of ``time.monotonic``.
        """
        self._thread.join(max(0.0, deadline - time.monotonic()))
        if self.is_alive and self._work is not None:
            self._work.give_up()

    def _run(self) -> None:
        try:
            self._work = work = self._open()
        except Exception:
            log.exception("%s could not be opened, and does nothing.", self._thread.name)
            return
        while True:
            self._awake.wait(self._interval_s)
            self._awake.clear()
            last = self._ending
            try:
                work.round(last=last)
            except Exception:
                log.exception("A round of %s has failed.", self._thread.name)
            if last:
                work.give_up()
                return
