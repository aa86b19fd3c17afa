"""At most two round trips to Redis a request, also of those that keep something: counted, and measured by a clock.

Redis is 2 x 60 ms away; a request whose client waits for two round trips takes 240 ms. What is given back beside a
request or after it counts as well, but in a column of its own.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.chat_wire import Reply, until
from tests.support.fault_proxy import fault_proxy
from tests.support.gateway_here import GatewayHere, gateway_here
from tests.support.kept_load import THINKING_MODEL
from tests.support.outage_gateway import services_of, settled, stored_key
from tests.support.redis import RedisServers, redis_servers
from tests.support.simulator import running_simulator
from tests.support.trips import counted_trips

__all__ = ["redis_servers"]

DELAY_S = 0.06
MODEL = "claude-haiku-4-5"
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}}
THINKS = {"model": THINKING_MODEL, "tools": [TOOL], "reasoning_effort": "medium"}
ASKED = {"role": "user", "content": "please call get_weather"}

_numbers = itertools.count()


class Gateway:
    """A gateway, a key that it knows, and their round trips."""

    def __init__(self, here: GatewayHere, key: str) -> None:
        self.here = here
        self.authorization = f"authorization: Bearer {key}\r\n"

    async def ask(self, headers: str = "", **fields: Any) -> Reply:
        """One request that is answered; something new, unless its messages are given."""
        messages = [{"role": "user", "content": f"something new {next(_numbers)} [[sim: output_tokens=5]]"}]
        body = {"model": MODEL, "messages": messages, **fields}
        reply = await self.here.ask(json.dumps(body).encode(), headers=self.authorization + headers)
        assert reply.status == 200, reply.body
        return reply

    async def trips(self, headers: str = "", **fields: Any) -> tuple[int, int]:
        """Round trips of one request: those that its client waits for, and all of them."""
        services = services_of(self.here)
        await self.quiet()
        with counted_trips(services.state) as trips:
            began_at = time.monotonic()
            await self.ask(headers, **fields)
            took_s = time.monotonic() - began_at
            trips.answered()
            await self.quiet()
        assert int(took_s / (2 * DELAY_S)) == trips.awaited, (took_s, trips.awaited)
        return trips.awaited, trips.all

    async def quiet(self) -> None:
        """Returns once nothing is under way."""
        await settled(self.here)
        await until(lambda: not services_of(self.here)._beside)

    async def tool_answer(self, **fields: Any) -> list[dict[str, Any]]:
        """The messages of a conversation whose last answer called a tool, and got its result."""
        reply = await self.ask(**THINKS, messages=[ASKED], **fields)
        message = json.loads(reply.body)["choices"][0]["message"]
        results = [{"role": "tool", "tool_call_id": call["id"], "content": "fine"} for call in message["tool_calls"]]
        return [ASKED, {name: message[name] for name in ("role", "tool_calls")}, *results]


@pytest.fixture
async def gateway(redis_servers: RedisServers, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Gateway]:
    """Every script is known to Redis, and nothing but requests asks for anything."""
    monkeypatch.setattr("app.gateway.report.PUBLISH_INTERVAL_S", 3600.0)
    server = await asyncio.to_thread(redis_servers)
    with running_simulator(validate=False) as simulator:
        async with (
            fault_proxy(server.socket_file) as proxy,
            gateway_here(
                simulator.base_url, redis_url=f"redis://127.0.0.1:{proxy.port}", redis_timeout_s=5.0, max_sessions=2
            ) as here,
        ):
            text, _ = await stored_key(services_of(here))
            gateway = Gateway(here, text)
            await asyncio.sleep(0.3)  # the subscription, and the figures, which are told once
            for name in ("warm", "warm", "w2", "w3"):
                await gateway.ask(session_id=name)
            for headers in ("idempotency-key: warm\r\n", "cache-control: max-age=60\r\n"):
                await gateway.ask(headers, stream=True)
            await gateway.ask(**THINKS, messages=await gateway.tool_answer())
            await gateway.quiet()
            proxy.delay_s = DELAY_S
            yield gateway


STREAM_AND_PLAIN = pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
MAX_AGE = "cache-control: max-age=60\r\n"


@STREAM_AND_PLAIN
async def test_what_keeps_nothing_waits_once_and_settles_behind(gateway: Gateway, stream: bool) -> None:
    assert await gateway.trips(stream=stream) == (1, 2)


@STREAM_AND_PLAIN
async def test_a_turn_of_a_session_waits_twice_and_who_has_to_go_for_it_goes_behind(
    gateway: Gateway, stream: bool
) -> None:
    assert await gateway.trips(stream=stream, session_id="w3") == (2, 2)
    at_the_bound = await gateway.trips(stream=stream, session_id="new")
    assert at_the_bound == (2, 4)  # two sessions are there; the data and then the seat of one of them go
    assert await gateway.trips(stream=stream, session_id="new") == (2, 2)
    long = [{"role": "user", "content": f"{'long ' * 40_000} [[sim: output_tokens=5]]"}]
    assert await gateway.trips(stream=stream, session_id="new", messages=long) == (2, 2)
    assert await gateway.trips(stream=stream, session_id="new") == (2, 2)
    await gateway.here.ask(b"", path="/v1/sessions/clear", headers=gateway.authorization)
    assert await gateway.trips(stream=stream, session_id="the-first-of-all") == (2, 2)


@STREAM_AND_PLAIN
async def test_an_agent_waits_twice_where_thinking_is_kept(gateway: Gateway, stream: bool) -> None:
    assert await gateway.trips(**THINKS, messages=[ASKED], stream=stream) == (2, 2)
    messages = await gateway.tool_answer()
    assert await gateway.trips(**THINKS, messages=messages, stream=stream) == (1, 2)
    again = [*messages, {"role": "assistant", "content": "done"}, ASKED]
    assert await gateway.trips(**THINKS, messages=again, stream=stream) == (2, 2)
    assert await gateway.trips(**THINKS, messages=[ASKED], stream=stream, session_id="w3") == (2, 2)


@STREAM_AND_PLAIN
async def test_the_response_cache_makes_nobody_wait_more_than_once(gateway: Gateway, stream: bool) -> None:
    messages = [{"role": "user", "content": f"cached {next(_numbers)} [[sim: output_tokens=5]]"}]
    miss = await gateway.trips(MAX_AGE, stream=stream, messages=messages)
    assert miss in ((1, 2), (1, 3))  # whether there is room is asked before the answer is stored, once a second
    assert await gateway.trips(MAX_AGE, stream=stream, messages=messages) == (1, 2)
    assert await gateway.trips(MAX_AGE, stream=not stream, messages=messages) == (1, 2)


@STREAM_AND_PLAIN
async def test_an_idempotency_key_waits_twice_the_first_time_and_then_once(gateway: Gateway, stream: bool) -> None:
    messages = [{"role": "user", "content": "once [[sim: output_tokens=5]]"}]
    assert await gateway.trips("idempotency-key: a\r\n", stream=stream, messages=messages) == (2, 2)
    assert await gateway.trips("idempotency-key: a\r\n", stream=stream, messages=messages) == (1, 2)


@STREAM_AND_PLAIN
async def test_an_idempotency_key_beside_something_else_that_is_kept_waits_for_one_after_the_other(
    gateway: Gateway, stream: bool
) -> None:
    """The exception: the answer is the key's only once the turn is committed, which only who makes it may begin."""
    messages = [{"role": "user", "content": "once [[sim: output_tokens=5]]"}]
    in_a_session = {"stream": stream, "messages": messages, "session_id": "w3"}
    assert await gateway.trips("idempotency-key: a\r\n", **in_a_session) == (4, 4)
    assert await gateway.trips("idempotency-key: a\r\n", **in_a_session) == (1, 2)
    agent = {**THINKS, "messages": [ASKED], "stream": stream}
    assert await gateway.trips("idempotency-key: b\r\n", **agent) == (3, 3)
    assert await gateway.trips("idempotency-key: b\r\n", **agent) == (1, 2)
