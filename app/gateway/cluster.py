"""What all replicas share, and how full it is: live sessions, and the memory of the store.

Asked for by ``/metrics``, the dashboard and the monitor, each as often as it likes: the store is asked every
``SAMPLE_EVERY_S`` at most, and answers from bounded work. Source: DESIGN.md section 9.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct

from app.domain import minutes
from app.errors import StateError
from app.state.connection import StateConnection
from app.state.figures import WorkerFigures, by_replica
from app.state.session_counts import count_live_sessions
from app.state.store_memory import StoreMemory, read_store_memory
from app.state.watched import seated

log = logging.getLogger(__name__)

#: A sample counts for this long.
SAMPLE_EVERY_S: Final = 10.0
#: Where there was no answer, the store is asked again after this long.
RETRY_S: Final = 1.0


class ClusterSample(Struct, frozen=True, kw_only=True):
    """What all replicas share, at one moment.

    Args:
        sessions: live ones, of all tenants that were counted.
        fullest_sessions: live ones of the tenant that has most.
        fullest_tag: that tenant's tag; empty without any.
        max_sessions: live ones that a tenant may have.
        tenants: tenants that were counted: those that used sessions last, ``watched.MOST_SEATED`` at most.
        store_memory: of the store; ``None`` where it is inside this process, or does not say.
    """

    sessions: int
    fullest_sessions: int
    fullest_tag: str
    max_sessions: int
    tenants: int
    store_memory: StoreMemory | None

    @property
    def sessions_share(self) -> float:
        """Of its sessions, how many the fullest tenant has."""
        return self.fullest_sessions / self.max_sessions


class ClusterBook:
    """Keeps the latest sample for whoever asks in this process.

    Args:
        state: the store.
        max_sessions: live sessions that a tenant may have.
        monotonic: a clock in seconds that never goes back.
    """

    def __init__(self, state: StateConnection, *, max_sessions: int, monotonic: Callable[[], float]) -> None:
        self._state = state
        self._max_sessions = max_sessions
        self._monotonic = monotonic
        self._sample: ClusterSample | None = None
        self._sampled_at = float("-inf")
        self._sampling = asyncio.Lock()

    async def sample(self) -> ClusterSample | None:
        """What all replicas share, at most ``SAMPLE_EVERY_S`` old; ``None`` while the store is away. Never raises."""
        async with self._sampling:  # whoever comes meanwhile waits for the same answer
            counts_for_s = RETRY_S if self._sample is None else SAMPLE_EVERY_S
            if self._monotonic() - self._sampled_at >= counts_for_s:
                self._sample = await self._take()
                self._sampled_at = self._monotonic()
            return self._sample

    async def _take(self) -> ClusterSample | None:
        try:
            live = await count_live_sessions(self._state, await seated(self._state))
        except StateError:
            return None
        fullest_tag = max(live, key=live.__getitem__, default="")
        return ClusterSample(
            sessions=sum(live.values()),
            fullest_sessions=live.get(fullest_tag, 0),
            fullest_tag=fullest_tag,
            max_sessions=self._max_sessions,
            tenants=len(live),
            store_memory=await self._memory(),
        )

    async def _memory(self) -> StoreMemory | None:
        try:
            return await read_store_memory(self._state)
        except StateError as exc:
            log.debug("The memory of the state store is not known. %s", exc.message)
            return None


def memory_shares(workers: Sequence[WorkerFigures]) -> dict[str, float]:
    """By host or pod, the share of its memory that its workers have resident; pages that they share count for each.

    Args:
        workers: those of all replicas; hosts without a known limit are left out.
    """
    rss: dict[str, int] = {}
    limits: dict[str, int] = {}
    for worker in workers:
        rss[worker.host] = rss.get(worker.host, 0) + worker.rss_bytes
        limits[worker.host] = max(limits.get(worker.host, 0), worker.memory_limit_bytes)
    return {host: used / limits[host] for host, used in rss.items() if limits[host]}


def peaks_of(sample: ClusterSample | None, workers: Sequence[WorkerFigures]) -> dict[str, int]:
    """The gauges of this minute, for ``app.state.minutes.add_minute_command``; what is not known is left out.

    Args:
        sample: what all replicas share.
        workers: figures of all of them.
    """
    peaks = {minutes.REPLICAS: len(by_replica(workers))}
    shares = {minutes.MEMORY_SHARE: max(memory_shares(workers).values(), default=None)}
    if sample is not None:
        peaks[minutes.SESSIONS_LIVE] = sample.sessions
        shares[minutes.SESSIONS_SHARE] = sample.sessions_share
        shares[minutes.STORE_MEMORY_SHARE] = sample.store_memory.share if sample.store_memory is not None else None
    return peaks | {name: round(1000 * share) for name, share in shares.items() if share is not None}
