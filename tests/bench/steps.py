"""Where the CPU of a plain request and of a paced delta goes, step by step.

    python -m tests.bench.steps [--rounds 3] [--seconds 2] [--connections 16] [--rate 80] [--streams 100]

First by building up: the same request against the bare server, with our middleware around it, with a Litestar route,
with the whole gateway over an upstream in memory, and over the real lane; each step is the difference to the one before
(medians over rounds in which all take turns). A paced delta needs a timer where there is no lane and a socket where
there is one, so for deltas the last two steps are true only together. Then the pure parts alone, in this process,
without sockets. Noise of the machine goes into the differences: steps of a few microseconds mean no more than "few".
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import uvloop

from app.domain.calls import MessagesCall
from app.gateway.chat import read_chat, reply_headers
from app.schemas.sse import EventCutter
from app.translate.chat_stream import ChatStream
from app.translate.messages_to_chat import to_chat
from app.translate.upstream_events import UpstreamEvents
from tests.bench.bench import LOAD_CORE, Served, gateway, print_head, print_table, serving, simulator
from tests.bench.gateway_cpu import (
    PROMPT,
    Measured,
    answers_of,
    measure_plain,
    measure_streams,
    plain_request,
    stream_answers_of,
    stream_request,
    tokens_of,
)
from tests.bench.load import OPENAI, ask_once, post
from tests.support.services import make_services
from tests.support.simulator import Simulator

RUNGS = {
    "server": "server: uvicorn's HTTP, our protocol, event loop, sockets",
    "middleware": "middleware: request id, key, figures, record",
    "litestar": "Litestar: routing, request, handler, exception layer",
    "memory": "chat route and corridor: body, translation both ways, presence",
    "lane": "SDK lane: slots, anthropic, httpx2, aiohttp, its sockets and event loop",
}


async def upstream_answers(upstream: Simulator, *, stream: bool) -> bytes:
    """What the simulator says to the gateway."""
    body = {
        "model": "claude-haiku-4-5",
        "max_tokens": 32000,
        "stream": stream,
        "messages": [{"role": "user", "content": PROMPT}],
    }
    headers = b"x-api-key: k\r\nanthropic-version: 2023-06-01\r\n"
    return await ask_once(upstream.port, post("/v1/messages", json.dumps(body).encode(), headers))


async def whole_ladder(upstream: Simulator, ours: Served, options: argparse.Namespace) -> None:
    """Prints what every rung costs, for plain requests and for deltas."""
    answers = await answers_of(ours)
    tokens = tokens_of(options.rate, options.seconds)
    plain = await upstream_answers(upstream, stream=False)
    upstream.script(output_tokens=tokens, delta_tokens=1)
    streamed = await stream_answers_of(ours)
    events = (await upstream_answers(upstream, stream=True)).decode().split("\n\n")[:-1]
    upstream.reset()
    deltas = sum(OPENAI.delta in frame.encode() for frame in streamed["frames"])
    answers |= {
        "stream_headers": streamed["stream_headers"],
        "frames": streamed["frames"],
        "upstream_plain": plain.decode(),
        "upstream_events": [event + "\n\n" for event in events],
        "rate": options.rate,
    }
    per_request = {rung: Measured() for rung in RUNGS}
    per_delta = {rung: Measured() for rung in RUNGS}
    with ExitStack() as stack:
        served = {
            rung: ours if rung == "lane" else stack.enter_context(serving("tests.bench.rungs", answers, rung))
            for rung in RUNGS
        }
        # The simulator's text depends on the whole request, so the rung over memory answers a few bytes more or less.
        sizes = {rung: len(await ask_once(one.port, plain_request())) for rung, one in served.items()}
        for _ in range(options.rounds):
            for rung, one in served.items():
                await measure_plain(
                    one,
                    upstream,
                    per_request[rung],
                    answer_bytes=sizes[rung],
                    connections=options.connections,
                    seconds=options.seconds,
                )
        upstream.script(output_tokens=tokens, delta_tokens=1, tokens_per_second=options.rate)
        for _ in range(options.rounds):
            for rung, one in served.items():
                await measure_streams(
                    one,
                    upstream,
                    per_delta[rung],
                    request=stream_request(options.rate),
                    streams=options.streams,
                    deltas=-1 if rung == "memory" else deltas,
                    lasts_s=tokens / options.rate,
                    seconds=options.seconds,
                )
    print(f"Plain request at {options.connections} connections; delta of {options.streams} streams, ", end="")
    print(f"{options.rate} a second each. CPU of the worker, median of {options.rounds} rounds.\n")
    rows, before = [], (0.0, 0.0)
    for rung, title in RUNGS.items():
        request, delta = per_request[rung], per_delta[rung]
        added = [f"{request.cpu - before[0]:+.0f}", f"{delta.cpu - before[1]:+.1f}"]
        rows.append((title, added[0], f"{request.cpu:.0f}", added[1], f"{delta.cpu:.1f}"))
        before = (request.cpu, delta.cpu)
        if request.failed or delta.failed:
            raise SystemExit(f"{rung}: {request.failed + delta.failed} answers were wrong.")
    print_table(["step", "us/request", "sum", "us/delta", "sum"], rows)


def us_per(call: Callable[[], object], seconds: float) -> float:
    """CPU of one call, microseconds: the median of five stretches."""
    found = []
    for _ in range(5):
        count, began, until = 0, time.process_time(), time.process_time() + seconds / 5
        while time.process_time() < until:
            for _ in range(50):
                call()
            count += 50
        found.append(1e6 * (time.process_time() - began) / count)
    return statistics.median(found)


async def pure_parts(upstream: Simulator, options: argparse.Namespace) -> None:
    """Prints what the pure functions cost by themselves."""
    services = make_services()
    body = plain_request().partition(b"\r\n\r\n")[2]
    call = read_chat(services, body).call
    message = await upstream_answers(upstream, stream=False)
    upstream.script(delta_tokens=1, output_tokens=500)
    stream = await upstream_answers(upstream, stream=True)
    upstream.reset()
    events = [event + b"\n\n" for event in stream.split(b"\n\n")[:-1]]
    headers = {"request-id": "req_1", "anthropic-ratelimit-requests-limit": "50000"}
    per_event = len(events)
    rows: list[tuple[str, Callable[[], object], int]] = [
        ("request: decode and translate (1 KB prompt)", lambda: read_chat(services, body), 1),
        ("reply: decode, translate, encode (256 tokens)", lambda: to_chat([[message]], call.plan, created=1), 1),
        ("reply headers", lambda: reply_headers(headers, 1.0), 1),
        ("delta: cut into events", lambda: _fed(EventCutter(), events), per_event),
        ("delta: cut and decode", lambda: _fed(UpstreamEvents(), events), per_event),
        ("delta: cut, decode, translate, write the frame", lambda: _fed(_machine(call), events), per_event),
    ]
    table = [(name, f"{us_per(one, options.seconds) / count:.2f}") for name, one, count in rows]
    print_table(["pure part, alone", "us"], table)


def _machine(call: MessagesCall) -> ChatStream:
    return ChatStream(call.plan, created=1)


def _fed(machine: Any, events: list[bytes]) -> None:
    for event in events:
        machine.feed(event)


async def main(options: argparse.Namespace) -> None:
    os.sched_setaffinity(0, {LOAD_CORE})
    with simulator(validate=False, output_tokens=256, delta_tokens=4) as upstream:
        await pure_parts(upstream, options)
        with gateway(upstream) as ours:
            await whole_ladder(upstream, ours, options)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--rate", type=int, default=80)
    parser.add_argument("--streams", type=int, default=100)
    print_head("What costs what")
    uvloop.run(main(parser.parse_args()))
