"""The store in memory, of which a test can hold back, lose and refuse single steps.

A step goes by the name of its script, or by the first word of its command: ``join_flight``, ``GET``. All steps of a
pipeline travel together: what befalls one of them befalls all.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from msgspec.structs import replace

from app.errors import StateError, StateUnavailable
from app.state import connect
from app.state.connection import Argument, Command, StoreStatus
from app.state.scripts import Script, ScriptCall

#: As often as it is asked.
ALWAYS = 1_000_000


class HeldStep:
    """A step whose answers do not come.

    Attributes:
        reached: it was done, and its answer is held back.
    """

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self._let_go = asyncio.Event()

    def let_go(self) -> None:
        """Its answers come."""
        self._let_go.set()

    async def wait(self) -> None:
        self.reached.set()
        await self._let_go.wait()


class SteeredState:
    """The store in memory.

    Args:
        state: shared with other workers; without it a store of its own.

    Attributes:
        steps: what it was asked, in order.
        refused: steps that are not done, and how often; the call fails.
        lost: steps that are done, and whose answer is lost on the way back, and how often.
        denied: commands that the store answers with an error, while those beside them in a pipeline are done.
        dead: it is known to be away: calls fail where they are made.
        away_s: seconds for which it has been known to be.
    """

    def __init__(self, state: Any = None) -> None:
        self._state = connect("memory://") if state is None else state
        self._held: dict[str, HeldStep] = {}
        self._slow: dict[str, HeldStep] = {}
        self.steps: list[str] = []
        self.refused: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self.denied: Counter[str] = Counter()
        self.dead = False
        self.away_s = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._state, name)

    @property
    def available(self) -> bool:
        return not self.dead

    @property
    def status(self) -> StoreStatus:
        status: StoreStatus = self._state.status
        return replace(status, available=not self.dead, away_s=self.away_s)

    def hold(self, step: str) -> HeldStep:
        """From now on the answers of a step are held back."""
        held = self._held[step] = HeldStep()
        return held

    def slow(self, step: str) -> HeldStep:
        """From now on a step is long on its way: what is asked later, by another connection, is done before it."""
        slow = self._slow[step] = HeldStep()
        return slow

    def free(self) -> None:
        """Every step is answered again."""
        for one in (*self._held.values(), *self._slow.values()):
            one.let_go()
        self._held.clear()
        self._slow.clear()
        self.refused.clear()
        self.lost.clear()

    def call(self, *words: Argument, large: bool = False) -> Any:
        return self._steered([str(words[0])], lambda: self._state.call(*words, large=large))

    def run_script(
        self, script: Script, names: Sequence[Argument], args: Sequence[Argument] = (), *, large: bool = False
    ) -> Any:
        return self._steered([script.name], lambda: self._state.run_script(script, names, args, large=large))

    def pipeline(self, commands: Iterable[Command], *, large: bool = False) -> Any:
        commands = list(commands)
        steps = [one.script.name if isinstance(one, ScriptCall) else str(one[0]) for one in commands]
        return self._steered(steps, lambda: self._state.pipeline(commands, large=large))

    def _steered(self, steps: list[str], ask: Callable[[], Any]) -> asyncio.Future[Any]:
        if self.dead:
            raise StateUnavailable("The state store is not available: as the test wants it.", retry_after_s=1)
        self.steps += steps
        if _befalls(self.refused, steps):
            return asyncio.ensure_future(_refused())
        # What has left is done, whoever still waits for it.
        return asyncio.ensure_future(self._answer(steps, asyncio.ensure_future(self._done(steps, ask))))

    async def _done(self, steps: list[str], ask: Callable[[], Any]) -> Any:
        for step in steps:
            if step in self._slow:
                await self._slow[step].wait()
        reply = await ask()
        if _befalls(self.denied, steps):
            return [StateError("OOM command not allowed when used memory > 'maxmemory'.")] * len(steps)
        return reply

    async def _answer(self, steps: list[str], asked: asyncio.Future[Any]) -> Any:
        reply = await asyncio.shield(asked)
        for step in steps:
            if step in self._held:
                await self._held[step].wait()
        if _befalls(self.lost, steps):
            raise StateUnavailable("The state store did not answer in time.", retry_after_s=1)
        return reply


async def _refused() -> Any:
    raise StateUnavailable("The state store is not available: as the test wants it.", retry_after_s=1)


def _befalls(what: Counter[str], steps: Iterable[str]) -> bool:
    """Whether it befalls one of these steps, once."""
    for step in steps:
        if what[step] > 0:
            what[step] -= 1
            return True
    return False
