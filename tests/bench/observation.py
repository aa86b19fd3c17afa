"""CPU that one plain request pays for being observed: metrics, their share by the minute, and its line of the log.

    python -m tests.bench.observation [--number 20000] [--repeat 9]

Pure: no server, no Redis; the line goes to a writer that keeps nothing. The figure is the fastest of the repetitions,
as what else the machine does only adds to it. ``python -m tests.bench.gateway_cpu --against DIRECTORY`` compares whole
requests with those of another checkout.
"""

from __future__ import annotations

import argparse
import random
import time
import timeit
from collections.abc import Callable

from app.domain.limits import Use
from app.observability.line_writer import LineWriter
from app.observability.metrics import WorkerMetrics
from app.observability.record import RequestRecord
from app.observability.redact import redactor
from app.observability.request_log import RequestLog, RequestLogSettings
from app.observability.server_timing import server_timing
from tests.bench.bench import print_head, print_table
from tests.support.request_logs import chat_request

#: Must hold 7 of issue 5: metrics and the log record together.
MOST_US = 10.0

#: Tokens and cost of the request.
USE = Use(requests=1, input_tokens=11, output_tokens=14, cache_read_tokens=12, cache_write_tokens=13, nano=12_300_000)


class Nowhere(LineWriter):
    """Takes lines and keeps none."""

    def put(self, line: bytes, *, soon: bool = False) -> None:
        """Forgets a line."""


def request_log(metrics: WorkerMetrics, *, sample: float = 1.0, lines: LineWriter | None = None) -> RequestLog:
    """A request log as a worker of ``--production`` has it."""
    return RequestLog(
        RequestLogSettings(format="json", sample=sample),
        lines=lines or Nowhere(),
        metrics=metrics,
        redact=redactor(["a-configured-api-key"]),
        now=time.time,
        dice=random.random,
        host="here",
    )


def steps(record: RequestRecord) -> dict[str, Callable[[], object]]:
    """What is measured, by name."""
    metrics = WorkerMetrics()
    log, rare = request_log(metrics), request_log(metrics, sample=0.0)

    def counted() -> None:
        metrics.answered(record, route="/v1/chat/completions", duration_s=0.8125)
        metrics.used(tenant="acme", model="claude-opus-5-5", use=USE)

    def logged() -> None:
        log.note(record, response_s=0.812, duration_s=0.8125)

    def both() -> None:
        counted()
        logged()

    return {
        "metrics: answered and used": counted,
        "log: a line of JSON": logged,
        "metrics and log": both,
        "log: left out by the sample": lambda: rare.note(record, response_s=0.812, duration_s=0.8125),
        "server-timing, with --debug": lambda: server_timing(record, now=100.8125),
    }


def microseconds(work: Callable[[], object], *, number: int, repeat: int) -> float:
    """CPU of one run, the fastest."""
    return min(timeit.repeat(work, timer=time.process_time, number=number, repeat=repeat)) / number * 1e6


def main(options: argparse.Namespace) -> None:
    figures = {
        f"{kind}: {name}": microseconds(work, number=options.number, repeat=options.repeat)
        for kind, record in (
            ("plain", chat_request()),
            ("stream", chat_request(stream=True, first_token_at=100.75)),
        )
        for name, work in steps(record).items()
    }
    print_table(["what", "CPU us/request"], [(name, f"{us:.2f}") for name, us in figures.items()])
    worst = max(us for name, us in figures.items() if name.endswith("metrics and log"))
    if worst > MOST_US:
        raise SystemExit(f"Metrics and log cost {worst:.1f} us of CPU a request; they may cost {MOST_US:g}.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=20_000)
    parser.add_argument("--repeat", type=int, default=9)
    print_head("CPU of metrics and log record, per request")
    main(parser.parse_args())
