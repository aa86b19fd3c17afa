"""Whoever reads the log may stand still: the gateway answers on, and later says what was lost."""

from __future__ import annotations

import asyncio
import os
import threading

from app.observability.line_writer import MOST_BYTES
from app.observability.log import configure
from tests.support.gateway_here import GatewayHere, gateway_here
from tests.support.outage_gateway import services_of

REQUESTS = 1500
CLIENTS = 10
PATIENCE_S = 60.0


async def ask(gateway: GatewayHere, count: int) -> None:
    """Asks one after the other, over one connection."""
    wire = await gateway.wire()
    for _ in range(count):
        wire.send(b"GET /v1/models HTTP/1.1\r\nhost: gateway\r\n\r\n")
        assert (await wire.reply()).status == 200
    wire.close()


def lines_of(descriptor: int, lines: list[bytes]) -> None:
    with open(descriptor, "rb") as reader:
        lines.extend(reader)


async def test_a_log_that_nobody_reads_stops_no_request() -> None:
    descriptor, writing = os.pipe()
    lines: list[bytes] = []
    reading = threading.Thread(target=lines_of, args=(descriptor, lines))
    with open(writing, "w", encoding="utf-8") as stream:  # noqa: ASYNC230, PTH123
        configure(format="json", stream=stream)
        async with asyncio.timeout(PATIENCE_S), gateway_here("http://127.0.0.1:9", log_format="json") as gateway:
            async with asyncio.TaskGroup() as clients:
                for _ in range(CLIENTS):
                    clients.create_task(ask(gateway, REQUESTS // CLIENTS))
            assert len(services_of(gateway).request_log.latest()) == 200
            reading.start()  # before the end of the gateway, which waits a little for its log
        configure()
    reading.join(PATIENCE_S)
    assert sum(b'"path":"/v1/models"' in line for line in lines) == REQUESTS
    assert sum(map(len, lines)) > 65536, "a pipe holds all of it: nobody had to wait"
    assert sum(map(len, lines)) < MOST_BYTES
    assert all(line.endswith(b"}\n") for line in lines)
