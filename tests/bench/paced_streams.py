"""Paced streams through one worker: none broken, none late; then memory over many further requests.

    python -m tests.bench.paced_streams [--streams 100] [--rate 25] [--seconds 20] [--requests 20000]

Every delta of the simulator is the time at which it was due by its own schedule (``stamp``), so lateness is what the
simulator's delivery, the gateway and this client add together; the same streams read straight from the simulator are
the floor. Memory is the worker's resident size, sampled every 1000 requests (plain and streamed ones in turn); the
slope is a least-squares line through the samples behind the warm-up.
"""

from __future__ import annotations

import argparse
import json
import os

import uvloop

from tests.bench.bench import LOAD_CORE, Served, gateway, print_head, print_table, simulator
from tests.bench.load import ANTHROPIC, OPENAI, PlainLoad, StreamLoad, Wire, ask_once, chat_request, percentile, post
from tests.support.simulator import Simulator

LATE_MS = 250.0

#: Requests between two samples of the memory.
_STEP = 1000


async def streams(port: int, request: bytes, wire: Wire, options: argparse.Namespace) -> StreamLoad:
    load = StreamLoad(
        port,
        lambda _: request,
        streams=options.streams,
        expected_deltas=options.rate * options.seconds,
        stamped=True,
        wire=wire,
    )
    await load.begin(1.0)
    await load.end(options.seconds + 30)
    return load


def messages_request(prompt: str) -> bytes:
    """The same stream asked of the simulator itself."""
    body = {
        "model": "claude-haiku-4-5",
        "max_tokens": 32000,
        "stream": True,
        "messages": [{"role": "user", "content": prompt}],
    }
    return post("/v1/messages", json.dumps(body).encode(), b"x-api-key: k\r\nanthropic-version: 2023-06-01\r\n")


async def lateness(ours: Served, upstream: Simulator, options: argparse.Namespace) -> bool:
    """Prints how late the deltas came; whether every stream was whole and in time."""
    # Four letters are a token, and the text is one delta a token.
    script = {"tokens_per_second": options.rate, "delta_tokens": 1, "stamp": True}
    upstream.script(text="sea " * (options.rate * options.seconds), **script)
    rows, held = [], True
    rss_kb, cpu_s = ours.rss_kb(), ours.cpu_s()
    for name, port, request, wire in (
        ("simulator itself", upstream.port, messages_request("sea"), ANTHROPIC),
        ("gateway", ours.port, chat_request("sea", stream=True), OPENAI),
    ):
        load = await streams(port, request, wire, options)
        late = load.late_ms
        held = not load.broken and percentile(late, 0.99) <= LATE_MS
        tail = [f"{percentile(late, share):.1f}" for share in (0.5, 0.99, 0.999)]
        over = sum(ms > LATE_MS for ms in late)
        rows.append((name, options.streams, load.broken, len(late), *tail, f"{max(late):.1f}", over))
    columns = "through,streams,broken,deltas,p50 ms late,p99 ms late,p99.9 ms late,worst ms late"
    print_table([*columns.split(","), f"over {LATE_MS:.0f} ms"], rows)
    print(
        f"CPU of the worker meanwhile: {ours.cpu_s() - cpu_s:.2f} s; memory {rss_kb:.0f} -> {ours.rss_kb():.0f} KB.\n"
    )
    upstream.reset()
    return held


async def memory(ours: Served, options: argparse.Namespace) -> None:
    """Prints the memory of the worker over many requests."""
    request = chat_request("Tell me about the sea.")
    size = len(await ask_once(ours.port, request))
    load = PlainLoad(ours.port, request, answer_bytes=size, connections=16)
    await load.open()
    samples = [(0, ours.rss_kb())]
    done, failed = 0, 0
    while done < options.requests:
        await load.run_count(_STEP - 100)
        short = StreamLoad(ours.port, lambda _: chat_request("sea", stream=True), streams=100, expected_deltas=-1)
        await short.begin(0.2)
        await short.end(30)
        failed += short.broken
        done += _STEP
        samples.append((done, ours.rss_kb()))
    load.close()
    behind = [sample for sample in samples if sample[0] >= options.requests / 4]
    print(f"{done} requests, {failed + load.failed} failed, a tenth of them streams; after so many, KB of memory:\n")
    every = max(1, len(samples) // 10)
    print_table(["requests", "RSS KB"], [(count, f"{kb:.0f}") for count, kb in samples[::every]])
    print(
        f"Slope behind the first quarter: {1000 * slope(behind):+.1f} KB per 1000 requests "
        f"({behind[0][1]:.0f} -> {behind[-1][1]:.0f} KB)."
    )
    if failed + load.failed:
        raise SystemExit("Some answers were wrong.")


def slope(samples: list[tuple[int, float]]) -> float:
    """Least squares, KB per request."""
    mean_x = sum(x for x, _ in samples) / len(samples)
    mean_y = sum(y for _, y in samples) / len(samples)
    return sum((x - mean_x) * (y - mean_y) for x, y in samples) / sum((x - mean_x) ** 2 for x, _ in samples)


async def main(options: argparse.Namespace) -> None:
    os.sched_setaffinity(0, {LOAD_CORE})
    with simulator() as upstream, gateway(upstream) as ours:
        await ask_once(ours.port, chat_request("hello"))
        held = await lateness(ours, upstream, options)
        await memory(ours, options)
    if not held:
        raise SystemExit(f"Broken streams, or more than 1 % of the deltas later than {LATE_MS:.0f} ms.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--rate", type=int, default=25, help="tokens a second of one stream, one delta each")
    parser.add_argument("--seconds", type=int, default=20, help="length of a stream")
    parser.add_argument("--requests", type=int, default=20_000)
    print_head("Paced streams through one worker, and memory")
    uvloop.run(main(parser.parse_args()))
