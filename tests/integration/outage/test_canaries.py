"""Cancellation fuzz: whatever is cut on whichever side, no answer ever carries what belongs to another tenant.

Twenty tenants ask for answers made of a word that is the request's own. Clients leave at random points; one proxy cuts,
freezes, delays and swallows what goes between gateway and Redis, another what goes between gateway and upstream. Every
byte that a client receives is looked at. ``CLAUDE_WRAPPER_TEST_SEED`` repeats a run, as far as time lets it.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress

import pytest
from msgspec import Struct

from app.domain.auth import tenant_tag
from app.gateway.services import Services
from app.schemas.admin import KeyChanges, KeyLimits
from app.state import api_keys, connect
from app.state.limits import LEASE_S
from tests.support.books import Books
from tests.support.chat_wire import Wire, chat, post, until
from tests.support.fault_proxy import FaultProxy, fault_proxy
from tests.support.gateway_here import gateway_here
from tests.support.outage import Site
from tests.support.outage_gateway import services_of, settled, stored_key
from tests.support.paced_load import MODEL
from tests.support.simulator import running_simulator

TENANTS = 20
CLIENTS_OF_A_TENANT = 2
SECONDS = 20.0

#: Nothing takes longer, whatever is cut: two attempts upstream, of two seconds each, and a store that is away.
PATIENCE_S = 10.0

#: The simulator's own limit, which replies show while the store, hence the tenant's own balance, is away.
UPSTREAM_RPM = 50_000

#: What a client may get; a fault of Redis or of the upstream is never 500 and never 401. 404 is asked for.
STATUSES = {200, 404, 429, 502, 503, 504}

_CANARY = re.compile(rb"canary-(\d\d)(?:-(\d{6}))?")
_DELTA = re.compile(rb"^data: (\{.*\})\r?$", re.MULTILINE)


class Tenant(Struct, frozen=True):
    """One of those who must not see each other."""

    number: int
    key: str
    key_id: str

    @property
    def name(self) -> str:
        """Its name, which is a canary as well."""
        return f"canary-{self.number:02}"

    @property
    def rpm(self) -> int:
        """A limit that no other tenant has."""
        return 10_000 + self.number

    def canary(self, request: int) -> str:
        """The word of one of its requests."""
        return f"{self.name}-{request:06}"


class Watch:
    """Looks at what clients receive.

    Attributes:
        seen: replies by status, 0 for one that was cut before its status.
        leaks: what should not have been there.
    """

    def __init__(self) -> None:
        self.seen: Counter[int] = Counter()
        self.leaks: list[str] = []

    def look(self, tenant: Tenant, request: int, data: bytes, answer: str) -> None:
        """Looks at everything that came for one request.

        Args:
            tenant: who asked.
            request: its number.
            data: headers and body, as far as they came.
            answer: what the whole text of the answer is.
        """
        head, _, body = data.partition(b"\r\n\r\n")
        status = int(head.split()[1]) if head.startswith(b"HTTP/1.1 ") and len(head) > 12 else 0
        self.seen[status] += 1
        problems = [
            *(["status"] if status and status not in STATUSES else []),
            *_foreign_words(tenant, request, data),
            *_foreign_limit(tenant, head),
            *_foreign_text(body, answer),
        ]
        self.leaks += (f"{problem}: {tenant.name} got {data[:2000]!r}" for problem in problems)


def _foreign_words(tenant: Tenant, request: int, data: bytes) -> Iterator[str]:
    for number, of_request in set(_CANARY.findall(data)):
        if int(number) != tenant.number or (of_request and int(of_request) != request):
            yield "a canary of another"


def _foreign_limit(tenant: Tenant, head: bytes) -> Iterator[str]:
    for limit in re.findall(rb"\r\nx-ratelimit-limit-requests: (\d+)\r\n", head):
        if int(limit) not in (tenant.rpm, UPSTREAM_RPM):
            yield "the limit of another"


def _foreign_text(body: bytes, answer: str) -> Iterator[str]:
    """The text of a stream, put together, begins as the answer does; a word may be spread over several frames."""
    text = ""
    for frame in _DELTA.findall(body):
        choices = json.loads(frame).get("choices") or [{}]
        text += choices[0].get("delta", {}).get("content") or ""
    if not answer.startswith(text):
        yield "text of another"


class Clients:
    """The clients of all tenants.

    Args:
        port: of the gateway.
        watch: looks at what they receive.
        dice: decides everything.
    """

    def __init__(self, port: int, watch: Watch, dice: random.Random) -> None:
        self._port = port
        self._watch = watch
        self._dice = dice
        self._requests = 0

    async def run(self, tenant: Tenant, ends_at: float) -> None:
        """One client: asks, leaves at random points, and keeps a connection as long as it lasts."""
        while time.monotonic() < ends_at:
            wire = await Wire.open(self._port)
            try:
                is_good = True
                while is_good and time.monotonic() < ends_at:
                    await asyncio.sleep(self._dice.uniform(0.0, 0.02))
                    is_good = await self._ask(tenant, wire)
            finally:
                self._leave(wire)

    async def _ask(self, tenant: Tenant, wire: Wire) -> bool:
        """One request; whether the connection can take another."""
        self._requests += 1
        request, dice = self._requests, self._dice
        answer = " ".join([tenant.canary(request)] * dice.randint(1, 40))
        sent = self._request(tenant, answer)
        patience_s = dice.choice([PATIENCE_S, PATIENCE_S, dice.uniform(0.0, 0.3), dice.uniform(0.0, 0.05)])
        if dice.random() < 0.03:
            sent, patience_s = sent[: dice.randrange(len(sent))], 0.05
        wire.send(sent)
        received = bytearray()
        try:
            async with asyncio.timeout(patience_s):
                while not _is_whole(received):
                    data = await wire.reader.read(dice.choice([64, 65536]))
                    if not data:
                        return False
                    received += data
                    if dice.random() < 0.01:
                        return False
        except ConnectionError:
            return False
        except TimeoutError:
            assert patience_s < PATIENCE_S, f"a request hangs: {sent!r}, {bytes(received)!r}"
            return False
        finally:
            self._watch.look(tenant, request, bytes(received), answer)
        return True

    def _request(self, tenant: Tenant, answer: str) -> bytes:
        dice = self._dice
        authorization = f"authorization: Bearer {tenant.key}\r\n"
        kind = dice.random()
        if kind < 0.1:
            path = dice.choice(["/v1/usage", "/v1/models", f"/v1/{tenant.name}"])
            return f"GET {path} HTTP/1.1\r\nhost: gateway\r\n{authorization}\r\n".encode()
        pace = " status=529" if dice.random() < 0.1 else dice.choice(["", " tokens_per_second=400", " ttft_ms=50"])
        prompt = f"[[sim: text='{answer}'{pace}]]"
        return post(chat(prompt, model=MODEL, stream=kind < 0.6), headers=authorization)

    def _leave(self, wire: Wire) -> None:
        if self._dice.random() < 0.5:
            wire.reset()
        else:
            wire.close()


def _is_whole(data: bytearray) -> bool:
    head, found, body = bytes(data).partition(b"\r\n\r\n")
    if not found:
        return False
    length = re.search(rb"\r\ncontent-length: (\d+)", head.lower())
    return len(body) >= int(length[1]) if length else body.endswith(b"0\r\n\r\n")


async def torment(proxy: FaultProxy, dice: random.Random) -> None:
    """One fault after the other, each for a moment, until it is cancelled; then none."""

    async def reset_one() -> None:
        if links := proxy.open_links:
            proxy.reset(dice.choice(links))

    async def reset_all() -> None:
        proxy.reset_all()

    async def freeze() -> None:
        proxy.freeze()
        await asyncio.sleep(dice.uniform(0.02, 0.6))
        proxy.thaw()

    async def slow() -> None:
        proxy.delay_s = dice.uniform(0.0, 0.2)
        await asyncio.sleep(dice.uniform(0.1, 0.5))
        proxy.delay_s = 0.0

    async def cut() -> None:
        proxy.cut_after_bytes = dice.randrange(50, 5000)
        await asyncio.sleep(dice.uniform(0.1, 0.5))
        proxy.cut_after_bytes = None

    async def deaf() -> None:
        proxy.deaf = True
        await asyncio.sleep(dice.uniform(0.02, 0.3))
        proxy.reset_all()  # TCP loses nothing in the middle of a connection that lives on
        await asyncio.sleep(0)
        proxy.deaf = False

    faults: list[Callable[[], Awaitable[None]]] = [reset_one, reset_one, reset_all, freeze, slow, cut, deaf]
    try:
        while True:
            await asyncio.sleep(dice.uniform(0.05, 0.6))
            await dice.choice(faults)()
    finally:
        proxy.thaw()
        proxy.delay_s, proxy.cut_after_bytes, proxy.deaf = 0.0, None, False


async def change_keys(site: Site, tenants: list[Tenant], dice: random.Random) -> None:
    """Changes keys, so that their records travel again, until it is cancelled."""
    state = connect(site.server.url, timeout_s=5.0)
    try:
        while True:
            tenant = dice.choice(tenants)
            changes = KeyChanges(metadata={"turn": str(dice.random())})
            await api_keys.update(state, tenant.key_id, changes, actor="test", now=time.time())
            await asyncio.sleep(0.3)
    finally:
        await state.close()


async def made_tenants(services: Services) -> list[Tenant]:
    """Tenants with a stored key each."""
    tenants = []
    for number in range(TENANTS):
        named = Tenant(number, "", "")
        limits = KeyLimits(requests_per_minute=named.rpm)
        tenants.append(Tenant(number, *await stored_key(services, named.name, tenant=named.name, limits=limits)))
    return tenants


@pytest.mark.timeout(180)
async def test_no_answer_ever_carries_the_canary_of_another_tenant(site: Site) -> None:
    seed = int(os.environ.get("CLAUDE_WRAPPER_TEST_SEED") or random.SystemRandom().randrange(10**6))
    print(f"CLAUDE_WRAPPER_TEST_SEED={seed}")
    dice = random.Random(seed)
    watch = Watch()
    with running_simulator() as simulator:
        async with (
            fault_proxy((simulator.host, simulator.port)) as upstream,
            gateway_here(
                f"http://127.0.0.1:{upstream.port}",
                redis_url=site.url,
                require_key="yes",
                upstream_retries=1,
                upstream_max_connections=32,
                upstream_first_byte_timeout_s=2.0,
                upstream_idle_timeout_s=2.0,
            ) as gateway,
        ):
            services = services_of(gateway)
            tenants = await made_tenants(services)
            clients = Clients(gateway.port, watch, dice)
            await asyncio.gather(*(clients.run(tenant, time.monotonic() + 1.0) for tenant in tenants))
            beside = [
                asyncio.create_task(torment(site.proxy, random.Random(dice.random()))),
                asyncio.create_task(torment(upstream, random.Random(dice.random()))),
                asyncio.create_task(change_keys(site, tenants, random.Random(dice.random()))),
            ]
            ends_at = time.monotonic() + SECONDS
            await asyncio.gather(*(clients.run(tenant, ends_at) for tenant in tenants * CLIENTS_OF_A_TENANT))
            for task in beside:
                task.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.gather(*beside)
            assert not watch.leaks, f"seed {seed}: {watch.leaks[0]}"
            await gateway.settled()
            await settled(gateway)
            books = Books(site.server)
            tags = [tenant_tag(tenant.name) for tenant in tenants]
            await until(lambda: not any(map(books.is_busy, tags)), within_s=LEASE_S + 3)
    assert watch.seen[200] > 300, watch.seen
    assert watch.seen[0] > 100, watch.seen
