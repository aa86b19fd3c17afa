"""Plain answers a second of the simulator on one core, with and without validation.

    python -m tests.bench.simulator_speed [--rounds 3] [--seconds 2] [--connections 16]

The simulator has one core, the load the other. What must hold: 5,000 a second with validation, 10,000 without.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics

import psutil
import uvloop

from tests.bench.bench import GATEWAY_CORE, LOAD_CORE, print_head, print_table, started_on
from tests.bench.load import PlainLoad, ask_once, percentile, post
from tests.support.simulator import running_simulator

LEAST = {True: 5_000, False: 10_000}


def request() -> bytes:
    prompt = ("Tell me about the sea. " * 50)[:1024]
    body = {"model": "claude-haiku-4-5", "max_tokens": 1024, "messages": [{"role": "user", "content": prompt}]}
    return post("/v1/messages", json.dumps(body).encode(), b"x-api-key: k\r\nanthropic-version: 2023-06-01\r\n")


async def main(options: argparse.Namespace) -> None:
    os.sched_setaffinity(0, {LOAD_CORE})
    rows, slow = [], []
    for validate in (True, False):
        with started_on(GATEWAY_CORE, running_simulator(validate=validate)) as simulator:
            size = len(await ask_once(simulator.port, request()))
            load = PlainLoad(simulator.port, request(), answer_bytes=size, connections=options.connections)
            await load.open()
            await load.run(0.5)
            process, rates, latencies, cpu_us = psutil.Process(simulator.process.pid), [], [], []
            for _ in range(options.rounds):
                before = process.cpu_times()
                took = await load.run(options.seconds)
                after, count = process.cpu_times(), len(load.latencies)
                rates.append(count / took)
                cpu_us.append(1e6 * (after.user + after.system - before.user - before.system) / count)
                latencies += load.latencies
            load.close()
        rate, cpu = statistics.median(rates), statistics.median(cpu_us)
        if 1e6 / cpu < LEAST[validate]:
            slow.append(validate)
        rows.append(
            (
                "yes" if validate else "no",
                f"{rate:.0f} ({min(rates):.0f}-{max(rates):.0f})",
                f"{cpu:.0f} ({min(cpu_us):.0f}-{max(cpu_us):.0f})",
                f"{1e6 / cpu:.0f}",
                LEAST[validate],
                f"{1000 * percentile(latencies, 0.5):.2f}",
                f"{1000 * percentile(latencies, 0.99):.2f}",
                len(latencies),
                load.failed,
            )
        )
    columns = "validation,answers/s,CPU us/answer,answers per CPU second,at least,p50 ms,p99 ms,requests,failed"
    print_table(columns.split(","), rows)
    if slow:
        raise SystemExit("The simulator is slower than it must be.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--connections", type=int, default=16)
    print_head("Speed of the simulator on one core")
    uvloop.run(main(parser.parse_args()))
