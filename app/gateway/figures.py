"""This worker's figures in the form that it shares with the other workers."""

from __future__ import annotations

from app.gateway.services import Services
from app.observability.memory import own_limit_bytes
from app.observability.version import VERSION
from app.state.figures import WorkerFigures


def worker_figures(services: Services, *, worker_id: str, host: str) -> WorkerFigures:
    """What this worker says about itself now.

    Args:
        services: its rooms.
        worker_id: unique among all workers of all replicas.
        host: host name of the machine or pod.
    """
    now, store = services.process.snapshot(), services.state.status
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
        max_in_flight=services.config.max_concurrent_requests,
        draining=now.draining,
        breaker_open=store.breaker == "open",
        redis_failures=store.failures,
        credentials=services.credentials.states(),
        port=services.config.port,
    )
