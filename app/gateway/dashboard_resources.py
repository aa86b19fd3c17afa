"""What all replicas use of what they may, from what their workers and the store say."""

from __future__ import annotations

from collections.abc import Sequence

from app.domain.credentials import RATES_GOOD_FOR_S, CredentialFigures, together
from app.domain.dashboard_figures import used
from app.gateway.cluster import ClusterSample
from app.schemas import dashboard as wire
from app.state.figures import WorkerFigures, by_replica


def resources(
    workers: Sequence[WorkerFigures],
    *,
    sample: ClusterSample | None,
    at: float,
    max_sessions: int,
    store_available: bool,
) -> wire.Resources:
    """What is used, now.

    Args:
        workers: those of all replicas, one at least.
        sample: what they share; ``None`` while that is not known.
        at: now, Unix seconds.
        max_sessions: that a tenant may have.
        store_available: the store answers.
    """
    replicas = [_replica(host, of_host, at) for host, of_host in by_replica(workers).items()]
    memory = sample.store_memory if sample is not None else None
    return wire.Resources(
        memory=max((replica.memory for replica in replicas), key=lambda memory: memory.share or 0.0),
        cpu=round(sum(replica.cpu_percent for replica in replicas), 1),
        in_flight=_in_flight(workers),
        streams=sum(worker.streams for worker in workers),
        sessions=wire.Sessions(
            live=sample.sessions if sample is not None else None,
            fullest=used(sample.fullest_sessions, sample.max_sessions) if sample is not None else None,
            max_per_tenant=max_sessions,
        ),
        store=wire.Store(
            available=store_available,
            memory=used(memory.used_bytes, memory.most_bytes) if memory is not None else None,
        ),
        upstream=[_key(figures, at) for figures in together(one for worker in workers for one in worker.credentials)],
        replicas=replicas,
    )


def _replica(host: str, workers: Sequence[WorkerFigures], at: float) -> wire.Replica:
    latest = max(workers, key=lambda worker: worker.started_at)
    return wire.Replica(
        host=host,
        version=latest.version,
        workers=len(workers),
        uptime=round(max(0.0, at - min(worker.started_at for worker in workers)), 1),
        requests_per_minute_now=round(sum(worker.requests_per_minute for worker in workers), 2),
        in_flight=_in_flight(workers),
        streams=sum(worker.streams for worker in workers),
        memory=used(sum(worker.rss_bytes for worker in workers), max(worker.memory_limit_bytes for worker in workers)),
        cpu_percent=round(sum(worker.cpu_percent for worker in workers), 1),
        loop_lag_ms=round(max(worker.loop_lag_ms for worker in workers), 2),
        draining=all(worker.draining for worker in workers),
        store_away=any(worker.breaker_open for worker in workers),
    )


def _in_flight(workers: Sequence[WorkerFigures]) -> wire.Used:
    return used(sum(worker.in_flight for worker in workers), sum(worker.max_in_flight for worker in workers))


def _key(figures: CredentialFigures, at: float) -> wire.UpstreamKey:
    """A credential; what was left of its limits a while ago says nothing any more."""
    rates = figures.rates if at - figures.rates_at < RATES_GOOD_FOR_S else ()
    return wire.UpstreamKey(
        label=figures.label,
        state=figures.status,
        since=figures.since_at or None,
        limits=[
            wire.UpstreamLimit(limit=rate.name, remaining=rate.remaining, max=rate.limit, share=rate.share)
            for rate in rates
        ],
    )
