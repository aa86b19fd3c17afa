"""The bounds of a worker, and what is tried again unseen by the client."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.support.chat_wire import Reply, chat, post, until
from tests.support.gateway_here import GatewayHere, gateway_here
from tests.support.messages_peer import (
    HEAD,
    Gone,
    answer,
    begin_stream,
    error_body,
    overloaded,
)
from tests.support.outage_gateway import services_of
from tests.support.raw_upstream import Peer, raw_upstream
from tests.support.request_logs import logged

STREAMED = pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])


async def get(gateway: GatewayHere, path: str) -> Reply:
    wire = await gateway.wire()
    wire.send(f"GET {path} HTTP/1.1\r\nhost: a\r\n\r\n".encode())
    return await wire.reply()


async def held(peer: Peer) -> None:
    """Takes a request and keeps it."""
    await peer.request()
    await peer.gone()


@STREAMED
async def test_requests_beyond_the_bound_are_refused_while_health_answers(streamed):
    async with raw_upstream(held) as upstream, gateway_here(upstream.base_url, max_concurrent_requests=3) as gateway:
        wires = [await gateway.wire() for _ in range(3)]
        for wire in wires:
            wire.send(post(chat(stream=streamed)))
        await until(lambda: len(upstream.peers) == 3)
        refused = await gateway.ask(chat(stream=streamed))
        assert (refused.status, refused.error["code"]) == (503, "overloaded")
        assert int(refused.headers["retry-after"]) >= 1
        assert (await get(gateway, "/health/live")).status == 200
        assert (await get(gateway, "/health/detailed")).status == 200
        assert gateway.app._process.in_flight == 3
        wires[0].close()
        await until(lambda: gateway.requests_in_flight == 2)
        again = await gateway.wire()
        again.send(post(chat(stream=streamed)))
        await until(lambda: len(upstream.peers) == 4)
        gateway.hang_up()


@STREAMED
@pytest.mark.parametrize("wait_s", [0.0, 0.1])
async def test_calls_beyond_the_bound_of_upstream_connections_are_refused(streamed, wait_s):
    async with (
        raw_upstream(held) as upstream,
        gateway_here(upstream.base_url, upstream_max_connections=2, upstream_pool_wait_s=wait_s) as gateway,
    ):
        wires = [await gateway.wire() for _ in range(2)]
        for wire in wires:
            wire.send(post(chat(stream=True)))
        await until(lambda: len(upstream.peers) == 2)
        refused = await gateway.ask(chat(stream=streamed))
        assert (refused.status, refused.error["code"]) == (503, "overloaded")
        assert int(refused.headers["retry-after"]) >= 1
        gateway.hang_up()


async def test_call_that_waits_for_a_connection_gets_the_one_of_a_client_that_leaves():
    gone = Gone()

    async def script(peer: Peer) -> None:
        if peer.number == 0:
            await peer.request()
            await gone.watch(peer)
        else:
            answer(peer, await peer.request())

    async with (
        raw_upstream(script) as upstream,
        gateway_here(upstream.base_url, upstream_max_connections=1, upstream_pool_wait_s=5.0) as gateway,
    ):
        first = await gateway.wire()
        first.send(post(chat()))
        await gone.were_reached()
        second = asyncio.create_task(gateway.ask(chat()))
        await until(lambda: gateway.requests_in_flight == 2)
        first.close()
        assert (await second).status == 200


async def test_several_choices_never_wait_for_each_other_for_ever():
    async with (
        raw_upstream(held) as upstream,
        gateway_here(upstream.base_url, upstream_max_connections=2, upstream_pool_wait_s=0.1) as gateway,
    ):
        refused = await gateway.ask(chat(n=3))
        assert (refused.status, refused.error["code"]) == (503, "overloaded")


# Retries


def attempts(gateway: GatewayHere) -> list[Any]:
    return [line["attempts"] for line in logged(services_of(gateway))]


@STREAMED
@pytest.mark.parametrize("failure", ["529", "500", "reset"])
async def test_one_failure_is_unseen_by_the_client_and_told_in_the_log(failure, streamed):
    calls = 0

    async def script(peer: Peer) -> None:
        nonlocal calls
        while True:
            request = await peer.request()
            calls += 1
            if calls > 1:
                answer(peer, request)
            elif failure == "reset":
                peer.reset()
                return
            else:
                peer.reply(int(failure), error_body("api_error", "x"), retry_after="0")

    async with (
        raw_upstream(script) as upstream,
        gateway_here(upstream.base_url, upstream_retries=1) as gateway,
    ):
        assert (await gateway.ask(chat(stream=streamed))).status == 200
    assert attempts(gateway) == [2]


@STREAMED
async def test_attempts_of_a_request_that_fails_are_told_in_the_log(streamed):
    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            peer.reply(529, error_body("overloaded_error", "Overloaded"), retry_after="0")

    async with raw_upstream(script) as upstream, gateway_here(upstream.base_url, upstream_retries=2) as gateway:
        assert (await gateway.ask(chat(stream=streamed))).status == 503
    assert attempts(gateway) == [3]


async def test_refusal_of_a_streamed_request_is_no_failure_of_the_gateway():
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.reply(400, error_body("invalid_request_error", "messages.0: no"))

    async with raw_upstream(script) as upstream, gateway_here(upstream.base_url) as gateway:
        assert (await gateway.ask(chat(stream=True))).status == 400
        assert gateway.app._process.snapshot().errors == 0
    assert [line["level"] for line in logged(services_of(gateway))] == ["INFO"]


@pytest.mark.parametrize("n", [1, 2])
async def test_nothing_is_tried_again_after_the_first_byte(n):
    async def script(peer: Peer) -> None:
        await peer.request()
        begin_stream(peer, HEAD)
        await asyncio.sleep(0.05)
        peer.chunk(overloaded())
        await peer.gone()

    async with raw_upstream(script) as upstream, gateway_here(upstream.base_url, upstream_retries=3) as gateway:
        reply = await gateway.ask(chat(stream=True, n=n))
        assert b'"overloaded"' in reply.body
        assert len(upstream.peers) == n


@STREAMED
async def test_connection_that_the_upstream_closed_while_it_was_idle_is_no_failure(streamed):
    async def script(peer: Peer) -> None:
        answer(peer, await peer.request())
        await peer.writer.drain()
        if peer.number % 2:
            peer.reset()

    async with raw_upstream(script) as upstream, gateway_here(upstream.base_url, upstream_retries=1) as gateway:
        for _ in range(6):
            assert (await gateway.ask(chat(stream=streamed))).status == 200


async def test_each_request_is_sent_once():
    """Many at the same time over connections that are kept, some of them closed by the upstream at that moment."""
    seen: dict[str, int] = {}

    async def script(peer: Peer) -> None:
        for _ in range(5):
            request = await peer.request()
            topic = json.loads(request.body)["messages"][0]["content"]
            seen[str(topic)] = seen.get(str(topic), 0) + 1
            answer(peer, request)
        await peer.writer.drain()

    async with raw_upstream(script) as upstream, gateway_here(upstream.base_url, upstream_retries=1) as gateway:

        async def visits(visitor: int) -> None:
            for number in range(25):
                reply = await gateway.ask(chat(f"topic {visitor} {number}", stream=number % 2 == 0))
                assert reply.status == 200

        await asyncio.gather(*(visits(visitor) for visitor in range(8)))
    assert len(seen) == 200
    assert set(seen.values()) == {1}
