"""This worker's figures in the form that it shares with the other workers."""

from __future__ import annotations

from collections.abc import Sequence

from app.domain.credentials import CredentialFigures
from app.observability.memory import own_limit_bytes
from app.observability.process import ProcessFigures
from app.observability.version import VERSION
from app.state.connection import StoreStatus
from app.state.figures import WorkerFigures


def worker_figures(
    process: ProcessFigures,
    *,
    worker_id: str,
    host: str,
    store: StoreStatus | None = None,
    max_in_flight: int = 0,
    credentials: Sequence[CredentialFigures] = (),
) -> WorkerFigures:
    """What this worker says about itself now.

    Args:
        process: the figures of this process.
        worker_id: unique among all workers of all replicas.
        host: host name of the machine or pod.
        store: how its connection to the store is doing.
        max_in_flight: requests that it serves at a time.
        credentials: the gateway's own Anthropic credentials, as it has seen them.
    """
    now = process.snapshot()
    return WorkerFigures(
        worker_id=worker_id,
        host=host,
        pid=now.pid,
        started_at=now.started_at,
        version=VERSION,
        requests=now.requests,
        errors=now.errors,
        in_flight=now.in_flight,
        streams=now.streams,
        requests_per_minute=60 * now.requests_per_s,
        mean_response_ms=now.mean_response_ms,
        rss_bytes=now.rss_bytes,
        cpu_percent=now.cpu_percent,
        loop_lag_ms=now.loop_lag_ms,
        client_errors=now.client_errors,
        memory_limit_bytes=own_limit_bytes(),
        max_in_flight=max_in_flight,
        draining=now.draining,
        breaker_open=store is not None and store.breaker == "open",
        redis_failures=store.failures if store is not None else 0,
        credentials=tuple(credentials),
    )
