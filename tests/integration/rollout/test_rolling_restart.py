"""Gateways behind HAProxy, with the configuration that ships, are restarted, added and removed under load.

200 streams are open at any time and 100 plain requests come a second, from clients that never ask twice. Nothing of it
may fail: every stream ends with its finish reason and ``[DONE]``, every plain request is answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.support.chat_wire import Wire, chat, post, until
from tests.support.fleet import API_KEY, Fleet, running_fleet
from tests.support.haproxy import HAProxy, running_haproxy
from tests.support.redis import RedisServer, shared_server
from tests.support.simulator import Simulator, running_simulator
from tests.support.steady_load import SteadyLoad

__all__ = ["shared_server"]

STREAMS = 200
PER_SECOND = 100

#: As the head of ``deploy/haproxy.cfg`` tells the operator to.
DRAIN = {"CLAUDE_WRAPPER_DRAIN_DELAY_S": "3"}


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running_simulator(journal=100) as running:
        yield running


@pytest.fixture(scope="module")
def fleet(shared_server: RedisServer, simulator: Simulator) -> Iterator[Fleet]:
    with running_fleet(shared_server, simulator, places=4, running=3, env=DRAIN) as running:
        yield running


@pytest.fixture(scope="module")
def proxy(fleet: Fleet) -> Iterator[HAProxy]:
    with running_haproxy(fleet.ports) as running:
        running.wait_for("gateway1", "gateway2", "gateway3")
        yield running


@pytest.mark.timeout(400)
async def test_no_request_fails_and_no_stream_is_cut(fleet: Fleet, proxy: HAProxy, shared_server: RedisServer) -> None:
    load = SteadyLoad(proxy.port, API_KEY, streams=STREAMS, per_second=PER_SECOND)
    async with load.running():
        await until_streams_are_open(load)
        for number in range(9):
            logs = await asyncio.to_thread(fleet.restart, number % 3)
            await asyncio.to_thread(proxy.wait_for, "gateway1", "gateway2", "gateway3")
            assert "Traceback" not in logs
        await asyncio.to_thread(fleet.start, 3)
        await asyncio.to_thread(proxy.wait_for, "gateway1", "gateway2", "gateway3", "gateway4")
        served = load.streamed
        await until(lambda: load.streamed > served + STREAMS, within_s=60)
        await asyncio.to_thread(fleet.stop, 3)
        await asyncio.to_thread(proxy.wait_for, "gateway1", "gateway2", "gateway3")

    statistics = proxy.statistics()
    print(figures(load, statistics))
    assert (load.failed, load.failures) == (0, [])
    assert load.streamed > STREAMS * 5
    assert int(statistics["gateway4"]["stot"]) > 20, "the added gateway got requests"
    assert held_slots(shared_server) == 0


async def test_a_client_that_leaves_is_noticed_behind_the_proxy(proxy: HAProxy, simulator: Simulator) -> None:
    """HAProxy tells the gateway, which cancels the call: nobody pays for what nobody reads."""
    simulator.reset()
    for stream in (False, True):
        wire = await Wire.open(proxy.port)
        prompt = f"leaving [[sim: tokens_per_second=20 output_tokens=2000]] {stream}"
        headers = f"authorization: Bearer {API_KEY}\r\n"
        wire.send(post(chat(prompt, model="claude-haiku-4-5", stream=stream), headers=headers))
        due = 1 + stream
        await asyncio.to_thread(simulator.journal_until, lambda entries: len(entries) == due, 20.0)  # noqa: B023
        wire.close()
    await asyncio.to_thread(
        simulator.journal_until, lambda entries: [entry["outcome"] for entry in entries] == ["cancelled"] * 2, 20.0
    )


async def test_what_a_killed_gateway_refuses_is_answered_by_another_one(fleet: Fleet, proxy: HAProxy) -> None:
    """Also before HAProxy has checked: a refused connection is no failure of a request."""
    await asyncio.to_thread(fleet.kill, 2)
    statuses: list[int] = []
    async with asyncio.timeout(60):
        while not statuses or len(proxy.in_service()) != 2:
            wire = await Wire.open(proxy.port)
            wire.send(post(chat(model="claude-haiku-4-5"), headers=f"authorization: Bearer {API_KEY}\r\n"))
            statuses.append((await wire.reply()).status)
            wire.close()
    assert set(statuses) == {200}
    await asyncio.to_thread(fleet.start, 2)
    await asyncio.to_thread(proxy.wait_for, "gateway1", "gateway2", "gateway3")


async def test_when_no_gateway_is_there_the_proxy_answers_in_openais_shape() -> None:
    with running_haproxy([]) as proxy:
        await asyncio.to_thread(proxy.wait_for)
        wire = await Wire.open(proxy.port)
        wire.send(post(chat()))
        reply = await wire.reply()
        wire.close()
    assert (reply.status, reply.error["code"]) == (503, "no_gateway")
    assert reply.headers["retry-after"] == "1"


async def until_streams_are_open(load: SteadyLoad) -> None:
    """All of them, and they end at different times."""
    await until(lambda: load.open_streams == STREAMS and load.streamed > STREAMS / 2, within_s=60)


def held_slots(server: RedisServer) -> int:
    """Requests that hold a lease, of all keys."""
    names = server.ask("KEYS", "cw:{*}:live:v1:*")
    assert isinstance(names, list)
    return sum(int(str(server.ask("ZCARD", name))) for name in names)


def figures(load: SteadyLoad, statistics: dict[str, dict[str, str]]) -> str:
    """What came of it, in a line."""
    waits = sorted(load.waits_s)
    p50, p99 = (waits[int(share * (len(waits) - 1))] * 1000 for share in (0.5, 0.99))
    proxied = statistics["BACKEND"]
    return (
        f"\n{load.streamed} whole streams, {load.answered} plain answers (p50 {p50:.0f} ms, p99 {p99:.0f} ms, "
        f"longest {waits[-1] * 1000:.0f} ms), {load.failed} failed; "
        f"the proxy tried {proxied['wretr']} times again, {proxied['wredis']} times elsewhere"
    )
