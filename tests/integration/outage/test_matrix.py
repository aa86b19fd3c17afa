"""Everything that can happen to Redis, under load: nothing hangs, nothing is lost, and it is over when it is over.

The same faults make the README's table, over processes and for longer: ``python -m tests.bench.outage_matrix``.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import psutil
import pytest

from tests.support.books import Books
from tests.support.gateway_here import gateway_here
from tests.support.outage import FAULTS, Fault, Row, Site, run_row
from tests.support.outage_gateway import FILE_KEYS, Counted, booked, services_of, settled, stored_key, told
from tests.support.paced_load import Client, PacedLoad
from tests.support.simulator import Simulator

#: The deadline of a Redis call, what a request may take beyond it, and a machine on which everything stands still for
#: a moment; gateway, load and proxy share the loop.
DELAY_S = 0.25 + 0.1 + 0.4
RECOVERY_S = 2.0 + 0.4
#: Away, back, and lines of parts that say the same of their own connection.
LOG_LINES = 12
MEMORY_BYTES = 32 * 2**20


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
async def test_under_load(fault: type[Fault], site: Site, simulator: Simulator, keys_file: Path, log: Counted) -> None:
    async with gateway_here(simulator.base_url, redis_url=site.url, keys_file=str(keys_file)) as gateway:
        ids = {name: name for name in FILE_KEYS}
        clients = [Client(name, text) for name, text in FILE_KEYS.items()]
        if not fault.loses:  # a key that Redis has lost is unknown
            text, ids["stored"] = await stored_key(services_of(gateway))
            clients.append(Client("stored", text))
        with closing(PacedLoad(gateway.port, clients, per_second=80)) as load:
            await load.ask_each(times=4)
            warm, memory_bytes = list(load.answers), psutil.Process().memory_info().rss
            row = await run_row(fault(site), load, calm_s=0.6, storm_s=1.2, after_s=2.4)
        await settled(gateway)
        check_clients(row, noticed=fault.noticed)
        assert len(log.lines) <= LOG_LINES, log.lines
        assert psutil.Process().memory_info().rss - memory_bytes < MEMORY_BYTES
        if not fault.loses:
            assert booked(Books(site.server), ids) == told([*warm, *row.answers])


def check_clients(row: Row, *, noticed: bool) -> None:
    """What the clients of a row may have seen."""
    assert not row.undocumented, row.undocumented[:5]
    assert {answer.client for answer in row.failed} <= {"closed"}
    assert bool(row.degraded) == noticed
    assert row.added_s < DELAY_S, row.added_s
    assert row.recovery_s < RECOVERY_S, row.recovery_s
    assert len(row.answers) > 200
