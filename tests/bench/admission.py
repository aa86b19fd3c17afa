"""CPU of letting a request in and settling it: of the gateway's process, and of Redis.

    python -m tests.bench.admission [--pairs 20000] [--rounds 5] [--callers 1,16,64]

One pair is one ``Admission.admit`` and one ``Ledger.settle``, as every request makes them, through the real connection
to a real server on the other core. Figures are the median of the rounds and the worst one: microseconds of CPU (user
and system) of this process and of the server's process per pair.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import uvloop
from msgspec import UNSET

from app.config import Config
from app.domain.auth import ANONYMOUS, Caller, read_key
from app.domain.limits import Demand, Use
from app.gateway.model_table import load_served_models
from app.gateway.services import Services
from app.main import create_services
from app.observability.metrics import WorkerMetrics
from app.observability.seats import only_seat
from app.schemas.admin import KeyLimits, NewKey
from app.state import api_keys, connect
from app.upstream.credentials import CredentialBook
from tests.bench.bench import GATEWAY_CORE, LOAD_CORE, print_head, print_table
from workers import embedded_state

DEMAND = Demand(
    model="claude-sonnet-5-5",
    model_names=("claude-sonnet-5-5", "sonnet", "claude-sonnet-latest", "claude-sonnet"),
    input_tokens=300,
    input_nano=600_000,
    worst_input_nano=4_000_000,
    output_nano_per_token=11_000,
    max_tokens=1000,
    least_tokens=1,
)
USE = Use(input_tokens=290, output_tokens=120, nano=1_780_000, complete=True)

#: So high that nothing is ever refused.
LIMITS = KeyLimits(
    requests_per_minute=100_000_000,
    input_tokens_per_minute=100_000_000,
    output_tokens_per_minute=100_000_000,
    concurrency=100_000,
    budget_day=900_000.0,
    budget_month=900_000.0,
    budget_total=900_000.0,
)


class Measured:
    """Samples of one row: CPU us per pair, of us and of the server."""

    def __init__(self) -> None:
        self.own: list[float] = []
        self.server: list[float] = []

    def cells(self) -> list[str]:
        return [f"{statistics.median(values):.0f} ({max(values):.0f})" for values in (self.own, self.server)]


async def stored_caller(services: Services) -> Caller:
    """A key with every limit there is, as a request presents it."""
    wire = NewKey(tenant="bench", name="bench", limits=LIMITS, expires=UNSET)
    issued = await api_keys.create(services.state, wire, actor="bench", now=time.time())
    text = read_key(issued.text.encode())
    assert text is not None
    return Caller(
        source="stored", tenant="", tag=text.tag, key_id=text.id, secret_hash=text.secret_hash, verified=False
    )


async def measure(
    services: Services, caller: Caller, server: psutil.Process, *, callers: int, pairs: int, rounds: int
) -> Measured:
    async def one() -> None:
        permit = await services.admission.admit(caller, DEMAND)
        services.ledger.settle(permit, USE)

    async def run(count: int) -> None:
        for _ in range(count):
            await one()

    measured = Measured()
    await run(200)
    for _ in range(rounds):
        own, theirs = time.process_time(), _cpu_s(server)
        await asyncio.gather(*(run(pairs // callers) for _ in range(callers)))
        while services.ledger.unsettled:  # noqa: ASYNC110 - the last few, at once
            await asyncio.sleep(0)
        count = pairs // callers * callers
        measured.own.append((time.process_time() - own) * 1e6 / count)
        measured.server.append((_cpu_s(server) - theirs) * 1e6 / count)
    return measured


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def main(url: str, pid: int, options: argparse.Namespace) -> None:
    state = connect(url, timeout_s=5)
    config = Config(redis_url=url, secret="x" * 32)
    nobody: Any = None  # nothing is sent to Anthropic
    services = create_services(
        config,
        models=load_served_models(config),
        upstream=nobody,
        state=state,
        credentials=CredentialBook((), now=time.time),
        metrics=WorkerMetrics(),
        seat=only_seat(),
        now=time.time,
    )
    server = psutil.Process(pid)
    rows = []
    for name, caller in (
        ("no limits", ANONYMOUS),
        ("stored key, all limits and budgets", await stored_caller(services)),
    ):
        for callers in map(int, options.callers.split(",")):
            measured = await measure(
                services, caller, server, callers=callers, pairs=options.pairs, rounds=options.rounds
            )
            rows.append([name, callers, *measured.cells()])
    print_table(["request", "callers", "gateway, CPU us per pair: median (worst)", "Redis, the same"], rows)
    await state.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--callers", default="1,16,64")
    options = parser.parse_args()
    print_head("Admission and settlement")
    with tempfile.TemporaryDirectory() as directory:
        server = embedded_state.start(Path(directory))
        try:
            os.sched_setaffinity(server.pid or 0, {LOAD_CORE})
            os.sched_setaffinity(0, {GATEWAY_CORE})
            uvloop.run(main(server.url, server.pid or 0, options))
        finally:
            server.stop()
