"""The connection to a Redis or Valkey server that everything in this process shares.

All calls of one turn of the event loop leave in one write and are answered over the same connection, in order: 8 us of
CPU for a mix of four commands at 32 concurrent requests, against 105 us with a pool of connections (DESIGN.md section
3). Commands over 64 KB, and calls that say ``large=True``, take a second connection, so that a large session never
stands before a small call. The breaker is shared: it is one store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from importlib import import_module
from time import monotonic
from typing import Any, NoReturn

from app.domain.histograms import Histogram
from app.state.breaker import Breaker
from app.state.connection import Argument, Command, StoreStatus
from app.state.error_replies import unavailable
from app.state.lane import Lane
from app.state.outage_log import OutageLog
from app.state.scripts import Script, ScriptCall, ScriptWords
from app.state.urls import Address
from app.state.wire import pack, pack_script

#: A command over this size takes the second connection.
LARGE_BYTES = 64 * 1024


class MultiplexedConnection:
    """A ``StateConnection`` over two multiplexed connections to one server; connects on the first call.

    Args:
        address: the server.
        timeout_s: deadline of a call.
        queue_limit: commands waiting or in flight, per connection, before new ones fail at once.
        client_name: shown by ``CLIENT LIST`` on the server; the second connection adds ``-large``.
        times: gets the time of every call that is answered, in seconds from its sending.
    """

    def __init__(
        self, address: Address, *, timeout_s: float, queue_limit: int, client_name: str, times: Histogram
    ) -> None:
        outage = OutageLog(address.place, clock=monotonic)
        self._breaker = Breaker(
            clock=monotonic, on_open=self._on_breaker_open, on_away=outage.away, on_back=outage.back
        )
        self._address = address
        self._small, self._large = (
            Lane(
                address,
                self._breaker,
                timeout_s=timeout_s,
                queue_limit=queue_limit,
                client_name=name,
                keeps=keeps,
                times=times,
            )
            for name, keeps in ((client_name, True), (f"{client_name}-large", False))
        )
        self._closed = False

    @property
    def available(self) -> bool:
        """Whether a call would be attempted."""
        return not self._breaker.is_open and not self._closed

    @property
    def status(self) -> StoreStatus:
        """A snapshot for health reports."""
        breaker, lanes = self._breaker, (self._small, self._large)
        return StoreStatus(
            kind="redis",
            available=self.available,
            connected=self._small.connected,
            breaker=breaker.state,
            away_s=breaker.open_s,
            last_failure=breaker.last_failure,
            failures=breaker.failures,
            openings=breaker.openings,
            refused=sum(lane.turned_away for lane in lanes),
            in_flight=sum(lane.in_flight for lane in lanes),
        )

    def call(self, *words: Argument, large: bool = False) -> asyncio.Future[Any]:
        """One command; see ``StateConnection``."""
        packed = pack(words)
        lane = self._large if large or len(packed) > LARGE_BYTES else self._small
        return lane.send(packed)

    def run_script(
        self, script: Script, keys: Sequence[Argument], args: Sequence[Argument] = (), *, large: bool = False
    ) -> asyncio.Future[Any]:
        """One script; see ``StateConnection``."""
        call = (script, keys, args)
        packed = pack_script(call)
        lane = self._large if large or len(packed) > LARGE_BYTES else self._small
        return lane.send(packed, call)

    def pipeline(self, commands: Iterable[Command], *, large: bool = False) -> asyncio.Future[list[Any]]:
        """Several commands in one write; see ``StateConnection``."""
        packed: list[bytes] = []
        scripts: list[ScriptWords | None] = []
        for command in commands:
            if isinstance(command, ScriptCall):
                packed.append(pack_script(command))
                scripts.append(command)
            else:
                packed.append(pack(command))
                scripts.append(None)
        lane = self._large if large or sum(map(len, packed)) > LARGE_BYTES else self._small
        return lane.send_all(packed, scripts)

    async def listen(
        self, *channels: str, on_subscribed: Callable[[], None], on_message: Callable[[bytes], None]
    ) -> NoReturn:
        """Hears channels over a connection of redis-py; see ``StateConnection``."""
        if self._closed:
            raise unavailable("the connection is closed")
        await asyncio.to_thread(import_module, "redis.asyncio")  # slow the first time, and requests are being served
        from app.state.subscription import hear, server_connection

        await hear(
            partial(server_connection, self._address), channels, on_subscribed=on_subscribed, on_message=on_message
        )

    async def close(self) -> None:
        """Lets calls in flight finish, then disconnects."""
        self._closed = True
        await asyncio.gather(self._small.close(), self._large.close())

    def _on_breaker_open(self) -> None:
        for lane in (self._small, self._large):
            lane.fail_waiting()
        self._small.keep()
