"""``/metrics`` of three replicas with one store: each tells of itself, and together they tell of all."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Iterator

import pytest

from app.observability.catalog import (
    ADMISSIONS,
    REQUESTS,
    SESSIONS,
    STORE_MEMORY,
    TOKENS,
)
from tests.support.redis import RedisServer, shared_server
from tests.support.replicas import Replicas, running_replicas
from tests.support.scraped import Scraped, fallen, scrape

__all__ = ["shared_server"]

TENANT = "canary-tenant"
REQUESTS_MADE = 150
SCRAPES_OF_EACH = 34


@pytest.fixture(scope="module")
def replicas(shared_server: RedisServer) -> Iterator[Replicas]:
    with running_replicas(shared_server) as running:
        yield running


async def scrape_in_turn(replicas: Replicas) -> list[list[Scraped]]:
    """Pages of each replica, the replicas in turn."""
    pages: list[list[Scraped]] = [[] for _ in replicas.ports]
    for _ in range(SCRAPES_OF_EACH):
        for number, port in enumerate(replicas.ports):
            pages[number].append(await scrape(port))
        await asyncio.sleep(0.02)
    return pages


async def test_the_sum_over_the_replicas_is_what_was_asked(replicas: Replicas) -> None:
    key = replicas.create_key(TENANT)
    before = [await scrape(port) for port in replicas.ports]
    async with replicas.client() as client:
        scraping = asyncio.create_task(scrape_in_turn(replicas))
        answers = []
        for _ in range(REQUESTS_MADE // 10):
            asked = (client.chat(replicas.port(), key, "Hello [[sim: output_tokens=7]]") for _ in range(10))
            answers += await asyncio.gather(*asked)
        pages = await scraping
    assert Counter(answer.status for answer in answers) == {200: REQUESTS_MADE}
    for of_one in pages:
        assert [what for one, next_ in itertools.pairwise(of_one) for what in fallen(one, next_)] == []

    await replicas.settled(key)
    after = [await scrape(port) for port in replicas.ports]

    def risen(name: str, **labels: str) -> float:
        return sum(
            late.total(name, **labels) - early.total(name, **labels) for early, late in zip(before, after, strict=True)
        )

    chat = {"route": "/v1/chat/completions", "status": "200", "tenant_class": "stored"}
    assert risen(f"{REQUESTS.name}_total", **chat) == REQUESTS_MADE
    assert risen(f"{ADMISSIONS.name}_total", verdict="admitted") == REQUESTS_MADE
    assert risen(f"{TOKENS.name}_total", **{"class": "output"}) == 7 * REQUESTS_MADE
    for page in after:
        assert page.total(f"{REQUESTS.name}_total", **chat) > 0
        assert page.total(STORE_MEMORY.name) > 0
        assert (SESSIONS.name, ()) in page.values


async def test_no_page_names_a_tenant_a_key_or_a_prompt(replicas: Replicas) -> None:
    key = replicas.create_key(TENANT)
    async with replicas.client() as client:
        for port in replicas.ports:
            await client.chat(port, key, "canary-prompt", model="canary-model")
            await client.chat(port, key, "canary-prompt", user="canary-user", session_id="canary-session")
    for port in replicas.ports:
        page = await scrape(port)
        shown = repr(page.values)
        assert "canary" not in shown
        assert key.id not in shown
        assert key.tag not in shown
