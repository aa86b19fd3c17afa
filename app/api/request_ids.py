"""Request ids: a client's own where it is of sane shape, else ours: short, unique over all workers, sorted by time."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable
from itertools import count

#: What is kept of a client's own ``x-request-id``. Anything else could end up in logs as something that it is not.
SANE = re.compile(rb"[A-Za-z0-9._:-]{1,128}")


class RequestIds:
    """Makes ids such as ``cw-019ab3f2c1d5-e0f3a21c-1f``: milliseconds, this process, a running number.

    Args:
        now_ns: wall clock in nanoseconds.
        process_tag: what tells this process from all others; random by default.
    """

    def __init__(self, *, now_ns: Callable[[], int] = time.time_ns, process_tag: str = "") -> None:
        self._now_ns = now_ns
        self._process_tag = process_tag or secrets.token_hex(4)
        self._numbers = count(1)

    def new(self) -> str:
        """A new id."""
        return f"cw-{self._now_ns() // 1_000_000:012x}-{self._process_tag}-{next(self._numbers):x}"

    def keep_or_new(self, presented: bytes | None) -> str:
        """The client's own id where it is of sane shape, else a new one.

        Args:
            presented: value of the request's ``x-request-id``.
        """
        if presented is not None and SANE.fullmatch(presented):
            return presented.decode("ascii")
        return self.new()
