"""A tenant whose budget lets nobody in any more: told once as critical, and resolved once the budget is raised."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.processes import eventually
from tests.support.redis import RedisServer, redis_servers, server
from tests.support.replicas import Key, Replicas, running_replicas
from tests.support.webhook_receiver import SECRET, WebhookReceiver, webhook_receiver

__all__ = ["redis_servers", "server"]

#: Of this budget some are let in.
PROMPT = "Count. [[sim: output_tokens=20]]"
MOST_TOKENS = 20
BUDGET_USD = 0.005


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with webhook_receiver() as running:
        yield running


async def spend_all(replicas: Replicas, key: Key) -> int:
    """Asks until there is an answer that the budget does not cover; returns how many it has covered."""
    covered = 0
    async with replicas.client() as client:
        while (answer := await client.chat(replicas.port(), key, PROMPT, max_tokens=MOST_TOKENS)).status == 200:
            covered += 1
            await replicas.settled(key)
    assert (answer.status, answer.error["code"]) == (429, "insufficient_quota")
    return covered


async def test_a_locked_out_key_is_critical_once_and_resolved_once_its_budget_is_raised(
    server: RedisServer, receiver: WebhookReceiver
) -> None:
    settings = {
        "CLAUDE_WRAPPER_HEALTH_MONITORING": "true",
        "CLAUDE_WRAPPER_MONITOR_INTERVAL_S": "0.5",
        "CLAUDE_WRAPPER_ALERT_HOLD_OFF_S": "1",
        "CLAUDE_WRAPPER_ALERT_WEBHOOK_URL": receiver.url,
        "CLAUDE_WRAPPER_ALERT_WEBHOOK_SECRET": SECRET,
    }
    with running_replicas(server, count=2, env=settings) as replicas:
        key = replicas.create_key("acme", budget_total=BUDGET_USD)
        alert = f"budget:acme/{key.id}:total"
        assert await spend_all(replicas, key) > 0
        eventually(lambda: "critical" in receiver.levels(alert), within_s=60, message="nobody is told")
        spent = replicas.books.spend(key.tag, key.id).total
        assert 0 < spent < BUDGET_USD * 1e9

        told = len(receiver.levels(alert))
        replicas.admin("PATCH", f"/admin/keys/{key.id}", {"limits": {"budget_total": 100 * BUDGET_USD}})
        eventually(lambda: len(receiver.levels(alert)) > told, within_s=60, message="nobody is told that it is over")
        assert [level for level in receiver.levels(alert) if level != "warning"] == ["critical", "ok"]
        async with replicas.client() as client:
            assert (await client.chat(replicas.port(), key, PROMPT, max_tokens=MOST_TOKENS)).status == 200
