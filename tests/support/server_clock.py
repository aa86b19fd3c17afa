"""A store whose clock is the test's: ``TIME``, also that of the scripts, is answered by the test instead.

A server's clock cannot be set. In the text of a script the one call that reads it is replaced by two arguments, which
are put behind the others at each call; the rest of the script is as it ships, and runs on whichever store is behind.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Iterable, Sequence
from typing import Any

from app.state.connection import Argument, Command, StateConnection
from app.state.scripts import Script, ScriptCall, script_from_text

_TIME = re.compile(rb"(redis\.)?call\('TIME'\)")
_TOLD = b"({ ARGV[#ARGV - 1], ARGV[#ARGV] })"

#: Noon of 2027-01-15, a Friday, in Unix microseconds.
START_US = 1_800_014_400_000_000


class ClockedState:
    """A ``StateConnection`` whose scripts are told the time.

    Args:
        state: the store.
        now_us: Unix microseconds; set it to let time pass.
    """

    def __init__(self, state: StateConnection, now_us: int = START_US) -> None:
        self._state = state
        self._scripts: dict[bytes, Script] = {}
        self.now_us = now_us

    @property
    def available(self) -> bool:
        return self._state.available

    def call(self, *words: Argument, large: bool = False) -> Awaitable[Any]:
        return self._time() if words == ("TIME",) else self._state.call(*words, large=large)

    async def _time(self) -> list[bytes]:
        return [str(part).encode() for part in divmod(self.now_us, 1_000_000)]

    def run_script(
        self, script: Script, keys: Sequence[Argument], args: Sequence[Argument] = (), *, large: bool = False
    ) -> Awaitable[Any]:
        return self._state.run_script(*self._clocked(ScriptCall(script, keys, args)), large=large)

    def pipeline(self, commands: Iterable[Command], *, large: bool = False) -> Awaitable[list[Any]]:
        told = [self._clocked(one) if isinstance(one, ScriptCall) else one for one in commands]
        return self._state.pipeline(told, large=large)

    def _clocked(self, call: ScriptCall) -> ScriptCall:
        script = call.script
        if b"'TIME'" not in script.text:
            return call
        if script.sha1 not in self._scripts:
            text, found = _TIME.subn(_TOLD, script.text)
            assert found == 1
            self._scripts[script.sha1] = script_from_text(script.name, text, echoes=script.echoes)
        seconds, micros = divmod(self.now_us, 1_000_000)
        return ScriptCall(self._scripts[script.sha1], call.keys, (*call.args, seconds, micros))
