"""CPU of the gateway per plain request and per paced delta, against a bare ASGI app on the same server.

    python -m tests.bench.gateway_cpu [--rounds 3] [--seconds 2] [--connections 1,16,64] [--rates 25,80] [--streams 100]
        [--against DIRECTORY]

Gateway and control answer the same bytes (1 KB prompt, 256 tokens) and alternate within each round. CPU is user and
system time of the worker process. A figure is the median of the rounds, with the lowest and the highest; p50 and p99
are over the requests of all rounds. A delta's CPU is counted while all streams run, so opening and ending are not in
it.
``--against`` adds a gateway of another checkout, to compare a change with what was before it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import time
from contextlib import ExitStack
from typing import Any

import msgspec
import psutil
import uvloop

from tests.bench.bench import LOAD_CORE, Served, control, gateway, print_head, print_table, simulator
from tests.bench.load import OPENAI, PlainLoad, StreamLoad, ask_once, chat_request, percentile
from tests.support.simulator import Simulator

PROMPT = ("Tell me about the sea. " * 50)[:1024]

#: Streams begin evenly over this time, and the measurement a little later.
_BEGIN_S = 1.0
_SETTLE_S = 0.5


def plain_request() -> bytes:
    return chat_request(PROMPT)


def stream_request(rate: float) -> bytes:
    """A stream; the control takes the rate from here, the simulator from its script, so that the texts are the same."""
    return chat_request(PROMPT, stream=True, path=f"/v1/chat/completions?rate={rate}")


class Measured:
    """Figures of one case, over its rounds."""

    def __init__(self) -> None:
        self.cpu_us: list[float] = []
        self.per_s: list[float] = []
        self.busy: list[float] = []
        self.others_busy: list[float] = []
        self.latencies: list[float] = []
        self.samples = 0
        self.failed = 0

    @property
    def cpu(self) -> float:
        return statistics.median(self.cpu_us)

    def cpu_text(self) -> str:
        return f"{self.cpu:.0f} ({min(self.cpu_us):.0f}-{max(self.cpu_us):.0f})"


class Meter:
    """CPU of the server and of the other side (load and simulator) over a stretch of time."""

    def __init__(self, served: Served, upstream: Simulator) -> None:
        self._served = served
        self._others = [psutil.Process(upstream.process.pid), psutil.Process()]

    def start(self) -> None:
        self._began = time.perf_counter()
        self._cpu = self._served.cpu_s()
        self._others_cpu = self._others_s()

    def stop(self, into: Measured, count: int) -> None:
        took = time.perf_counter() - self._began
        cpu = self._served.cpu_s() - self._cpu
        into.cpu_us.append(1e6 * cpu / count)
        into.per_s.append(count / took)
        into.busy.append(cpu / took)
        into.others_busy.append((self._others_s() - self._others_cpu) / took)
        into.samples += count

    def _others_s(self) -> float:
        return sum(times.user + times.system for times in (process.cpu_times() for process in self._others))


async def measure_plain(
    served: Served, upstream: Simulator, into: Measured, *, answer_bytes: int, connections: int, seconds: float
) -> None:
    load = PlainLoad(served.port, plain_request(), answer_bytes=answer_bytes, connections=connections)
    await load.open()
    await load.run(0.3)
    meter = Meter(served, upstream)
    meter.start()
    await load.run(seconds)
    meter.stop(into, len(load.latencies))
    load.close()
    into.latencies += load.latencies
    into.failed += load.failed


async def measure_streams(
    served: Served,
    upstream: Simulator,
    into: Measured,
    *,
    request: bytes,
    streams: int,
    deltas: int,
    lasts_s: float,
    seconds: float,
) -> None:
    load = StreamLoad(served.port, lambda _: request, streams=streams, expected_deltas=deltas)
    await load.begin(_BEGIN_S)
    await asyncio.sleep(_SETTLE_S)
    meter = Meter(served, upstream)
    before = load.deltas
    meter.start()
    await asyncio.sleep(seconds)
    meter.stop(into, load.deltas - before)
    await load.end(lasts_s + 30)
    into.failed += load.broken


async def answers_of(served: Served) -> dict[str, Any]:
    """What the gateway answers to the plain request, for the control."""
    plain = await ask_once(served.port, plain_request())
    headers = [["content-type", "application/json"], ["content-length", str(len(plain))]]
    return {"headers": headers, "plain": plain.decode(), "stream_headers": [], "frames": []}


async def stream_answers_of(served: Served) -> dict[str, Any]:
    """What the gateway answers to a stream, for the control: frame by frame."""
    stream = await ask_once(served.port, stream_request(0))
    frames = [frame + "\n\n" for frame in stream.decode().split("\n\n") if frame.startswith("data:")]
    headers = [["content-type", "text/event-stream; charset=utf-8"], ["cache-control", "no-cache"]]
    return {"headers": [], "plain": "", "stream_headers": headers, "frames": frames}


def tokens_of(rate: float, seconds: float) -> int:
    """Enough that every stream runs for the whole measurement."""
    return int(rate * (_BEGIN_S + _SETTLE_S + seconds + 0.5))


def plain_table(figures: dict[tuple[str, int], Measured]) -> None:
    rows = []
    for (name, connections), got in sorted(figures.items(), key=lambda item: item[0][1]):
        floor = figures["control", connections].cpu
        rows.append(
            (
                name,
                connections,
                got.cpu_text(),
                f"{got.cpu / floor:.1f}",
                f"{statistics.median(got.per_s):.0f}",
                f"{1000 * percentile(got.latencies, 0.5):.2f}",
                f"{1000 * percentile(got.latencies, 0.99):.2f}",
                f"{1000 * max(got.latencies):.1f}",
                f"{100 * statistics.median(got.busy):.0f} % / {100 * statistics.median(got.others_busy):.0f} %",
                got.samples,
                got.failed,
            )
        )
    columns = "server,connections,CPU us/request,x control,requests/s,p50 ms,p99 ms,max ms,core busy: server / load"
    print_table([*columns.split(","), "requests", "failed"], rows)


def stream_table(figures: dict[tuple[str, float], Measured], streams: int) -> None:
    rows = []
    for (name, rate), got in figures.items():
        floor = figures["control", rate].cpu
        busy = f"{100 * statistics.median(got.busy):.0f} % / {100 * statistics.median(got.others_busy):.0f} %"
        ratio, per_s = f"{got.cpu / floor:.1f}", f"{statistics.median(got.per_s):.0f}"
        rows.append((name, f"{streams} x {rate:g}/s", got.cpu_text(), ratio, per_s, busy, got.samples, got.failed))
    columns = "server,streams,CPU us/delta,x control,deltas/s,core busy: server / load,deltas,broken streams"
    print_table(columns.split(","), rows)


async def main(options: argparse.Namespace) -> None:
    os.sched_setaffinity(0, {LOAD_CORE})
    plain: dict[tuple[str, int], Measured] = {}
    streamed: dict[tuple[str, float], Measured] = {}
    with ExitStack() as stack:
        upstream = stack.enter_context(simulator(validate=False, output_tokens=256, delta_tokens=4))
        ours = stack.enter_context(gateway(upstream))
        servers = {"gateway": ours}
        if options.against:
            servers["before"] = stack.enter_context(gateway(upstream, PYTHONPATH=options.against))
        if options.connections:
            await compare_plain(servers, upstream, plain, options)
        for rate in options.rates:
            await compare_streams(servers, upstream, streamed, rate, options)
    if streamed:
        stream_table(streamed, options.streams)
    broken = sum(got.failed for got in [*plain.values(), *streamed.values()])
    if broken:
        raise SystemExit(f"{broken} answers were wrong: the figures mean nothing.")


async def compare_plain(
    servers: dict[str, Served],
    upstream: Simulator,
    figures: dict[tuple[str, int], Measured],
    options: argparse.Namespace,
) -> None:
    answers = await answers_of(servers["gateway"])
    size = len(answers["plain"].encode())
    with control(answers) as bare:
        for _ in range(options.rounds):
            for connections in options.connections:
                for name, served in (servers | {"control": bare}).items():
                    await measure_plain(
                        served,
                        upstream,
                        figures.setdefault((name, connections), Measured()),
                        answer_bytes=size,
                        connections=connections,
                        seconds=options.seconds,
                    )
    print(f"Plain request: {len(plain_request())} bytes there, {size} back.\n")
    plain_table(figures)


async def compare_streams(
    servers: dict[str, Served],
    upstream: Simulator,
    figures: dict[tuple[str, float], Measured],
    rate: float,
    options: argparse.Namespace,
) -> None:
    tokens = tokens_of(rate, options.seconds)
    upstream.script(output_tokens=tokens, delta_tokens=1)
    answers = await stream_answers_of(servers["gateway"])
    upstream.script(tokens_per_second=rate)
    deltas = sum(OPENAI.delta in frame.encode() for frame in answers["frames"])
    with control(answers) as bare:
        for _ in range(options.rounds):
            for name, served in (servers | {"control": bare}).items():
                await measure_streams(
                    served,
                    upstream,
                    figures.setdefault((name, rate), Measured()),
                    request=stream_request(rate),
                    streams=options.streams,
                    deltas=deltas,
                    lasts_s=tokens / rate,
                    seconds=options.seconds,
                )
    upstream.reset()


def numbers(text: str) -> list[int]:
    return msgspec.convert([part for part in text.split(",") if part], list[int], strict=False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--connections", type=numbers, default=[1, 16, 64])
    parser.add_argument("--rates", type=numbers, default=[25, 80])
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--against", metavar="DIRECTORY", help="another checkout")
    print_head("CPU of the gateway, per plain request and per paced delta")
    uvloop.run(main(parser.parse_args()))
