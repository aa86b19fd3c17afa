"""CPU per Redis call of this process: the multiplexed connection against redis-py's pool.

    PYTHONPATH=. python tests/bench/redis_connection.py [--calls 40000] [--rounds 5] [--callers 1,16,64]

Prints machine, versions and a table: microseconds of CPU (user + system, this process only) per call, median of the
rounds and the worst one, for ``EVALSHA`` of a small script with one key and three arguments, and for a mix of four
commands (a script, two reads, a write) in one flush. The server runs on a unix socket, pinned to another core where
there are two. The floor is a future made, resolved by the loop and awaited, without a server.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import redis.asyncio
import uvloop

from app.state import connect
from app.state.scripts import ScriptCall, script_from_text
from workers import embedded_state

SCRIPT = script_from_text("bench", b"redis.call('SET', KEYS[1], ARGV[1], 'EX', 60) return {ARGV[2], ARGV[3]}")
KEY = "cw:{bench}:counter"
ARGS = (b"1790000000000000", b"request-0123456789", b"42")

Call = Callable[[], Awaitable[object]]


async def cpu_us_per_call(call: Call, callers: int, calls: int) -> float:
    async def caller() -> None:
        for _ in range(calls // callers):
            await call()

    await asyncio.gather(*(call() for _ in range(callers)))
    start_s = time.process_time()
    await asyncio.gather(*(caller() for _ in range(callers)))
    return (time.process_time() - start_s) * 1e6 / (calls // callers * callers)


async def floor() -> None:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()
    loop.call_soon(future.set_result, None)
    await future


async def main(url: str, socket_file: str, callers: list[int], calls: int, rounds: int) -> None:
    state = connect(url, timeout_s=5)
    pool = redis.asyncio.Redis(
        connection_pool=redis.asyncio.BlockingConnectionPool(
            connection_class=redis.asyncio.UnixDomainSocketConnection, path=socket_file, max_connections=64, timeout=30
        )
    )
    sha1 = SCRIPT.sha1.decode()
    await state.run_script(SCRIPT, (KEY,), ARGS)
    mix = [ScriptCall(SCRIPT, (KEY,), ARGS), ("GET", KEY), ("GET", "cw:{bench}:absent"), ("EXPIRE", KEY, 60)]

    async def pool_mix() -> object:
        pipe = pool.pipeline(transaction=False)
        pipe.evalsha(sha1, 1, KEY, *ARGS)
        pipe.get(KEY)
        pipe.get("cw:{bench}:absent")
        pipe.expire(KEY, 60)
        return await pipe.execute()

    rows: list[tuple[str, Call]] = [
        ("floor: a future, no server", floor),
        ("EVALSHA, multiplexed", lambda: state.run_script(SCRIPT, (KEY,), ARGS)),
        ("EVALSHA, redis-py pool of 64", lambda: pool.evalsha(sha1, 1, KEY, *ARGS)),
        ("mix of 4, multiplexed", lambda: state.pipeline(mix)),
        ("mix of 4, redis-py pool of 64", pool_mix),
    ]
    print(f"{'CPU us per call: median (worst)':34}" + "".join(f"{f'{count} callers':>18}" for count in callers))
    for name, call in rows:
        cells = []
        for count in callers:
            share = calls if "pool" not in name else calls // 4
            samples = [await cpu_us_per_call(call, count, share) for _ in range(rounds)]
            cells.append(f"{statistics.median(samples):.1f} ({max(samples):.1f})")
        print(f"{name:34}" + "".join(f"{cell:>18}" for cell in cells))
    await state.close()
    await pool.aclose()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=40_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--callers", default="1,16,64")
    options = parser.parse_args()
    names = ("hiredis", "redis", "uvloop")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}")
    print(f"{options.calls} calls (a quarter for the pool), {options.rounds} rounds")
    with tempfile.TemporaryDirectory() as directory:
        server = embedded_state.start(Path(directory))
        try:
            if hasattr(os, "sched_setaffinity") and len(cores := sorted(os.sched_getaffinity(0))) > 1:
                os.sched_setaffinity(server.pid or 0, {cores[0]})
                os.sched_setaffinity(0, {cores[1]})
            callers = [int(count) for count in options.callers.split(",")]
            path = server.url.removeprefix("unix://")
            uvloop.run(main(server.url, path, callers, options.calls, options.rounds))
        finally:
            server.stop()
