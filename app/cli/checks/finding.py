"""What a check found."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import Enum
from typing import TypeVar

from msgspec import Struct

T = TypeVar("T")


class Outcome(Enum):
    """``WARN`` works, and not as well as it could; ``SKIP`` is a check that does not apply, or could not be made."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"


class Finding(Struct, frozen=True):
    """One line of the doctor's table, and an entry of ``doctor --json``.

    Args:
        name: what was looked at.
        outcome: how it is.
        detail: what was seen; no secrets.
        advice: what to do about a failure or a warning.
    """

    name: str
    outcome: Outcome
    detail: str
    advice: str = ""

    @classmethod
    def ok(cls, name: str, detail: str) -> Finding:
        """It is as it should be."""
        return cls(name, Outcome.OK, detail)

    @classmethod
    def warn(cls, name: str, detail: str, advice: str) -> Finding:
        """It works, and something is to be had by a change."""
        return cls(name, Outcome.WARN, detail, advice)

    @classmethod
    def fail(cls, name: str, detail: str, advice: str) -> Finding:
        """It is not."""
        return cls(name, Outcome.FAIL, detail, advice)

    @classmethod
    def skip(cls, name: str, detail: str) -> Finding:
        """It was not looked at; the detail says why."""
        return cls(name, Outcome.SKIP, detail)


def timed(act: Callable[[], T]) -> tuple[T, str]:
    """The result of ``act``, and how long it took, in words."""
    started = time.perf_counter()
    result = act()
    return result, in_ms(time.perf_counter() - started)


def in_ms(seconds: float) -> str:
    """``3.4 ms``, ``120 ms``."""
    ms = seconds * 1000
    return f"{ms:.1f} ms" if ms < 10 else f"{ms:.0f} ms"
