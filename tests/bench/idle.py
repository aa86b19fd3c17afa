"""What a gateway costs that does nothing: time from start to ready, memory and CPU of each worker.

    python -m tests.bench.idle [--times 5] [--workers 2] [--seconds 30] [--requests 200]

Ready: from the start of the process to the printed block, when ``/health/ready`` is 200 on all workers. Idle: a store,
protection and an upstream are set, nobody asks. Memory is stated for a worker that was just started and for one that
has answered some requests, as what a first request allocates stays; ``uss`` is what no other process shares. Bounds of
issue 5: ready < 2 s, CPU < 1 % of a core, memory <= 100 MB; the command fails where one does not hold.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Mapping, Sequence

import psutil
import uvloop
from msgspec import Struct

from tests.bench.bench import print_head, print_table, simulator, state_server
from tests.bench.load import ask_once, chat_request
from tests.support.gateway import running_gateway

READY_S = 2.0
CPU_PERCENT = 1.0
MEMORY_MB = 100.0

#: What a worker does behind its readiness (imports, first connections) is over by then.
SETTLED_AFTER_S = 5.0


class Memory(Struct, frozen=True, kw_only=True):
    """Memory of one process, in MB of 2**20 bytes."""

    rss: float
    uss: float


def workers_of(master_pid: int) -> list[psutil.Process]:
    """gunicorn's workers: the children that were forked, not started."""
    master = psutil.Process(master_pid)
    return [child for child in master.children() if child.cmdline() == master.cmdline()]


def memory_of(processes: Sequence[psutil.Process]) -> list[Memory]:
    figures = [process.memory_full_info() for process in processes]
    return [Memory(rss=figure.rss / 2**20, uss=figure.uss / 2**20) for figure in figures]


def cpu_s(processes: Sequence[psutil.Process]) -> list[float]:
    """User and system time of each so far."""
    return [sum(process.cpu_times()[:2]) for process in processes]


def idle_percent(processes: Sequence[psutil.Process], seconds: float) -> list[float]:
    """CPU of each over a time, as percent of a core."""
    before = cpu_s(processes)
    time.sleep(seconds)
    return [100 * (after - first) / seconds for first, after in zip(before, cpu_s(processes), strict=True)]


def ready_s(settings: Mapping[str, str]) -> float:
    """Seconds from the start of the process to ready."""
    began = time.perf_counter()
    with running_gateway("--no-interactive", env=settings):
        return time.perf_counter() - began


def shown(values: Sequence[float], unit: str, bound: float) -> tuple[str, str, str, str]:
    """Median and worst of some figures, and whether the worst keeps the bound."""
    worst = max(values)
    kept = "yes" if worst <= bound else "NO"
    return f"{statistics.median(values):.2f} {unit}", f"{worst:.2f} {unit}", f"{bound:g} {unit}", kept


async def ask(port: int, requests: int) -> None:
    """Plain requests and streams in turn, each over a connection of its own, so that every worker gets some."""
    for number in range(requests):
        await ask_once(port, chat_request("sea", stream=number % 2 == 1))


def main(options: argparse.Namespace) -> None:
    with simulator() as upstream, state_server() as state_url:
        settings = {
            "ANTHROPIC_BASE_URL": upstream.base_url,
            "ANTHROPIC_API_KEY": "sk-bench",
            "CLAUDE_WRAPPER_REDIS_URL": state_url,
            "CLAUDE_WRAPPER_API_KEY": "sk-bench",
            "CLAUDE_WRAPPER_WORKERS": str(options.workers),
        }
        starts = [ready_s(settings) for _ in range(options.times)]
        with running_gateway("--no-interactive", env=settings) as gateway:
            time.sleep(SETTLED_AFTER_S)
            workers = workers_of(gateway.pid)
            fresh = memory_of(workers)
            uvloop.run(ask(gateway.port, options.requests))
            time.sleep(SETTLED_AFTER_S)
            percents = idle_percent(workers, options.seconds)
            used = memory_of(workers)
            (master,) = memory_of([psutil.Process(gateway.pid)])
    rows = [
        (f"start to ready ({options.times} starts)", *shown(starts, "s", READY_S)),
        (f"idle CPU of a worker ({options.seconds:g} s)", *shown(percents, "% of a core", CPU_PERCENT)),
        ("memory of a new worker, rss", *shown([memory.rss for memory in fresh], "MB", MEMORY_MB)),
        (f"memory after {options.requests} requests, rss", *shown([memory.rss for memory in used], "MB", MEMORY_MB)),
        ("the same, uss", *shown([memory.uss for memory in used], "MB", MEMORY_MB)),
    ]
    print_table([f"{options.workers} workers", "median", "worst", "bound", "kept"], rows)
    print(f"The master besides: {master.rss:.1f} MB rss, {master.uss:.1f} MB uss.")
    if any(row[-1] == "NO" for row in rows):
        raise SystemExit("A bound of issue 5 does not hold.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--requests", type=int, default=200, help="half of them streams")
    print_head("What an idle gateway costs")
    main(parser.parse_args())
