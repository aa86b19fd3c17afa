"""A key that Anthropic refuses is seen as such, under a name that gives nothing of it away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from app.observability.catalog import CREDENTIAL, REMAINING
from app.upstream.credentials import label_of
from tests.support.processes import eventually
from tests.support.redis import RedisServer, shared_server
from tests.support.replicas import Replicas, running_replicas
from tests.support.scraped import scrape

__all__ = ["shared_server"]

GOOD, REVOKED = "sk-ant-canary-good-0123456789", "sk-ant-canary-revoked-0123456789"


@pytest.fixture(scope="module")
def replicas(shared_server: RedisServer) -> Iterator[Replicas]:
    env = {"ANTHROPIC_API_KEY": GOOD, "CLAUDE_WRAPPER_ANTHROPIC_API_KEYS": REVOKED}
    with running_replicas(shared_server, count=1, env=env, keys=GOOD) as running:
        yield running


async def test_the_one_that_fails_is_told_from_the_one_that_works(replicas: Replicas) -> None:
    key = replicas.create_key("acme")
    async with replicas.client() as client:
        answers = await asyncio.gather(*(client.chat(replicas.ports[0], key, f"About {word}") for word in range(30)))
    assert {answer.status for answer in answers} > {200}

    page = await scrape(replicas.ports[0])
    assert page.total(CREDENTIAL.name, credential=label_of(GOOD)) == 1
    assert page.total(CREDENTIAL.name, credential=label_of(REVOKED)) == 0
    assert page.label_values("credential") == {label_of(GOOD), label_of(REVOKED)}
    assert 0 < page.total(REMAINING.name, credential=label_of(GOOD), limit="requests") <= 1
    assert page.total(REMAINING.name, credential=label_of(REVOKED)) == 0
    assert "canary" not in repr(page.values)

    def told() -> dict[str, str]:
        """What the worker has told all replicas."""
        (figures,) = replicas.admin("GET", "/health/detailed")["worker_figures"]
        return {one["label"]: one["status"] for one in figures["credentials"]}

    expected = {label_of(GOOD): "ok", label_of(REVOKED): "failing"}
    await asyncio.to_thread(eventually, lambda: told() == expected, within_s=30)
    assert "canary" not in json.dumps(replicas.admin("GET", "/health/detailed"))
    assert "canary" not in replicas.gateways[0].logs
