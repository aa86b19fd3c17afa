"""What a worker says about itself."""

from __future__ import annotations

from app.domain.credentials import CredentialFigures
from app.gateway.figures import worker_figures
from app.observability.process import ProcessFigures
from app.state.connection import StoreStatus


def test_a_worker_tells_of_its_requests_its_store_and_its_credentials() -> None:
    process = ProcessFigures()
    process.begin()
    process.end(404, failed=False, response_s=0.1, duration_s=0.1)
    process.begin()
    process.draining = True
    store = StoreStatus(kind="redis", available=False, connected=False, breaker="open", failures=3)
    credential = CredentialFigures(label="0123abcd", status="failing")
    told = worker_figures(process, worker_id="w", host="pod", store=store, max_in_flight=7, credentials=[credential])
    assert (told.worker_id, told.host) == ("w", "pod")
    assert (told.requests, told.client_errors, told.in_flight, told.max_in_flight) == (1, 1, 1, 7)
    assert (told.draining, told.breaker_open, told.redis_failures) == (True, True, 3)
    assert told.credentials == (credential,)
    assert told.memory_limit_bytes >= told.rss_bytes > 0
