"""A state store that answers its scripts as a test says, and remembers what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

from app.errors import StateUnavailable
from app.state.connection import Argument
from app.state.scripts import Script


class Asked(NamedTuple):
    """One call of a script."""

    script: str
    keys: Sequence[Argument]
    args: Sequence[Argument]


class ScriptedState:
    """Answers in turn: a list is the reply (the id of the call is put before it), an exception fails the call, and
    ``...`` never answers. When the answers are used up, ``done`` is the reply.

    Attributes:
        available: ``False``: calls fail where they are made.
        asked: the calls so far, but for those that failed at once.
    """

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.available = True
        self.asked: list[Asked] = []

    def run_script(
        self, script: Script, keys: Sequence[Argument], args: Sequence[Argument] = (), *, large: bool = False
    ) -> asyncio.Future[Any]:
        if not self.available:
            raise StateUnavailable("The state store is not available: as the test wants it.", retry_after_s=1)
        self.asked.append(Asked(script.name, keys, args))
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        answer = self.answers.pop(0) if self.answers else [b"done"]
        if isinstance(answer, asyncio.CancelledError):
            future.cancel()
        elif isinstance(answer, Exception):
            future.set_exception(answer)
        elif answer is not ...:
            future.set_result([args[0], *answer])
        return future

    def calls(self, script: str) -> list[Asked]:
        """The calls of one script."""
        return [one for one in self.asked if one.script == script]
