"""``/metrics`` of one gateway with three workers, under load: whichever answers, nothing falls and nothing is missing.

The load tool's answers are the truth that the page is compared with. What a page may lack is what a worker that was
killed had counted since it last handed over.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence

import psutil
import pytest

from app.observability.catalog import (
    CATALOG,
    DURATION,
    FIRST_TOKEN,
    HTTP_DURATION,
    IN_FLIGHT,
    REDIS,
    REQUESTS,
    RSS,
    TOKENS,
    UPSTREAM_CALLS,
)
from app.observability.handover import EVERY_S
from tests.support.counted_load import Answer, CountedLoad
from tests.support.gateway import RunningGateway, running_gateway
from tests.support.processes import eventually
from tests.support.scraped import ACCEPT_OPENMETRICS, Scraped, fallen, problems, scrape

WORKERS = 3
SCRAPES = 100
PER_SECOND = 40.0

#: However busy the machine is, figures are handed over within this time.
HANDED_OVER_WITHIN_S = 30.0


@pytest.fixture
def gateway() -> Iterator[RunningGateway]:
    with running_gateway("--mock", "--workers", str(WORKERS)) as running:
        yield running


def workers_of(gateway: RunningGateway) -> set[int]:
    """Process ids of the workers."""
    own = " ".join(psutil.Process(gateway.pid).cmdline())
    return {pid for pid, command in gateway.process.commands().items() if command == own}


async def scrape_often(port: int, times: int = SCRAPES) -> list[Scraped]:
    """Pages, one after the other, every other one in the other format."""
    pages = []
    for number in range(times):
        pages.append(await scrape(port, accept=ACCEPT_OPENMETRICS if number % 2 else ""))
        await asyncio.sleep(0.02)
    return pages


def fallen_in(pages: Sequence[Scraped]) -> list[str]:
    """What has fallen from any page to the next."""
    return [what for before, after in itertools.pairwise(pages) for what in fallen(before, after)]


def requests_in(page: Scraped, **labels: str) -> float:
    return page.total(f"{REQUESTS.name}_total", **labels)


async def caught_up(port: int, requests: int) -> Scraped:
    """A page once every worker has handed over; fails where it never shows so many requests."""
    deadline = time.monotonic() + HANDED_OVER_WITHIN_S
    while requests_in(page := await scrape(port)) != requests:
        assert time.monotonic() < deadline, f"{requests_in(page)} instead of {requests}"
        await asyncio.sleep(0.1)
    return page


async def test_a_hundred_scrapes_never_fall_and_the_sum_is_what_was_answered(gateway: RunningGateway) -> None:
    async with CountedLoad(gateway.port, per_second=PER_SECOND).running() as load:
        pages = await scrape_often(gateway.port)
    assert fallen_in(pages) == []
    answers = load.answers
    assert len(answers) > SCRAPES
    assert all(answer.whole for answer in answers)

    page = await caught_up(gateway.port, len(answers))
    streams = sum(answer.streamed for answer in answers)
    used = sum((answer.used for answer in answers), Counter[str]())
    assert requests_in(page, route="/v1/chat/completions", status="200", model="claude-haiku-4-5") == len(answers)
    assert page.total(f"{HTTP_DURATION.name}_count") == len(answers)
    assert page.total(f"{DURATION.name}_count") == len(answers)
    assert page.total(f"{FIRST_TOKEN.name}_count") == streams > 0
    assert page.total(f"{UPSTREAM_CALLS.name}_total") == len(answers)
    assert page.total(f"{TOKENS.name}_total", **{"class": "output"}) == used["output"]
    assert page.total(f"{TOKENS.name}_total", **{"class": "input"}) == used["input"]
    assert page.total(f"{REDIS.name}_count") >= len(answers)


async def test_the_page_tells_of_every_worker_in_both_formats_and_is_sound(gateway: RunningGateway) -> None:
    async with CountedLoad(gateway.port, per_second=PER_SECOND).running():
        pages = await scrape_often(gateway.port, 10)
    assert [problem for page in pages for problem in problems(page)] == []
    page = pages[-1]
    assert {metric.name for metric in CATALOG} <= {family.name for family in page.families}
    assert page.label_values("worker") == {str(number + 1) for number in range(WORKERS)}
    measured = [psutil.Process(pid).memory_info().rss for pid in workers_of(gateway)]
    assert page.total(RSS.name) == pytest.approx(sum(measured), rel=0.5)
    assert page.total(IN_FLIGHT.name) <= 50


async def test_a_worker_that_is_killed_takes_no_more_than_its_last_second_along(gateway: RunningGateway) -> None:
    before = workers_of(gateway)
    async with CountedLoad(gateway.port, per_second=PER_SECOND).running() as load:
        pages = await scrape_often(gateway.port, 30)
        await asyncio.sleep(2 * EVERY_S)
        os.kill(min(before), signal.SIGKILL)
        killed_at = time.monotonic()
        pages += await scrape_or_none(gateway.port, 70)
    await asyncio.to_thread(eventually, lambda: len(workers_of(gateway)) == WORKERS, within_s=30)
    assert fallen_in(pages) == []

    whole = [answer for answer in load.answers if answer.whole]
    cut = len(load.answers) - len(whole)
    at_stake = [answer for answer in whole if is_at_stake(answer, killed_at)]
    deadline = time.monotonic() + HANDED_OVER_WITHIN_S
    while not len(whole) - len(at_stake) <= (counted := requests_in(await scrape(gateway.port))):
        assert time.monotonic() < deadline, f"{counted} of {len(whole)}, of which {len(at_stake)} may be missing"
        await asyncio.sleep(0.1)
    page = await scrape(gateway.port)
    assert fallen(pages[-1], page) == []
    assert requests_in(page) <= len(whole) + cut
    assert page.label_values("worker") == {str(number + 1) for number in range(WORKERS)}


def is_at_stake(answer: Answer, killed_at: float) -> bool:
    """Whether it may have been counted by the killed worker alone; twice the time, as the machine is busy."""
    return killed_at - 2 * EVERY_S <= answer.ended_at <= killed_at + EVERY_S


async def scrape_or_none(port: int, times: int) -> list[Scraped]:
    """Pages as far as they come: a connection to a worker that is being killed may break."""
    pages = []
    for _ in range(times):
        try:
            pages.append(await scrape(port))
        except (OSError, EOFError):
            continue
        finally:
            await asyncio.sleep(0.02)
    return pages


async def test_workers_that_leave_in_good_order_take_nothing_along(gateway: RunningGateway) -> None:
    before = workers_of(gateway)
    async with CountedLoad(gateway.port, per_second=PER_SECOND).running() as load:
        pages = await scrape_often(gateway.port, 10)
        gateway.process.send(signal.SIGHUP)
        deadline = time.monotonic() + 90
        while workers_of(gateway) & before:
            assert time.monotonic() < deadline, "the old workers do not leave"
            pages += await scrape_or_none(gateway.port, 5)
        pages += await scrape_often(gateway.port, 10)
    assert fallen_in(pages) == []
    assert all(answer.whole for answer in load.answers)
    page = await caught_up(gateway.port, len(load.answers))
    assert fallen(pages[-1], page) == []
    assert len({dict(labels)["worker"] for name, labels in page.values if name == RSS.name}) == WORKERS
