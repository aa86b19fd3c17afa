"""What a worker says about itself."""

from __future__ import annotations

from app.config import Config
from app.gateway.figures import worker_figures
from app.upstream.credentials import CredentialBook, label_of
from tests.support.services import NOW, StateAway, make_services


def test_a_worker_tells_of_its_requests_its_store_and_its_credentials() -> None:
    services = make_services(config=Config(max_concurrent_requests=7), state=StateAway())
    services.credentials = CredentialBook(["sk-ant-one"], now=lambda: NOW)
    services.credentials.heard("sk-ant-one", 401, {})
    process = services.process
    process.begin()
    process.end(404, failed=False, response_s=0.1, duration_s=0.1)
    process.begin()
    process.draining = True
    told = worker_figures(services, worker_id="w", host="pod")
    assert (told.worker_id, told.host) == ("w", "pod")
    assert (told.requests, told.client_errors, told.in_flight, told.max_in_flight) == (1, 1, 1, 7)
    assert (told.draining, told.breaker_open, told.redis_failures) == (True, True, 0)
    assert [(one.label, one.status) for one in told.credentials] == [(label_of("sk-ant-one"), "failing")]
    assert told.memory_limit_bytes >= told.rss_bytes > 0
