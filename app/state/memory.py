"""The state store inside this process, for one worker on a machine without a server: ``memory://``.

The same interface over ``fakeredis`` with its Lua, in process (its TCP server is not binary-safe). Nothing is shared
with another process and nothing survives this one. Imported only when asked for: fakeredis costs 0.27 s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from time import monotonic
from typing import Any, NoReturn

import fakeredis
import redis.exceptions

from app.domain.histograms import Histogram
from app.errors import StateError
from app.state.connection import Argument, Command, StoreStatus
from app.state.error_replies import UnknownScript, error_from_reply, unavailable
from app.state.scripts import Script, ScriptCall
from app.state.subscription import hear

#: redis-py takes the code off the texts of these errors and keeps it as their class.
_CODE_OF_CLASS = {
    redis.exceptions.NoScriptError: "NOSCRIPT",
    redis.exceptions.OutOfMemoryError: "OOM",
    redis.exceptions.ReadOnlyError: "READONLY",
    redis.exceptions.BusyLoadingError: "LOADING",
    redis.exceptions.NoPermissionError: "NOPERM",
}


class MemoryConnection:
    """A ``StateConnection`` without a server; each instance is a store of its own.

    Args:
        times: gets the time of every call, in seconds; ``None``: nobody wants to know.
    """

    def __init__(self, *, times: Histogram | None = None) -> None:
        self._times = times if times is not None else Histogram()
        self._client = fakeredis.FakeAsyncRedis(server=fakeredis.FakeServer(), protocol=2)
        self._client.response_callbacks.clear()  # replies as they are on the wire
        self._closed = False

    @property
    def available(self) -> bool:
        """Always, until it is closed."""
        return not self._closed

    @property
    def status(self) -> StoreStatus:
        """A snapshot for health reports."""
        return StoreStatus(kind="memory", available=self.available, connected=self.available)

    async def call(self, *words: Argument, large: bool = False) -> Any:
        """One command; see ``StateConnection``."""
        if self._closed:
            raise unavailable("the connection is closed")
        task = asyncio.current_task()
        cancelled_before = task.cancelling() if task is not None else 0
        refused: StateError | None = None
        began_at = monotonic()
        try:
            reply = await self._client.execute_command(*words)  # type: ignore[no-untyped-call]
        except redis.exceptions.RedisError as exc:
            code = _CODE_OF_CLASS.get(type(exc))
            refused = error_from_reply(f"{code} " if code else str(exc))
        self._times.observe(monotonic() - began_at)
        if task is not None and task.cancelling() > cancelled_before:
            raise asyncio.CancelledError  # NOTE: fakeredis 2.40 swallows it, and its caller would run on for ever
        if refused is not None:
            raise refused
        return reply

    async def run_script(
        self, script: Script, keys: Sequence[Argument], args: Sequence[Argument] = (), *, large: bool = False
    ) -> Any:
        """One script; see ``StateConnection``."""
        try:
            return await self.call("EVALSHA", script.sha1, len(keys), *keys, *args)
        except UnknownScript:
            return await self.call("EVAL", script.text, len(keys), *keys, *args)

    async def pipeline(self, commands: Iterable[Command], *, large: bool = False) -> list[Any]:
        """Several commands, one after the other; see ``StateConnection``."""
        return [await self._value(command) for command in commands]

    async def _value(self, command: Command) -> Any:
        try:
            if isinstance(command, ScriptCall):
                return await self.run_script(*command)
            return await self.call(*command)
        except StateError as error:
            if self._closed:
                raise
            return error

    async def listen(
        self, *channels: str, on_subscribed: Callable[[], None], on_message: Callable[[bytes], None]
    ) -> NoReturn:
        """Hears channels; see ``StateConnection``."""
        if self._closed:
            raise unavailable("the connection is closed")
        connect = self._client.connection_pool.make_connection
        await hear(connect, channels, on_subscribed=on_subscribed, on_message=on_message)

    async def close(self) -> None:
        """Forgets everything."""
        self._closed = True
        await self._client.aclose()
