"""What every worker says about itself, and the reading of all of them (``/health``, ``claude-wrapper status``).

Each worker publishes every ``PUBLISH_INTERVAL_S``; figures live for ``keys.WORKER_TTL_S``, so a worker that was killed
disappears by itself. Workers of every process, pod and replica that share the store are seen.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from msgspec import Struct

from app.domain.bounded import Count, Measure
from app.domain.credentials import CredentialFigures
from app.state import keys
from app.state.connection import StateConnection
from app.state.scripts import PUBLISH_WORKER, ScriptCall
from app.state.unreadable import UNREADABLE

#: How often a worker publishes; a third of the time to live of what it publishes.
PUBLISH_INTERVAL_S = 5.0
#: From here on the figures of all, a kilobyte each, are a large reply.
_MANY_WORKERS = 50


class WorkerFigures(Struct, frozen=True, kw_only=True):
    """One worker process at one moment. Counts are since its start.

    Whatever was added after the first release has a default: workers of two releases read each other's.

    Args:
        worker_id: unique among all workers of all replicas, also after a restart with the same pid.
        host: host name of the machine or pod.
        pid: process id there.
        started_at: Unix seconds.
        version: version of the gateway.
        requests: requests answered.
        errors: requests answered by an error of the gateway or of the upstream (status 500 and above).
        in_flight: requests being served now, streams included.
        streams: streams open now.
        requests_per_minute: over the last minute.
        mean_response_ms: mean time to answer a request, over the last minute.
        rss_bytes: resident memory.
        cpu_percent: of one core, since the last publication.
        loop_lag_ms: how late the event loop ran its timers, worst since the last publication.
        client_errors: requests answered by an error of the client's (status 400 to 499).
        memory_limit_bytes: what ``host`` may use, its container's limit or the machine's; all its workers share it.
        max_in_flight: requests that this worker serves at a time.
        draining: it finishes what it has, and leaves.
        breaker_open: for this worker the store counts as away.
        redis_failures: calls of the store, and attempts to connect, that failed.
        credentials: the gateway's own Anthropic credentials, as this worker has seen them.
        port: that the gateway listens on; tells gateways of one machine apart. 0: of a release that does not say.
    """

    worker_id: str
    host: str
    pid: Count
    started_at: Measure
    version: str
    requests: Count = 0
    errors: Count = 0
    in_flight: Count = 0
    streams: Count = 0
    requests_per_minute: Measure = 0.0
    mean_response_ms: Measure = 0.0
    rss_bytes: Count = 0
    cpu_percent: Measure = 0.0
    loop_lag_ms: Measure = 0.0
    client_errors: Count = 0
    memory_limit_bytes: Count = 0
    max_in_flight: Count = 0
    draining: bool = False
    breaker_open: bool = False
    redis_failures: Count = 0
    credentials: tuple[CredentialFigures, ...] = ()
    port: Count = 0


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(WorkerFigures).decode


def publish_command(figures: WorkerFigures) -> ScriptCall:
    """Publishes one worker's figures for ``keys.WORKER_TTL_S`` seconds; its reply: how many workers share the store."""
    return ScriptCall(
        PUBLISH_WORKER,
        (keys.worker(figures.worker_id), keys.WORKERS),
        (_encode(figures), keys.WORKER_TTL_S, figures.worker_id),
    )


async def read_all(state: StateConnection) -> list[WorkerFigures]:
    """The figures of every live worker, ordered by host and start; unreadable ones count as absent.

    Raises:
        StateError: the store did not answer.
    """
    worker_ids = await state.call("ZRANGE", keys.WORKERS, 0, -1)
    if not worker_ids:
        return []
    names = (keys.worker(worker_id.decode(errors="replace")) for worker_id in worker_ids)
    values = await state.call("MGET", *names, large=len(worker_ids) > _MANY_WORKERS)
    return sorted(_readable(values), key=lambda figures: (figures.host, figures.started_at, figures.worker_id))


def by_replica(workers: Iterable[WorkerFigures]) -> dict[str, list[WorkerFigures]]:
    """Workers by their replica, in the order of its name: the host or pod, with the port where that has several."""
    places: dict[str, dict[int, list[WorkerFigures]]] = {}
    for worker in workers:
        places.setdefault(worker.host, {}).setdefault(worker.port, []).append(worker)
    return {
        host if len(ports) == 1 else f"{host}:{port}": of_port
        for host, ports in sorted(places.items())
        for port, of_port in sorted(ports.items())
    }


async def withdraw(state: StateConnection, worker_id: str) -> None:
    """Takes a worker's figures away at once, when it stops in good order.

    Raises:
        StateError: they were not taken away, and go by themselves.
    """
    await state.pipeline([("DEL", keys.worker(worker_id)), ("ZREM", keys.WORKERS, worker_id)])


def _readable(values: Iterable[bytes | None]) -> Iterable[WorkerFigures]:
    for value in values:
        if value is None:
            continue
        try:
            yield _decode(value)
        except UNREADABLE:
            continue
