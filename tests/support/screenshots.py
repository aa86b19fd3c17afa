"""Pictures of the dashboard for the README: ``python -m tests.support.screenshots deploy/screenshots [minutes]``.

Three replicas in front of the simulator, under so many minutes of light load, 31 without a word: the last quarter of an
hour is shown beside the one before. Nothing is made up: every figure is of requests that were sent here.
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

from tests.support.browser import find_chromium
from tests.support.gateway import gateway_command
from tests.support.processes import ChildProcess, child_process
from tests.support.redis import RedisServer, RedisServers
from tests.support.replicas import keys_toml
from tests.support.simulator import running_simulator

ADMIN_KEY: Final = "admin-key-for-screenshots-0123456789"
TENANTS: Final = {"acme": 0.5, "globex": 0.3, "initech": 0.2}
#: One tenant asks for a little more than it may, at times.
LIMITS: Final = {"initech": {"requests_per_minute": 58}}
#: Share of the requests, and seconds until the first token.
MODELS: Final = {"claude-sonnet-4-6": (0.6, 0.42), "claude-haiku-4-5": (0.25, 0.22), "claude-opus-4-8": (0.15, 0.75)}
REPLICAS: Final = ("gateway-a", "gateway-b", "gateway-c")

#: Name of a file, colour scheme, width, and the last part of the page that is on it.
PICTURES: Final = (
    ("dashboard-light", "light", 1360, "#replicas"),
    ("dashboard-dark", "dark", 1360, "#replicas"),
    ("dashboard-phone-light", "light", 390, ".chart >> nth=1"),
    ("dashboard-phone-dark", "dark", 390, ".chart >> nth=1"),
)

_LOAD_MINUTES: Final = 31.0
#: The load goes up and down around this.
_REQUESTS_PER_S: Final = 4.0
_SWELL_S: Final = 420.0
#: What the simulator is told of some requests: Anthropic is overloaded, a stream breaks off.
_FAULTS: Final = {" status=529": 0.0004, " error_after_events=6": 0.0003}
#: Lines of the system prompts; the longest is worth Anthropic's prompt cache.
_RULE_LINES: Final = {"acme": 150, "globex": 30, "initech": 10}
_RULES: Final = {
    tenant: "\n".join(
        f"{number}. As the assistant of {tenant}, answer politely and briefly." for number in range(1, lines + 1)
    )
    for tenant, lines in _RULE_LINES.items()
}
_READY: Final = r"OPENAI_BASE_URL=(\S+)/v1\n"


def main() -> None:
    """Makes the pictures."""
    target = Path(sys.argv[1])
    load_s = 60 * (float(sys.argv[2]) if len(sys.argv) > 2 else _LOAD_MINUTES)
    target.mkdir(parents=True, exist_ok=True)
    servers = RedisServers()
    try:
        server = servers("--maxmemory", "64mb", "--maxmemory-policy", "volatile-ttl")
        with _replicas(server) as roots:
            asyncio.run(_under_load(roots, target, load_s))
    finally:
        servers.end()


@contextmanager
def _replicas(server: RedisServer) -> Iterator[list[str]]:
    """Gateways with the settings that they come with, each with a host name of its own."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cw-")))
        (directory / "keys.toml").write_text(keys_toml(LIMITS, {_key(tenant): tenant for tenant in TENANTS}))
        simulator = stack.enter_context(
            running_simulator(
                tokens_per_second=250,
                jitter_ms=40,
                requests_per_minute=400,
                input_tokens_per_minute=400_000,
                output_tokens_per_minute=100_000,
            )
        )
        env = {
            "CLAUDE_WRAPPER_REDIS_URL": server.url,
            "CLAUDE_WRAPPER_ADMIN_KEY": ADMIN_KEY,
            "CLAUDE_WRAPPER_KEYS_FILE": str(directory / "keys.toml"),
            "CLAUDE_WRAPPER_HEALTH_MONITORING": "true",
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


async def _under_load(roots: list[str], target: Path, load_s: float) -> None:
    load = asyncio.create_task(_load(roots))
    await asyncio.sleep(load_s)
    await asyncio.to_thread(_take, roots[0], target)
    load.cancel()


async def _load(roots: list[str]) -> None:
    dice = random.Random(1)
    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        while True:
            group.create_task(_ask(session, dice.choice(roots), dice))
            swell = 1 + 0.3 * math.sin(2 * math.pi * time.monotonic() / _SWELL_S)
            await asyncio.sleep(dice.expovariate(_REQUESTS_PER_S * swell))


async def _ask(session: aiohttp.ClientSession, root: str, dice: random.Random) -> None:
    """One request: a turn of a conversation, or one of a few questions whose answers may come from the cache."""
    (tenant,) = dice.choices(list(TENANTS), list(TENANTS.values()))
    (model,) = dice.choices(list(MODELS), [share for share, _ in MODELS.values()])
    headers = {"authorization": f"Bearer {_key(tenant)}"}
    if dice.random() < 0.4:
        prompt = f"Fact {dice.randrange(60)}"
        headers["cache-control"] = "max-age=300"
    else:
        headers["x-session-id"] = f"chat-{dice.randrange(400)}"
        prompt = f"Question {dice.randrange(10**6)}: tell me more. " * dice.randrange(1, 30) + _script(model, dice)
    rules = {"type": "text", "text": _RULES[tenant], "cache_control": {"type": "ephemeral"}}
    body: dict[str, Any] = {
        "model": model,
        "stream": dice.random() < 0.6,
        "temperature": 9 if dice.random() < 0.004 else 0,
        "messages": [{"role": "system", "content": [rules]}, {"role": "user", "content": prompt}],
    }
    async with session.post(f"{root}/v1/chat/completions", json=body, headers=headers) as reply:
        await reply.read()


def _script(model: str, dice: random.Random) -> str:
    """How the simulator answers: when and how long, as the model would, and seldom with an error."""
    ttft_ms = 1000 * MODELS[model][1] * math.exp(dice.gauss(0, 0.35))
    faults = "".join(fault for fault, share in _FAULTS.items() if dice.random() < share)
    return f"[[sim: ttft_ms={ttft_ms:.0f} output_tokens={dice.randrange(60, 420)}{faults}]]"


def _key(tenant: str) -> str:
    return f"key-of-{tenant}-0123456789abcdef"


def _take(root: str, target: Path) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        for name, scheme, width, last in PICTURES:
            _picture(browser, root, target / f"{name}.png", scheme=scheme, width=width, last=last)
        browser.close()


def _picture(browser: Browser, root: str, file: Path, *, scheme: Any, width: int, last: str) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    page.goto(f"{root}/dashboard?window=15m")
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
