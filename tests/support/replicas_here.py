"""Replicas of the gateway with one Redis and one upstream, all in the test's own event loop: they start at once.

async with replicas_here(server, simulator, cache="on") as replicas:
    key = await replicas.create_key("acme", cache={"ttl": 60})
    first, again = await replicas.ask(chat("Hello"), key), await replicas.ask(chat("Hello"), key)

Each request goes to the next replica, unless the test says to which. What only processes can show is in
``tests/support/replicas.py``.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast

import httpx

from app.domain.auth import read_key
from tests.support.books import Books
from tests.support.chat_wire import Reply, until
from tests.support.gateway_here import GatewayHere, gateway_here
from tests.support.redis import RedisServer
from tests.support.replicas import ADMIN_KEY, Key
from tests.support.simulator import Simulator


class ReplicasHere:
    """Gateways that are ready.

    Attributes:
        gateways: the replicas.
        server: their Redis.
        simulator: their upstream.
        books: what Redis holds of rates, spend, leases and use.
    """

    def __init__(self, gateways: Sequence[GatewayHere], server: RedisServer, simulator: Simulator) -> None:
        self.gateways = gateways
        self.server = server
        self.simulator = simulator
        self.books = Books(server)
        self._next = itertools.cycle(gateways)

    @property
    def urls(self) -> list[str]:
        """What ``OPENAI_BASE_URL`` would be, of each replica."""
        return [gateway.url for gateway in self.gateways]

    async def ask(
        self, body: bytes, key: Key | str, headers: Mapping[str, str] | None = None, *, replica: int | None = None
    ) -> Reply:
        """One chat completion, read to its end.

        Args:
            body: as ``tests.support.chat_wire.chat`` makes it.
            key: whose request it is.
            headers: further ones.
            replica: which one is asked; without it the next in turn.
        """
        gateway = next(self._next) if replica is None else self.gateways[replica]
        lines = {"authorization": f"Bearer {key if isinstance(key, str) else key.text}", **(headers or {})}
        return await gateway.ask(body, headers="".join(f"{name}: {value}\r\n" for name, value in lines.items()))

    async def create_key(
        self, tenant: str, *, cache: Mapping[str, Any] | None = None, scopes: Sequence[str] = (), **limits: Any
    ) -> Key:
        """A new key by ``POST /admin/keys``; ``limits`` and ``cache`` are those of ``app.schemas.admin``."""
        body: dict[str, Any] = {"tenant": tenant, "limits": limits}
        body |= ({"cache": cache} if cache else {}) | ({"scopes": scopes} if scopes else {})
        made = await self.get("/admin/keys", ADMIN_KEY, method="POST", body=body)
        read = read_key(made["key"].encode())
        assert read is not None
        return Key(made["key"], tenant, read.tag, read.id)

    async def get(self, path: str, key: Key | str, *, method: str = "GET", body: Any = None, replica: int = 0) -> Any:
        """A request to another route, which is answered with success; its answer, decoded."""
        headers = {"authorization": f"Bearer {key if isinstance(key, str) else key.text}"}
        async with httpx.AsyncClient(base_url=self.gateways[replica].root, timeout=10) as client:
            reply = await client.request(method, path, json=body, headers=headers)
        assert reply.is_success, reply.text
        return reply.json()

    async def settled(self, *tags: str, within_s: float = 10.0) -> None:
        """Returns once no request of these tenants is open: no lease is left, and nothing is reserved."""
        async with asyncio.timeout(within_s):
            while any(self.books.is_busy(tag) for tag in tags):  # noqa: ASYNC110 - Redis does not tell
                await asyncio.sleep(0.01)

    async def at_rest(self) -> None:
        """Returns once the replicas have done everything that they do beside and after requests."""
        for gateway in self.gateways:
            await gateway.settled()
            services = gateway.app._app.state.services
            await services.close()  # it waits for what is done beside the requests, and ends nothing
            await until(lambda ledger=services.ledger: not (ledger.open_permits or ledger.unsettled))

    def keys(self, kind: str) -> list[str]:
        """Names in Redis of a kind, such as ``answer``."""
        names = cast("list[bytes]", self.server.ask("KEYS", f"cw:*:{kind}:v1*"))
        return sorted(name.decode() for name in names)

    async def upstream(self, about: str) -> list[dict[str, Any]]:
        """The journal's entries of the Messages requests that contain a text, oldest first."""
        entries = await asyncio.to_thread(self.simulator.journal)
        messages = (entry for entry in entries if entry["path"] == "/v1/messages")
        return [entry for entry in messages if about in json.dumps(entry["body"], ensure_ascii=False)]

    async def script(self, **fields: Any) -> None:
        """What the simulator does next; see ``Simulator.script``."""
        await asyncio.to_thread(self.simulator.script, **fields)


@asynccontextmanager
async def replicas_here(
    server: RedisServer, simulator: Simulator, *, count: int = 3, **settings: Any
) -> AsyncIterator[ReplicasHere]:
    """Runs so many gateways until the block ends; each fails when it leaves anything behind.

    Args:
        server: the Redis that they share.
        simulator: their upstream; its journal should be on.
        count: how many replicas.
        settings: fields of ``Config``.
    """
    settings = {"redis_url": server.url, "admin_key": ADMIN_KEY, "redis_timeout_s": 5.0, **settings}
    async with AsyncExitStack() as stack:
        gateways = [await stack.enter_async_context(gateway_here(simulator.base_url, **settings)) for _ in range(count)]
        yield ReplicasHere(gateways, server, simulator)
