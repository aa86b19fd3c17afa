"""Pictures of the dashboard for the README: ``python -m tests.support.screenshots deploy/screenshots``.

Three replicas in front of the simulator, under live load of three tenants. An hour of load would take an hour, so the
minutes and hours before are figures made up here, counted by the gateway's own code and written where its workers
write theirs; the last minutes, the replicas and the errors are real.
"""

from __future__ import annotations

import asyncio
import math
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
from playwright.sync_api import Browser, sync_playwright

from app.domain import minutes
from app.domain.calls import Usage
from app.domain.limits import Use
from app.observability.metrics import WorkerMetrics
from app.observability.record import RequestRecord
from app.state import keys
from tests.support.browser import find_chromium
from tests.support.gateway import gateway_command
from tests.support.processes import ChildProcess, child_process
from tests.support.redis import RedisServer, RedisServers
from tests.support.replicas import keys_toml
from tests.support.simulator import running_simulator

ADMIN_KEY: Final = "admin-key-for-screenshots-0123456789"
TENANTS: Final = {"acme": 0.5, "globex": 0.3, "initech": 0.2}
MODELS: Final = {"claude-sonnet-4-6": 0.6, "claude-haiku-4-5": 0.25, "claude-opus-4-8": 0.15}
REPLICAS: Final = ("gateway-a", "gateway-b", "gateway-c")

#: Name of a file, colour scheme, width, and the last part of the page that is on it.
PICTURES: Final = (
    ("dashboard-light", "light", 1360, "#replicas"),
    ("dashboard-dark", "dark", 1360, "#replicas"),
    ("dashboard-phone-light", "light", 390, ".chart >> nth=1"),
    ("dashboard-phone-dark", "dark", 390, ".chart >> nth=1"),
)

#: How long there is load before the first picture.
_LOAD_S: Final = 100.0
_REQUESTS_PER_S: Final = 6.0
_READY: Final = r"OPENAI_BASE_URL=(\S+)/v1\n"


def main() -> None:
    """Makes the pictures."""
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    servers = RedisServers()
    try:
        server = servers("--maxmemory", "64mb", "--maxmemory-policy", "volatile-ttl")
        with _replicas(server) as roots:
            _write_history(server)
            asyncio.run(_with_load(roots, target))
    finally:
        servers.end()


@contextmanager
def _replicas(server: RedisServer) -> Iterator[list[str]]:
    """Gateways, each with a host name of its own where the kernel lets us."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cw-")))
        (directory / "keys.toml").write_text(keys_toml({}, {_key(tenant): tenant for tenant in TENANTS}))
        simulator = stack.enter_context(
            running_simulator(ttft_ms=250, jitter_ms=40, tokens_per_second=90, error_rate=0.012)
        )
        env = {
            "CLAUDE_WRAPPER_REDIS_URL": server.url,
            "CLAUDE_WRAPPER_ADMIN_KEY": ADMIN_KEY,
            "CLAUDE_WRAPPER_KEYS_FILE": str(directory / "keys.toml"),
            "CLAUDE_WRAPPER_HEALTH_MONITORING": "true",
            "CLAUDE_WRAPPER_ALERT_ERROR_RATE": "0.002",
            "CLAUDE_WRAPPER_UPSTREAM_RETRIES": "0",
            "ANTHROPIC_BASE_URL": simulator.base_url,
            "ANTHROPIC_API_KEY": "sk-ant-screenshots-0123456789",
        }
        processes = [stack.enter_context(_replica(name, directory, env)) for name in REPLICAS]
        yield [process.wait_for(_READY, within_s=60)[1] for process in processes]


@contextmanager
def _replica(name: str, directory: Path, env: Mapping[str, str]) -> Iterator[ChildProcess]:
    own = {"CLAUDE_WRAPPER_DATA_DIR": str(directory / name)}
    command = ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', name, *gateway_command("serve", "-p", "0")]
    with child_process(command, env={**env, **own}, output=directory / f"{name}.log") as process:
        yield process


async def _with_load(roots: list[str], target: Path) -> None:
    load = asyncio.create_task(_load(roots))
    await asyncio.sleep(_LOAD_S)
    await asyncio.to_thread(_take, roots[0], target)
    load.cancel()


async def _load(roots: list[str]) -> None:
    dice = random.Random(1)
    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        while True:
            group.create_task(_ask(session, dice.choice(roots), dice))
            await asyncio.sleep(dice.expovariate(_REQUESTS_PER_S))


async def _ask(session: aiohttp.ClientSession, root: str, dice: random.Random) -> None:
    (tenant,), (model,) = _drawn(dice, TENANTS), _drawn(dice, MODELS)
    body = {
        "model": model,
        "stream": dice.random() < 0.6,
        "messages": [
            {"role": "user", "content": f"Question {dice.randrange(40)}: tell me more. " * dice.randrange(1, 30)}
        ],
    }
    headers = {"authorization": f"Bearer {_key(tenant)}", "x-session-id": f"chat-{dice.randrange(60)}"}
    if dice.random() < 0.4:
        headers = {"authorization": f"Bearer {_key(tenant)}", "cache-control": "max-age=120"}
        body |= {"temperature": 0, "messages": [{"role": "user", "content": f"Fact {dice.randrange(15)}"}]}
    async with session.post(f"{root}/v1/chat/completions", json=body, headers=headers) as reply:
        await reply.read()


def _drawn(dice: random.Random, shares: Mapping[str, float]) -> list[str]:
    return dice.choices(list(shares), list(shares.values()))


def _key(tenant: str) -> str:
    return f"key-of-{tenant}-0123456789abcdef"


# The time before


def _write_history(server: RedisServer) -> None:
    """Two hours by the minute and four days by the hour; the replicas add to the running ones."""
    now = int(time.time())
    for number in range(now // 60 - 119, now // 60 + 1):
        passed_s = min(60, now - 60 * number)
        server.ask("HSET", keys.minute(number), *_figures(number, 60, requests=5 * passed_s))
    for number in range(now // 3600 - 95, now // 3600 + 1):
        server.ask("HSET", keys.hour(number), *_figures(number, 5, requests=900))


def _figures(number: int, period: float, *, requests: int) -> list[str | int]:
    """What workers would have counted of about so many requests, as the words of ``HSET``."""
    dice = random.Random(number)
    metrics = WorkerMetrics()
    swell = 1 + 0.3 * math.sin(number / period) + 0.12 * math.sin(number / 2.3)
    for _ in range(int(requests * swell)):
        _count(metrics, dice, swell)
    return [word for pair in (metrics.take_minute() or {minutes.REQUESTS: 0}).items() for word in pair]


def _count(metrics: WorkerMetrics, dice: random.Random, swell: float) -> None:
    (tenant,), (model,) = _drawn(dice, TENANTS), _drawn(dice, MODELS)
    record = RequestRecord("r", "POST", "/v1/chat/completions", status=200, model_label=model, began_at=1.0)
    record.cache = dice.choice(("", "", "hit", "miss", "miss"))
    first_s = 0.28 * swell * math.exp(dice.gauss(0, 0.35))
    duration_s = first_s + 0.8 * dice.random()
    if dice.random() < 0.6:
        record.stream, record.first_token_at = True, 1.0 + first_s
    if (luck := dice.random()) < 0.0004:
        record.status = dice.choice((502, 503))
    elif luck < 0.02:
        record.status = dice.choice((400, 429))
    use = Use(
        input_tokens=dice.randrange(40, 300),
        output_tokens=dice.randrange(40, 300),
        cache_read_tokens=dice.choice((0, 0, 900)),
        cache_write_tokens=dice.choice((0, 0, 0, 300)),
        nano=dice.randrange(10**5, 10**7),
    )
    if record.cache == "hit":
        record.saved_nano = use.nano
    else:
        metrics.used(tenant=tenant, model=model, use=use)
    record.usage = Usage(input_tokens=use.input_tokens, output_tokens=use.output_tokens)
    metrics.answered(record, route="/v1/chat/completions", duration_s=duration_s)


# The pictures


def _take(root: str, target: Path) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        for name, scheme, width, last in PICTURES:
            _picture(browser, root, target / f"{name}.png", scheme=scheme, width=width, last=last)
        browser.close()


def _picture(browser: Browser, root: str, file: Path, *, scheme: Any, width: int, last: str) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    page.goto(f"{root}/dashboard")
    page.fill("#login-key", ADMIN_KEY)
    page.keyboard.press("Enter")
    page.wait_for_selector("#board:not([hidden])")
    page.wait_for_timeout(20_000 if width > 1000 else 3000)  # so that the lines of the replicas have some points
    box = page.locator(last).bounding_box()
    assert box is not None
    page.screenshot(
        path=file, full_page=True, clip={"x": 0, "y": 0, "width": width, "height": box["y"] + box["height"] + 16}
    )
    context.close()
    print(f"{file}: {file.stat().st_size // 1024} KB")


if __name__ == "__main__":
    main()
