"""Replicas of the gateway with one Redis and one upstream, as a deployment has them, each a process of its own.

with running_replicas(server, tenants={"acme": {"concurrency": 20}}) as replicas:
    key = replicas.create_key("acme", requests_per_minute=50)
    async with replicas.client() as client:
        answer = await client.chat(replicas.ports[0], key, "Hello [[sim: output_tokens=30]]")
"""

from __future__ import annotations

import asyncio
import http.client
import itertools
import json
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import psutil
from msgspec import Struct

from app.domain.auth import read_key
from tests.support.books import Books
from tests.support.gateway import RunningGateway, running_gateway
from tests.support.redis import RedisServer
from tests.support.simulator import Simulator, running_simulator

ADMIN_KEY = "the-admin-key-of-the-tests"

#: Has neither thinking nor sampling limits, so that a script alone decides what it costs.
MODEL = "claude-haiku-4-5"


class Key(Struct, frozen=True):
    """An API key: its text, and how it is filed."""

    text: str
    tenant: str
    tag: str
    id: str


class Answer(Struct, frozen=True):
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def error(self) -> dict[str, Any]:
        """The error object of an answer that is one."""
        error: dict[str, Any] = json.loads(self.body)["error"]
        return error


class Client:
    """Clients of all replicas; every call that runs has a connection of its own."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def chat(
        self, port: int, key: Key | None, prompt: str, *, headers: Mapping[str, str] | None = None, **fields: Any
    ) -> Answer:
        """One chat completion, read to its end."""
        async with self.open_chat(port, key, prompt, headers=headers, **fields) as reply:
            return Answer(reply.status, reply.headers, await reply.read())

    @asynccontextmanager
    async def open_chat(
        self, port: int, key: Key | None, prompt: str, *, headers: Mapping[str, str] | None = None, **fields: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One chat completion whose body is left to be read; at the end the connection is closed."""
        body = {"model": MODEL, "messages": [{"role": "user", "content": prompt}], **fields}
        lines = {} if key is None else {"authorization": f"Bearer {key.text}"}
        url = f"http://127.0.0.1:{port}/v1/chat/completions"
        async with self._session.post(url, json=body, headers={**lines, **(headers or {})}) as reply:
            try:
                yield reply
            finally:
                if not reply.closed and reply.connection is not None:
                    reply.close()


class Replicas:
    """Gateways that are ready.

    Attributes:
        server: their Redis.
        simulator: their upstream.
        gateways: the replicas.
        books: what Redis holds of rates, spend, leases and use.
        keys_file: which all of them watch.
    """

    def __init__(
        self,
        server: RedisServer,
        simulator: Simulator,
        gateways: list[RunningGateway],
        keys_file: Path,
        start: Callable[[], RunningGateway],
    ) -> None:
        self.server = server
        self.simulator = simulator
        self.gateways = gateways
        self.keys_file = keys_file
        self.books = Books(server)
        self._start = start
        self._turn = itertools.count()

    @property
    def ports(self) -> list[int]:
        """Where they listen."""
        return [gateway.port for gateway in self.gateways]

    def port(self) -> int:
        """Where the next one listens, in turn: what a load balancer does."""
        return self.gateways[next(self._turn) % len(self.gateways)].port

    def stop(self) -> None:
        """SIGTERM to all replicas at once; returns when they have left."""
        for gateway in self.gateways:
            gateway.process.send(signal.SIGTERM)
        for gateway in self.gateways:
            gateway.process.wait(within_s=60)

    def kill(self) -> None:
        """``kill -9`` of every process of every replica."""
        for gateway in self.gateways:
            for process in (psutil.Process(gateway.pid), *gateway.process.children()):
                process.kill()
        for gateway in self.gateways:
            gateway.process.wait(within_s=60)

    def start(self) -> None:
        """New replicas instead of those that have left, with the same settings, on other ports."""
        self.gateways[:] = [self._start() for _ in self.gateways]

    def workers(self, replica: int) -> list[psutil.Process]:
        """The worker processes of a replica."""
        return psutil.Process(self.gateways[replica].pid).children()

    @asynccontextmanager
    async def client(self, timeout_s: float = 60.0) -> AsyncIterator[Client]:
        """Clients without a bound on their connections."""
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            yield Client(session)

    def create_key(
        self, tenant: str, *, replica: int = 0, fields: Mapping[str, Any] | None = None, **limits: Any
    ) -> Key:
        """A new key by ``POST /admin/keys``; ``limits`` are those of ``app.schemas.admin.KeyLimits``."""
        body = {"tenant": tenant, "limits": limits, **(fields or {})}
        made = self.admin("POST", "/admin/keys", body, replica=replica, status=201)
        return _key(made["key"], tenant)

    def rotate_key(self, key: Key, *, grace_s: float, replica: int = 0) -> Key:
        """The same key with its new text."""
        made = self.admin("POST", f"/admin/keys/{key.id}/rotate", {"grace_s": grace_s}, replica=replica)
        return _key(made["key"], key.tenant)

    def admin(
        self, method: str, path: str, body: object | None = None, *, replica: int = 0, status: int = 200
    ) -> dict[str, Any]:
        """A call of an admin route."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[replica], timeout=10)
        try:
            headers = {"authorization": f"Bearer {ADMIN_KEY}", "content-type": "application/json"}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            reply = connection.getresponse()
            text = reply.read()
            assert reply.status == status, text
            answered: dict[str, Any] = json.loads(text)
            return answered
        finally:
            connection.close()

    async def settled(self, *keys: Key, within_s: float = 10.0) -> None:
        """Returns once no call of these keys' tenants is open: no lease is left, and nothing is reserved."""
        async with asyncio.timeout(within_s):
            while any(self.books.is_busy(key.tag) for key in keys):  # noqa: ASYNC110 - Redis does not tell
                await asyncio.sleep(0.02)


def _key(text: str, tenant: str) -> Key:
    read = read_key(text.encode())
    assert read is not None
    return Key(text, tenant, read.tag, read.id)


@contextmanager
def running_replicas(
    server: RedisServer,
    *,
    count: int = 3,
    workers: int = 1,
    tenants: Mapping[str, Mapping[str, Any]] | None = None,
    env: Mapping[str, str] | None = None,
    **simulator_settings: Any,
) -> Iterator[Replicas]:
    """Runs a simulator and so many ``claude-wrapper serve`` in front of it until the block ends.

    Args:
        server: the Redis that they share.
        count: how many replicas.
        workers: worker processes of each.
        tenants: limits of tenants, for the keys file.
        env: further settings.
        simulator_settings: see ``running_simulator``; its journal is on.
    """
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cw-")))
        keys_file = directory / "keys.toml"
        keys_file.write_text(keys_toml(tenants or {}))
        simulator = stack.enter_context(running_simulator(**{"journal": 5000} | simulator_settings))
        settings = {
            "CLAUDE_WRAPPER_REDIS_URL": server.url,
            "CLAUDE_WRAPPER_ADMIN_KEY": ADMIN_KEY,
            "CLAUDE_WRAPPER_KEYS_FILE": str(keys_file),
            "CLAUDE_WRAPPER_WORKERS": str(workers),
            "CLAUDE_WRAPPER_UPSTREAM_MAX_CONNECTIONS": "512",
            # The tests share the machine: none of them is about what happens when Redis is late.
            "CLAUDE_WRAPPER_REDIS_TIMEOUT_S": "2",
            # They all come from one address, and ask with keys that are good no more.
            "CLAUDE_WRAPPER_GUESSES_PER_MINUTE": "100000",
            "ANTHROPIC_BASE_URL": simulator.base_url,
            "ANTHROPIC_API_KEY": "sk-ant-test-0123456789abcdef",
            **(env or {}),
        }

        def start() -> RunningGateway:
            return stack.enter_context(running_gateway(env=settings))

        yield Replicas(server, simulator, [start() for _ in range(count)], keys_file, start)


def keys_toml(tenants: Mapping[str, Mapping[str, Any]], keys: Mapping[str, str] | None = None) -> str:
    """A keys file.

    Args:
        tenants: name -> limits.
        keys: text of a key -> its tenant.
    """
    lines = [f'[[keys]]\nkey = "{text}"\ntenant = "{tenant}"\n' for text, tenant in (keys or {}).items()]
    for tenant, limits in tenants.items():
        lines.append(f"[tenants.{tenant}]\n" + "".join(f"{name} = {value}\n" for name, value in limits.items()))
    return "\n".join(lines)
