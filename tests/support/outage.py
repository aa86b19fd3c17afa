"""What can happen to Redis, one class a fault: what is done to it, and how it comes back.

A fault acts on a ``Site``: a server of our own, a spare one that is empty, and a fault proxy between the gateway and
them. ``begin`` and ``end`` return once it has happened; what blocks runs in a thread, as gateway and load may share the
event loop. ``run_row`` runs a load before, during and after a fault and says what became of it.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import ClassVar, Final

from msgspec import Struct

from tests.support.fault_proxy import FaultProxy, fault_proxy
from tests.support.paced_load import Answer, PacedLoad
from tests.support.redis import RedisServer, RedisServers

#: Of a server that keeps what it has acknowledged, so that nothing may be missing after it was killed: every write is
#: with the kernel before it is answered. Only a machine that dies would need it on the disk.
KEEPS_EVERYTHING: Final = ("--appendonly", "yes", "--appendfsync", "no", "--maxmemory-policy", "noeviction")

_PASSWORD: Final = "not-the-one-that-the-gateway-has"


class Site:
    """Redis as the gateway sees it: behind a proxy.

    Args:
        server: the server that is used.
        spare: an empty one.
        proxy: between the gateway and the server.
    """

    def __init__(self, server: RedisServer, spare: RedisServer, proxy: FaultProxy) -> None:
        self.server = server
        self.spare = spare
        self.proxy = proxy

    @property
    def url(self) -> str:
        """What the gateway is told."""
        return f"redis://127.0.0.1:{self.proxy.port}"


@asynccontextmanager
async def redis_site(servers: RedisServers) -> AsyncIterator[Site]:
    """Two servers and a proxy; the servers end with ``servers``."""
    server = await asyncio.to_thread(servers, *KEEPS_EVERYTHING)
    spare = await asyncio.to_thread(servers)
    async with fault_proxy(server.socket_file) as proxy:
        yield Site(server, spare, proxy)


class Fault(ABC):
    """Something that happens to Redis.

    Args:
        site: where it happens.

    Attributes:
        title: what is done, for a table.
        loses: whether Redis itself forgets what it had acknowledged.
        noticed: whether requests are answered without it; ``False`` where nobody notices anything.
    """

    title: ClassVar[str]
    loses: ClassVar[bool] = False
    noticed: ClassVar[bool] = True

    def __init__(self, site: Site) -> None:
        self._site = site

    @abstractmethod
    async def begin(self) -> None:
        """It happens."""

    @abstractmethod
    async def end(self) -> None:
        """It is over: the server is there again."""


class Killed(Fault):
    """The server dies and is started again; its append-only file keeps everything."""

    title = "`kill -9`, started again"

    async def begin(self) -> None:
        await asyncio.to_thread(self._site.server.kill)

    async def end(self) -> None:
        await asyncio.to_thread(self._site.server.start)


class Frozen(Fault):
    """The server stays connected, says nothing, and goes on later with what it was sent."""

    title = "`SIGSTOP`, then `SIGCONT`"

    async def begin(self) -> None:
        self._site.server.freeze()

    async def end(self) -> None:
        self._site.server.thaw()


class ScriptsFlushed(Fault):
    """The server forgets all scripts, ten times a second."""

    title = "`SCRIPT FLUSH`, ten times a second"
    noticed = False

    async def begin(self) -> None:
        self._flushing = asyncio.create_task(self._flush())

    async def end(self) -> None:
        self._flushing.cancel()
        await asyncio.gather(self._flushing, return_exceptions=True)

    async def _flush(self) -> None:
        while True:
            await asyncio.to_thread(self._site.server.ask, "SCRIPT", "FLUSH")
            await asyncio.sleep(0.1)


class OutOfMemory(Fault):
    """The server reads and refuses to write."""

    title = "out of memory (`maxmemory`, `noeviction`)"

    async def begin(self) -> None:
        await self._limit("1")

    async def end(self) -> None:
        await self._limit("0")

    async def _limit(self, size_bytes: str) -> None:
        await asyncio.to_thread(self._site.server.ask, "CONFIG", "SET", "maxmemory", size_bytes)


class ReadOnly(Fault):
    """The server has become the replica of one that cannot be reached."""

    title = "read-only replica (`REPLICAOF`)"

    async def begin(self) -> None:
        await asyncio.to_thread(self._site.server.ask, "REPLICAOF", "127.0.0.1", "1")

    async def end(self) -> None:
        await asyncio.to_thread(self._site.server.ask, "REPLICAOF", "NO", "ONE")


class WrongPassword(Fault):
    """The password was changed, and the connections are closed."""

    title = "password changed (`requirepass`, `CLIENT KILL`)"

    async def begin(self) -> None:
        server = self._site.server
        await asyncio.to_thread(server.ask, "CONFIG", "SET", "requirepass", _PASSWORD)
        await asyncio.to_thread(server.ask, "CLIENT", "KILL", "TYPE", "normal", password=_PASSWORD)

    async def end(self) -> None:
        await asyncio.to_thread(self._site.server.ask, "CONFIG", "SET", "requirepass", "", password=_PASSWORD)


class Slow(Fault):
    """Every answer takes longer than the deadline."""

    title = "slow: answers after 400 ms"

    async def begin(self) -> None:
        self._site.proxy.delay_s = 0.2

    async def end(self) -> None:
        self._site.proxy.delay_s = 0.0


class Cutting(Fault):
    """Connections are reset again and again, in the middle of an answer."""

    title = "cutting: reset after 1 to 4 kB of answers"
    _SIZES_BYTES = (3000, 1234, 4001, 2017)

    async def begin(self) -> None:
        self._changing = asyncio.create_task(self._change())

    async def end(self) -> None:
        self._changing.cancel()
        await asyncio.gather(self._changing, return_exceptions=True)
        self._site.proxy.cut_after_bytes = None

    async def _change(self) -> None:
        while True:
            for size_bytes in self._SIZES_BYTES:
                self._site.proxy.cut_after_bytes = size_bytes
                await asyncio.sleep(0.15)


class Unreachable(Fault):
    """The cable is cut: bytes vanish, and no connection says goodbye."""

    title = "cable cut: bytes vanish both ways"

    async def begin(self) -> None:
        self._site.proxy.black_hole = True

    async def end(self) -> None:
        self._site.proxy.black_hole = False


class Deaf(Fault):
    """The server gets everything and runs it; its answers vanish."""

    title = "answers vanish, commands run"

    async def begin(self) -> None:
        self._site.proxy.deaf = True

    async def end(self) -> None:
        self._site.proxy.deaf = False


class FailedOver(Fault):
    """The server dies; an empty one takes its place."""

    title = "`kill -9`, failover to an empty server"
    loses = True

    async def begin(self) -> None:
        await asyncio.to_thread(self._site.server.kill)

    async def end(self) -> None:
        self._site.proxy.lead_to(self._site.spare.socket_file)


FAULTS: Final[tuple[type[Fault], ...]] = (
    Killed,
    Frozen,
    ScriptsFlushed,
    OutOfMemory,
    ReadOnly,
    WrongPassword,
    Slow,
    Cutting,
    Unreachable,
    Deaf,
    FailedOver,
)


class Row(Struct, frozen=True, kw_only=True):
    """What became of a load over one fault; times in seconds.

    Args:
        title: what was done.
        answers: all of them.
        usual_s: the longest wait for an answer before the fault, and the median.
        worst_s: the longest wait from the fault's beginning on.
        degraded: answers that were given without the store.
        recovery_s: from the end of the fault to the last request that was still answered without the store.
    """

    title: str
    answers: list[Answer]
    usual_s: tuple[float, float]
    worst_s: float
    degraded: int
    recovery_s: float

    @property
    def added_s(self) -> float:
        """How much longer the slowest answer took than one usually takes."""
        return max(0.0, self.worst_s - self.usual_s[1])

    @property
    def failed(self) -> list[Answer]:
        """Everything but whole answers."""
        return [answer for answer in self.answers if not answer.whole]

    @property
    def undocumented(self) -> list[Answer]:
        """Failures that are no 503 ``state_unavailable`` with ``retry-after``."""
        return [answer for answer in self.failed if not answer.is_documented]


async def run_row(fault: Fault, load: PacedLoad, *, calm_s: float, storm_s: float, after_s: float) -> Row:
    """Runs a load before, during and after a fault.

    Args:
        fault: what happens.
        load: the requests; has run a little before, so that everything is warm.
        calm_s: seconds before the fault.
        storm_s: how long it lasts.
        after_s: seconds after it.
    """
    load.answers.clear()
    async with load.running():
        await asyncio.sleep(calm_s)
        began_at = time.monotonic()
        await fault.begin()
        await asyncio.sleep(storm_s)
        await fault.end()
        ended_at = time.monotonic()
        await asyncio.sleep(after_s)
    answers = load.answers
    calm = sorted(answer.took_s for answer in answers if answer.ended_at < began_at)
    late = [answer.began_at - ended_at for answer in answers if answer.degraded]
    return Row(
        title=fault.title,
        answers=list(answers),
        usual_s=(calm[-1], calm[len(calm) // 2]),
        worst_s=_longest(answer for answer in answers if answer.ended_at >= began_at),
        degraded=len(late),
        recovery_s=max([0.0, *late]),
    )


def _longest(answers: Iterable[Answer]) -> float:
    return max((answer.took_s for answer in answers), default=0.0)
