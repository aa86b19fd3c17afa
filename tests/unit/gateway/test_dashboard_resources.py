"""What all replicas use of what they may."""

from __future__ import annotations

from typing import Any

from app.domain.credentials import CredentialFigures, RateLeft
from app.gateway.cluster import ClusterSample
from app.gateway.dashboard_resources import resources
from app.schemas.dashboard import Resources
from app.state.figures import WorkerFigures
from app.state.store_memory import StoreMemory

NOW = 1000.0
MIB = 1024**2

SAMPLE = ClusterSample(
    sessions=30,
    fullest_sessions=20,
    fullest_tag="t",
    max_sessions=40,
    tenants=3,
    store_memory=StoreMemory(used_bytes=10 * MIB, most_bytes=100 * MIB),
)


def worker(host: str = "a", **figures: Any) -> WorkerFigures:
    known = {"worker_id": host, "pid": 1, "started_at": 900.0, "version": "1", "memory_limit_bytes": 1000 * MIB}
    return WorkerFigures(host=host, **(known | figures))


def shown(*workers: WorkerFigures, sample: ClusterSample | None = SAMPLE) -> Resources:
    return resources(workers, sample=sample, at=NOW, max_sessions=40, store_available=True)


def test_workers_of_a_host_are_one_replica() -> None:
    found = shown(
        worker("b", rss_bytes=100 * MIB, cpu_percent=10.0, in_flight=1, max_in_flight=10, streams=1, loop_lag_ms=1.0),
        worker("a"),
        worker(
            "b", rss_bytes=300 * MIB, cpu_percent=30.0, in_flight=2, max_in_flight=10, loop_lag_ms=9.0, started_at=950
        ),
    )
    assert [replica.host for replica in found.replicas] == ["a", "b"]
    replica = found.replicas[1]
    assert (replica.workers, replica.uptime, replica.cpu_percent, replica.loop_lag_ms) == (2, 100, 40, 9)
    assert (replica.memory.used, replica.memory.max, replica.memory.share) == (400 * MIB, 1000 * MIB, 0.4)
    assert (replica.in_flight.used, replica.in_flight.max, replica.streams) == (3, 20, 1)


def test_the_sums_are_those_of_all_replicas_and_the_memory_that_of_the_fullest() -> None:
    found = shown(
        worker("a", rss_bytes=100 * MIB, cpu_percent=10.0, in_flight=1, max_in_flight=10, streams=1),
        worker("b", rss_bytes=200 * MIB, cpu_percent=5.0, in_flight=4, max_in_flight=10, streams=2),
    )
    assert (found.memory.share, found.cpu, found.streams) == (0.2, 15, 3)
    assert (found.in_flight.used, found.in_flight.max, found.in_flight.share) == (5, 20, 0.25)


def test_a_replica_drains_when_all_its_workers_do_and_is_without_the_store_when_one_is() -> None:
    found = shown(
        worker("a", draining=True),
        worker("a"),
        worker("b", draining=True),
        worker("b", draining=True, breaker_open=True),
    )
    assert [(replica.draining, replica.store_away) for replica in found.replicas] == [(False, False), (True, True)]


def test_a_replica_has_the_release_of_its_youngest_worker() -> None:
    (replica,) = shown(worker(version="1", started_at=1.0), worker(version="2", started_at=2.0)).replicas
    assert replica.version == "2"


def test_workers_of_an_older_release_may_lack_bounds() -> None:
    found = shown(worker(memory_limit_bytes=0, rss_bytes=5))
    assert (found.memory.used, found.memory.share, found.in_flight.share) == (5, None, None)


def test_sessions_and_the_memory_of_the_store_are_those_of_the_sample() -> None:
    found = shown(worker())
    assert found.sessions.fullest is not None
    assert found.store.memory is not None
    assert (found.sessions.live, found.sessions.fullest.share, found.store.memory.share) == (30, 0.5, 0.1)


def test_without_a_sample_they_are_not_known() -> None:
    found = shown(worker(), sample=None)
    assert (found.sessions.live, found.sessions.fullest, found.store.memory) == (None, None, None)
    assert found.sessions.max_per_tenant == 40


def test_what_workers_saw_of_a_credential_is_put_together() -> None:
    rates = (RateLeft(name="requests", limit=100, remaining=25),)
    first = CredentialFigures(label="aa", status="ok", seen_at=990, rates=rates, rates_at=990)
    second = CredentialFigures(label="aa", status="failing", since_at=995, seen_at=995)
    (key,) = shown(worker("a", credentials=(first,)), worker("b", credentials=(second,))).upstream
    assert (key.label, key.state, key.since) == ("aa", "failing", 995)
    assert [(limit.limit, limit.remaining, limit.max, limit.share) for limit in key.limits] == [
        ("requests", 25, 100, 0.25)
    ]


def test_what_was_left_of_a_limit_long_ago_is_not_shown() -> None:
    rates = (RateLeft(name="requests", limit=100, remaining=25),)
    (key,) = shown(worker(credentials=(CredentialFigures(label="aa", rates=rates, rates_at=NOW - 61),))).upstream
    assert (key.limits, key.since) == ([], None)
