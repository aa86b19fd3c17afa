"""What was used while Redis was away is booked once: kept in memory, repeated, not charged beside a lost lease."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from app.state import limits
from tests.support.books import Books
from tests.support.chat_wire import Wire, chat, post, until
from tests.support.gateway_here import GatewayHere, gateway_here
from tests.support.outage import Deaf, Fault, Frozen, Killed, OutOfMemory, Site
from tests.support.outage_gateway import FILE_KEYS, TAG, away, booked, services_of, settled, told
from tests.support.paced_load import MODEL, Client, PacedLoad
from tests.support.simulator import Simulator

OPEN = Client("open", FILE_KEYS["open"])
IDS = {"open": "open"}


@asynccontextmanager
async def gateway_and_load(
    site: Site, simulator: Simulator, keys_file: Path, **settings: Any
) -> AsyncIterator[tuple[GatewayHere, PacedLoad]]:
    """A gateway that is connected to Redis, and a client whose key goes on without it."""
    async with gateway_here(simulator.base_url, redis_url=site.url, keys_file=str(keys_file), **settings) as gateway:
        with closing(PacedLoad(gateway.port, [OPEN], per_second=0)) as load:
            await load.ask_each()
            yield gateway, load


def billed(simulator: Simulator, outcomes: Iterable[str] = ("completed",)) -> Counter[tuple[str, str]]:
    """What the simulator would bill, by the names of ``booked``."""
    invoice = simulator.settled_invoice()
    lines = [invoice[outcome] for outcome in outcomes]
    return Counter(
        {
            ("open", "requests"): sum(line["calls"] for line in lines),
            ("open", "input"): sum(line["input_tokens"] for line in lines),
            ("open", "output"): sum(line["output_tokens"] for line in lines),
        }
    )


async def begun_stream(gateway: GatewayHere, seconds: float, *, client: Client = OPEN) -> Wire:
    """A stream of so many seconds that has begun; its end is ``data: [DONE]``."""
    pace = f"[[sim: output_tokens={int(40 * seconds)} tokens_per_second=40]]"
    wire = await gateway.wire()
    wire.send(post(chat(pace, model=MODEL, stream=True), headers=f"authorization: Bearer {client.key}\r\n"))
    status, _ = await wire.head()
    assert status == 200
    await wire.chunk()
    return wire


@pytest.mark.parametrize("fault", [Deaf, Frozen], ids=lambda fault: fault.__name__)
async def test_what_ran_and_was_not_answered_is_charged_once(
    fault: type[Fault], site: Site, simulator: Simulator, keys_file: Path
) -> None:
    async with gateway_and_load(site, simulator, keys_file) as (gateway, load):
        storm = fault(site)
        await storm.begin()
        await load.ask_each(times=20)  # all of them at once: their admissions are under way when the deadline passes
        await load.ask_each(times=5)
        await storm.end()
        await settled(gateway)
        assert all(answer.whole for answer in load.answers)
        assert len(load.answers) == 26
        assert booked(Books(site.server), IDS) == told(load.answers) == billed(simulator)


async def test_a_settlement_without_an_answer_is_made_once(site: Site, simulator: Simulator, keys_file: Path) -> None:
    async with gateway_and_load(site, simulator, keys_file) as (gateway, _):
        streams = [await begun_stream(gateway, 0.5) for _ in range(5)]
        storm = Deaf(site)
        await storm.begin()  # admitted before, settled now
        for wire in streams:
            assert b"[DONE]" in await wire.until(b"[DONE]")
        await asyncio.sleep(0.3)
        await storm.end()
        await settled(gateway)
        assert booked(Books(site.server), IDS) == billed(simulator)
        assert billed(simulator)["open", "requests"] == 6


async def test_streams_across_the_death_of_the_server_are_booked_once(
    site: Site, simulator: Simulator, keys_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One ends while it is away, one ends after it is back; one begins while it is away, and is renewed by then."""
    monkeypatch.setattr(limits, "RENEW_EVERY_S", 0.5)
    async with gateway_and_load(site, simulator, keys_file) as (gateway, _):
        streams = [await begun_stream(gateway, 0.4), await begun_stream(gateway, 4.0)]
        storm = Killed(site)
        await storm.begin()
        await away(gateway)
        streams.append(await begun_stream(gateway, 4.0))
        await streams[0].until(b"[DONE]")
        await storm.end()
        books = Books(site.server)
        await until(lambda: books.live(TAG) == 2)  # the one of which Redis did not know is renewed like the other
        for wire in streams[1:]:
            await wire.until(b"[DONE]")
        await settled(gateway)
        assert booked(books, IDS) == billed(simulator)
        assert billed(simulator)["open", "requests"] == 4


async def test_cancelled_calls_are_booked_once_too(site: Site, simulator: Simulator, keys_file: Path) -> None:
    async with gateway_and_load(site, simulator, keys_file) as (gateway, _):
        storm = Killed(site)
        before = [await begun_stream(gateway, 30.0) for _ in range(3)]
        await storm.begin()
        await away(gateway)
        after = [await begun_stream(gateway, 30.0) for _ in range(3)]
        await asyncio.sleep(0.5)
        for wire in (*before, *after):
            wire.reset()
        await gateway.settled()
        await storm.end()
        await settled(gateway)
        found, bill = booked(Books(site.server), IDS), billed(simulator, ("completed", "cancelled"))
        for class_ in ("requests", "input"):
            assert found["open", class_] == bill["open", class_]
        assert found["open", "output"] == pytest.approx(bill["open", "output"], rel=0.1, abs=8 * len(before + after))


async def test_a_full_server_keeps_neither_memory_nor_settlements_growing(
    site: Site, simulator: Simulator, keys_file: Path
) -> None:
    async with gateway_and_load(site, simulator, keys_file, redis_timeout_s=5.0) as (gateway, load):
        ledger = services_of(gateway).ledger
        storm = OutOfMemory(site)
        await storm.begin()
        for _ in range(4):
            await load.ask_each(times=50)
            await asyncio.sleep(0.6)  # a turn of the ledger, which tries and fails
            assert ledger.unsettled <= 3  # one sum by model and key, and what was under way
        await storm.end()
        await settled(gateway)
        assert ledger.lost == 0
        assert booked(Books(site.server), IDS) == told(load.answers) == billed(simulator)


async def test_an_empty_server_is_told_what_was_used_since_it_was_lost(
    site: Site, simulator: Simulator, keys_file: Path
) -> None:
    async with gateway_and_load(site, simulator, keys_file) as (gateway, load):
        await settled(gateway)
        site.server.kill()
        await away(gateway)
        await load.ask_each(times=10)
        site.proxy.lead_to(site.spare.socket_file)
        await settled(gateway)
        assert booked(Books(site.spare), IDS) == told(load.answers[1:])


async def test_what_could_not_be_settled_before_the_end_of_the_worker_is_told(
    site: Site, simulator: Simulator, keys_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with gateway_and_load(site, simulator, keys_file) as (gateway, load):
        await settled(gateway)
        site.server.kill()
        await away(gateway)
        await load.ask_each(times=3)
    assert "1 settlements could not be made before the end of this worker." in caplog.text
