"""How long ``claude-wrapper --mock`` takes to be ready and to answer, and what it costs idle and per open stream.

    python -m tests.bench.start_up [--times 5] [--streams 200]

Ready: from the start of the process to the printed block. First answer: to a whole chat completion, asked for as soon
as the block is there; importing the Anthropic SDK goes on behind the block. All processes share the cores there are,
as they would for a user.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path

import uvloop

from tests.bench.bench import gateway, print_head, print_table, simulator
from tests.bench.load import StreamLoad, ask_once, chat_request
from tests.support.gateway import gateway_command
from tests.support.processes import child_process


async def start_once() -> tuple[float, float]:
    """Seconds from the start to ready, and to the first answer."""
    with tempfile.TemporaryDirectory() as temporary:
        environment = {"CLAUDE_WRAPPER_DATA_DIR": str(Path(temporary) / "data")}
        command = gateway_command("serve", "--port", "0", "--mock")
        began = time.perf_counter()
        with child_process(command, env=environment, output=Path(temporary) / "output") as process:
            port = int(process.wait_for(r"OPENAI_BASE_URL=http://127.0.0.1:(\d+)/v1\n", within_s=60)[1])
            ready_s = time.perf_counter() - began
            await ask_once(port, chat_request("hello"))
            return ready_s, time.perf_counter() - began


async def main(options: argparse.Namespace) -> None:
    starts = [await start_once() for _ in range(options.times)]
    rows = []
    for name, seconds in zip(("ready", "first answer"), zip(*starts, strict=True), strict=True):
        rows.append((name, f"{statistics.median(seconds):.2f}", f"{min(seconds):.2f}", f"{max(seconds):.2f}"))
    print_table([f"s from the start, of {options.times}", "median", "best", "worst"], rows)
    with simulator(tokens_per_second=25, delta_tokens=1, output_tokens=150) as upstream, gateway(upstream) as ours:
        await ask_once(ours.port, chat_request("[[sim: tokens_per_second=0]] hello"))
        await asyncio.sleep(2)
        idle_kb, cpu_s = ours.rss_kb(), ours.cpu_s()
        await asyncio.sleep(5)
        idle_percent = 100 * (ours.cpu_s() - cpu_s) / 5
        # The second time: what the first streams made the worker allocate for good is no cost of a stream.
        for _ in range(2):
            before_kb = ours.rss_kb()
            load = StreamLoad(
                ours.port, lambda _: chat_request("sea", stream=True), streams=options.streams, expected_deltas=-1
            )
            await load.begin(1.0)
            await asyncio.sleep(1)
            open_kb = ours.rss_kb()
            await load.end(60)
            first_kb = open_kb - idle_kb
        print_table(
            ["of one worker", "figure"],
            [
                ("idle memory", f"{idle_kb / 1024:.0f} MB"),
                ("idle CPU", f"{idle_percent:.2f} % of a core"),
                (f"memory per open stream ({options.streams} open, over idle)", f"{first_kb / options.streams:.1f} KB"),
                ("growth from the first such burst to the second", f"{open_kb - before_kb:+.0f} KB"),
                ("failed streams", load.broken),
            ],
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--streams", type=int, default=200)
    print_head("Start, idle and per-stream cost")
    uvloop.run(main(parser.parse_args()))
