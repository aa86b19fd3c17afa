"""What a Redis outage costs the clients of a gateway: each fault of ``tests.support.outage`` under load.

    python -m tests.bench.outage_matrix [--per-second 100] [--only Frozen,Killed]

One gateway with two workers, before a simulator without pace; a third of the requests are streams. Three clients in
turn: a key of the keys file with ``fail_open``, one with ``fail_closed``, and a stored key that the workers have seen
(which an empty server does not know, so not in the last row). Redis fails after 2 s, for 3 s.

- failed: everything but a whole answer. All of them have to be 503 ``state_unavailable`` with ``retry-after``, and of
  the ``fail_closed`` key; else the command says so and ends with 1.
- added: the longest wait for the first byte from the fault on, less the median before it. Both workers share a core,
  load, proxy, Redis and simulator the other; how long an answer takes at worst without any fault stands beside it.
- recovered: from the end of the fault to the last request that either worker still answered without Redis.
- lines: of the log of both workers.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import uvloop

from app.schemas.admin import NewKey
from app.state import api_keys, connect
from tests.bench.bench import GATEWAY_CORE, print_head, print_table, simulator, started_on
from tests.support.gateway import RunningGateway, running_gateway
from tests.support.outage import FAULTS, Fault, Row, redis_site, run_row
from tests.support.outage_gateway import FILE_KEYS, TENANT
from tests.support.paced_load import Client, PacedLoad
from tests.support.redis import RedisServers
from tests.support.simulator import Simulator

CALM_S, STORM_S, AFTER_S = 2.0, 3.0, 3.0


@contextmanager
def two_workers(redis_url: str, upstream: Simulator) -> Iterator[RunningGateway]:
    """The gateway, with a key for either policy."""
    keys = [{"key": text, "id": name, "tenant": TENANT, "outage": f"fail_{name}"} for name, text in FILE_KEYS.items()]
    with tempfile.TemporaryDirectory() as directory:
        keys_file = Path(directory) / "keys.yaml"
        keys_file.write_text(json.dumps({"keys": keys}))
        environment = {
            "ANTHROPIC_BASE_URL": upstream.base_url,
            "ANTHROPIC_API_KEY": "sk-bench",
            "CLAUDE_WRAPPER_REDIS_URL": redis_url,
            "CLAUDE_WRAPPER_KEYS_FILE": str(keys_file),
        }
        with running_gateway("--workers", "2", "--no-interactive", env=environment) as gateway:
            yield gateway


def memory_bytes(gateway: RunningGateway) -> int:
    """Resident memory of both workers."""
    return sum(process.memory_info().rss for process in psutil.Process(gateway.pid).children())


async def stored_client(redis_url: str) -> Client:
    """A client with a key in Redis."""
    state = connect(redis_url)
    issued = await api_keys.create(state, NewKey(tenant=TENANT, name="stored"), actor="bench", now=time.time())
    await state.close()
    return Client("stored", issued.text)


async def run(options: argparse.Namespace) -> list[str]:
    """Prints the table; what should not have happened."""
    faults = [fault for fault in FAULTS if not options.only or fault.__name__ in options.only.split(",")]
    servers = RedisServers()
    try:
        with simulator(validate=False, output_tokens=40) as upstream:
            async with redis_site(servers) as site:
                started = started_on(GATEWAY_CORE, two_workers(site.url, upstream))
                gateway = await asyncio.to_thread(started.__enter__)
                try:
                    stored = await stored_client(site.server.url)
                    rows, problems = [], []
                    for fault in faults:
                        row, cells = await row_of(fault(site), gateway, stored, options.per_second)
                        rows.append(cells)
                        problems += problems_of(row)
                finally:
                    await asyncio.to_thread(started.__exit__, None, None, None)
    finally:
        servers.end()
    columns = ["what was done", "requests", "failed", "of them 503", "added, ms", "usual worst, ms", "recovered, s"]
    print_table([*columns, "lines", "memory"], rows)
    return problems


async def row_of(
    fault: Fault, gateway: RunningGateway, stored: Client, per_second: float
) -> tuple[Row, tuple[object, ...]]:
    """One fault under load, and its row of the table."""
    clients = [Client(name, text) for name, text in FILE_KEYS.items()]
    if not fault.loses:
        clients.append(stored)
    with closing(PacedLoad(gateway.port, clients, per_second=per_second)) as load:
        await load.ask_each(times=20)  # over so many connections that both workers have seen every key
        lines, memory = gateway.logs.count("\n"), memory_bytes(gateway)
        row = await run_row(fault, load, calm_s=CALM_S, storm_s=STORM_S, after_s=AFTER_S)
    documented = sum(answer.is_documented for answer in row.failed)
    return row, (
        row.title,
        len(row.answers),
        len(row.failed),
        documented,
        f"{1000 * row.added_s:.0f}",
        f"{1000 * row.usual_s[0]:.0f}",
        f"{row.recovery_s:.1f}",
        gateway.logs.count("\n") - lines,
        f"{(memory_bytes(gateway) - memory) / 2**20:+.1f} MB",
    )


def problems_of(row: Row) -> list[str]:
    """What the contract does not allow."""
    return [
        *(f"{row.title}: {answer}" for answer in row.undocumented),
        *(f"{row.title}: a failure with fail_open: {answer}" for answer in row.failed if answer.client != "closed"),
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--per-second", type=float, default=100.0)
    parser.add_argument("--only", default="", help="names of faults, with commas between them")
    print_head("Redis fails, under load")
    found = uvloop.run(run(parser.parse_args()))
    print("\n".join(found[:20]) or "No failure but documented 503s of the key with `fail_closed`.")
    sys.exit(bool(found))
