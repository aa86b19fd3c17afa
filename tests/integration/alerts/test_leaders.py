"""Alerts of two gateways, with a webhook: told once, resolved once, whatever is killed or frozen meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec
import psutil
import pytest

from app.domain.alert_book import AlertBook
from app.domain.alert_notices import signature, signing_key
from app.state import keys
from tests.support.processes import eventually
from tests.support.redis import RedisServer, redis_servers, server
from tests.support.replicas import Key, Replicas, running_replicas
from tests.support.webhook_receiver import SECRET, WebhookReceiver, webhook_receiver

__all__ = ["redis_servers", "server"]

#: From the death of a leader to the first evaluation of the next one (issue 5).
TAKEN_OVER_WITHIN_S = 15.0
#: Enough to say something, and few enough to be outweighed by good ones.
ERRORS = 25
GOOD = 75


@contextmanager
def monitored(server: RedisServer, receiver: WebhookReceiver, **env: str) -> Iterator[Replicas]:
    """Two gateways that evaluate alerts twice a second."""
    settings = {
        "CLAUDE_WRAPPER_HEALTH_MONITORING": "true",
        "CLAUDE_WRAPPER_MONITOR_INTERVAL_S": "0.5",
        "CLAUDE_WRAPPER_ALERT_WINDOW_S": "60",
        "CLAUDE_WRAPPER_ALERT_HOLD_OFF_S": "1",
        "CLAUDE_WRAPPER_ALERT_ERROR_RATE": "0.4",
        "CLAUDE_WRAPPER_ALERT_ERROR_RATE_CRITICAL": "0.5",
        "CLAUDE_WRAPPER_ALERT_WEBHOOK_URL": receiver.url,
        "CLAUDE_WRAPPER_ALERT_WEBHOOK_SECRET": SECRET,
        "CLAUDE_WRAPPER_UPSTREAM_RETRIES": "0",
        "CLAUDE_WRAPPER_REDIS_TIMEOUT_S": "0.5",
    }
    with running_replicas(server, count=2, env=settings | env) as replicas:
        yield replicas


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with webhook_receiver() as running:
        yield running


def book(server: RedisServer) -> AlertBook:
    """How the alerts stand."""
    kept = server.ask("GET", keys.ALERTS)
    return msgspec.json.decode(kept, type=AlertBook) if isinstance(kept, bytes) else AlertBook()


def evaluations(server: RedisServer, count: int = 1, *, by: Callable[[str], bool] = lambda _: True) -> AlertBook:
    """The book after so many further evaluations, the last one by whom the test wants."""
    for _ in range(count):
        before = book(server).evaluated_at
        eventually(
            lambda: (now := book(server)).evaluated_at > before and by(now.leader),  # noqa: B023 - called at once
            within_s=60,
            message="nobody evaluates",
        )
    return book(server)


def leading(replicas: Replicas, leader: str) -> int:
    """Which replica the leader belongs to."""
    pid = int(leader.rpartition(":")[2])
    return next(at for at in range(len(replicas.gateways)) if pid in {worker.pid for worker in replicas.workers(at)})


def kill(replicas: Replicas, replica: int) -> None:
    """``kill -9`` of every process of a replica."""
    gateway = replicas.gateways.pop(replica)
    for process in (psutil.Process(gateway.pid), *gateway.process.children()):
        process.kill()
    gateway.process.wait(within_s=60)


async def ask(replicas: Replicas, key: Key, prompt: str, *, times: int, status: int) -> None:
    """So many requests that are answered with a status, by all replicas in turn."""
    async with replicas.client() as client:
        answers = await asyncio.gather(*(client.chat(replicas.port(), key, prompt) for _ in range(times)))
    assert {answer.status for answer in answers} == {status}


async def test_an_alert_is_told_once_and_resolved_once_though_its_leader_is_killed(
    server: RedisServer, receiver: WebhookReceiver
) -> None:
    with monitored(server, receiver) as replicas:
        key = replicas.create_key("acme")
        await ask(replicas, key, "Fail. [[sim: status=500]]", times=ERRORS, status=500)
        [told] = receiver.wait_for("error_rate", 1)
        assert (told["level"], told["previous"], told["unit"]) == ("critical", "ok", "share")
        eventually(lambda: not book(server).outbox, within_s=30, message="that it was told is not noted")

        first = book(server).leader
        kill(replicas, leading(replicas, first))
        killed_at = time.monotonic()
        evaluations(server, by=lambda leader: leader != first)
        assert time.monotonic() - killed_at < TAKEN_OVER_WITHIN_S
        assert evaluations(server, 3).level == "critical"
        assert receiver.levels("error_rate") == ["critical"]

        await ask(replicas, key, "Be brief.", times=GOOD, status=200)
        receiver.wait_for("error_rate", 2)
        evaluations(server, 3)
        assert receiver.levels("error_rate") == ["critical", "ok"]
        assert [event.level for event in book(server).history if event.alert == "error_rate"] == ["ok", "critical"]
        for sent in receiver.sent:
            headers = {name.lower(): value for name, value in sent.headers.items()}
            assert headers["webhook-signature"] == signature(
                signing_key(SECRET),
                event_id=headers["webhook-id"],
                timestamp=int(headers["webhook-timestamp"]),
                body=sent.body,
            )
        assert all(receiver.url not in gateway.logs and SECRET not in gateway.logs for gateway in replicas.gateways)


@pytest.mark.parametrize("how", ["frozen", "killed"])
def test_an_outage_of_the_store_is_told_once_and_its_end_once(
    server: RedisServer, receiver: WebhookReceiver, how: str
) -> None:
    with monitored(server, receiver) as replicas:
        evaluations(server, 2)
        server.freeze() if how == "frozen" else server.kill()
        [told] = receiver.wait_for("store_away", 1)
        assert told["level"] == "critical"
        time.sleep(3)  # nothing tells that nobody else will tell it, too
        server.thaw() if how == "frozen" else server.start()
        receiver.wait_for("store_away", 2)
        evaluations(server, 6)
        assert receiver.levels("store_away") == ["critical", "ok"]
        logs = "".join(gateway.logs for gateway in replicas.gateways)
        assert logs.count("the state store is away (as seen from") == 1
        assert logs.count("the state store is back") == 1


def test_an_outage_that_takes_the_leader_along_is_told_by_another_one(
    server: RedisServer, receiver: WebhookReceiver
) -> None:
    with monitored(server, receiver) as replicas:
        leader = evaluations(server, 2).leader
        server.kill()
        kill(replicas, leading(replicas, leader))
        receiver.wait_for("store_away", 1)
        server.start()
        receiver.wait_for("store_away", 2)
        evaluations(server, 3)
        assert receiver.levels("store_away") == ["critical", "ok"]
