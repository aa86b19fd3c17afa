"""Figures of all workers, on the store in memory; expiry by a clock that is moved."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from app.domain.credentials import CredentialFigures
from app.state import connect, keys
from app.state.connection import StateConnection
from app.state.figures import WorkerFigures, by_replica, publish_command, read_all, withdraw
from tests.support.worker_figures import publish


@pytest.fixture
async def state() -> AsyncIterator[StateConnection]:
    connection = connect("memory://")
    yield connection
    await connection.close()


def figures(worker_id: str, **changed: object) -> WorkerFigures:
    return WorkerFigures(
        **{"worker_id": worker_id, "host": "host", "pid": 1, "started_at": 1.0, "version": "1.0"} | changed  # type: ignore[arg-type]
    )


async def test_what_is_published_is_read(state: StateConnection) -> None:
    published = figures("a", requests=7, errors=1, in_flight=2, streams=1, requests_per_minute=0.5, rss_bytes=2**40)
    await publish(state, published)
    assert await read_all(state) == [published]


async def test_nobody_published_means_nobody_there(state: StateConnection) -> None:
    assert await read_all(state) == []


async def test_workers_of_all_hosts_are_read_in_order(state: StateConnection) -> None:
    workers = [
        figures("a", host="one", started_at=2.0),
        figures("b", host="one", started_at=3.0),
        figures("c", host="two"),
    ]
    for worker in reversed(workers):
        await publish(state, worker)
    assert await read_all(state) == workers


async def test_a_later_publication_replaces_the_earlier(state: StateConnection) -> None:
    await publish(state, figures("a", requests=1))
    await publish(state, figures("a", requests=2))
    assert [worker.requests for worker in await read_all(state)] == [2]


async def test_figures_that_have_expired_are_gone(state: StateConnection) -> None:
    await publish(state, figures("a"))
    await publish(state, figures("b"))
    await state.call("DEL", keys.worker("a"))  # what expiry does
    assert [worker.worker_id for worker in await read_all(state)] == ["b"]


async def test_a_publication_drops_expired_workers_from_the_index(state: StateConnection) -> None:
    await state.call("ZADD", keys.WORKERS, 1, "killed")
    await publish(state, figures("a"))
    assert await state.call("ZRANGE", keys.WORKERS, 0, -1) == [b"a"]


def with_field(name: str, value: str) -> bytes:
    """Figures as they are written, but for one."""
    known = {"worker_id": '"a"', "host": '"h"', "pid": "1", "started_at": "1.0", "version": '"1"'}
    return ("{" + ",".join(f'"{field}":{text}' for field, text in (known | {name: value}).items()) + "}").encode()


@pytest.mark.parametrize(
    "damaged",
    [
        *(b"", b"not json", b"{}", b'{"worker_id": 1}', b"\xff\xfe", b'{"worker_id":"\xff"}'),
        with_field("rss_bytes", "1" + "0" * 400),
        with_field("rss_bytes", "-1"),
        with_field("cpu_percent", "1.7e308"),
        with_field("started_at", "1e999"),
        with_field("credentials", '[{"label":"x","calls":' + "9" * 400 + "}]"),
        with_field("credentials", '[{"label":"x","rates":[{"name":"n","limit":1,"remaining":' + "9" * 400 + "}]}]"),
        with_field("novelty", "[" * 5000 + "]" * 5000),
    ],
)
async def test_unreadable_figures_count_as_absent(state: StateConnection, damaged: bytes) -> None:
    await publish(state, figures("a"))
    await publish(state, figures("b"))
    await state.call("SET", keys.worker("a"), damaged, "EX", 60)
    assert [worker.worker_id for worker in await read_all(state)] == ["b"]


async def test_the_name_of_a_worker_that_cannot_be_read_hides_no_other(state: StateConnection) -> None:
    await publish(state, figures("a"))
    await state.call("ZADD", keys.WORKERS, 2**40, b"\xff\xfe")
    assert [worker.worker_id for worker in await read_all(state)] == ["a"]


async def test_figures_of_a_newer_release_are_read_for_what_we_know(state: StateConnection) -> None:
    await publish(state, figures("a"))
    newer = b'{"worker_id":"a","host":"h","pid":1,"started_at":1.0,"version":"9","requests":3,"unheard_of":true}'
    await state.call("SET", keys.worker("a"), newer, "EX", 60)
    assert [worker.requests for worker in await read_all(state)] == [3]


async def test_a_withdrawn_worker_is_gone_at_once(state: StateConnection) -> None:
    await publish(state, figures("a"))
    await withdraw(state, "a")
    assert await read_all(state) == []
    assert await state.call("ZCARD", keys.WORKERS) == 0


async def test_nothing_is_kept_without_a_time_to_live(state: StateConnection) -> None:
    await publish(state, figures("a"))
    for key in (keys.worker("a"), keys.WORKERS):
        assert 0 < await state.call("TTL", key) <= keys.WORKER_TTL_S


async def test_figures_of_the_release_before_are_read_with_what_it_did_not_know(state: StateConnection) -> None:
    await publish(state, figures("a"))
    older = b'{"worker_id":"a","host":"h","pid":1,"started_at":1.0,"version":"1","requests":3}'
    await state.call("SET", keys.worker("a"), older, "EX", 60)
    (read,) = await read_all(state)
    assert (read.memory_limit_bytes, read.credentials, read.draining) == (0, (), False)


async def test_the_command_in_a_pipeline_publishes_too(state: StateConnection) -> None:
    published = figures("a", credentials=(CredentialFigures(label="0123abcd", status="failing", since_at=1.5),))
    assert await state.pipeline([publish_command(published)]) == [1]
    assert await read_all(state) == [published]


def test_a_replica_is_a_host_and_gateways_of_one_machine_are_told_apart_by_their_ports() -> None:
    workers = [
        figures("c", host="vm", port=8001),
        figures("d", host="vm", port=8000),
        figures("e", host="vm", port=8001),
        figures("a", host="pod", port=8000),
        figures("b", host="old"),
    ]
    found = {name: [worker.worker_id for worker in of_one] for name, of_one in by_replica(workers).items()}
    assert found == {"old": ["b"], "pod": ["a"], "vm:8000": ["d"], "vm:8001": ["c", "e"]}
    assert list(found) == sorted(found)
