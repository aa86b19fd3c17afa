"""A client that goes away: the call to Anthropic ends within 100 ms, in every phase, and nothing is left behind.

A busy machine only ever adds to the time, so the best of three counts.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

import pytest

from tests.support.chat_wire import Wire, chat, post, until
from tests.support.fake_upstream import event, message
from tests.support.gateway_here import GatewayHere, gateway_here
from tests.support.messages_peer import (
    HEAD,
    MESSAGE,
    TAIL,
    Gone,
    begin_stream,
    delta,
    end_stream,
    error_body,
    wants_stream,
)
from tests.support.raw_upstream import Peer, raw_upstream

AT_ONCE_S = 0.1
TRIES = 3

Leave = Callable[[Wire], None]
LEAVING = pytest.mark.parametrize("leave", [Wire.close, Wire.reset], ids=["closes", "resets"])
STREAMED = pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])


async def fastest(script: Callable[[Peer, Gone], Awaitable[None]], client: Callable[..., Awaitable[int]], **settings):
    """Seconds from the client's leaving to the end of its upstream calls, in the best of some tries.

    Args:
        script: the upstream; ends in ``Gone.watch``.
        client: gets a connection and ``Gone``; leaves, and returns how many upstream connections there were.
        settings: of the gateway.
    """
    taken, tries = [], [Gone()]
    async with (
        raw_upstream(lambda peer: script(peer, tries[-1])) as upstream,
        gateway_here(upstream.base_url, **settings) as gateway,
    ):
        while len(taken) < TRIES:
            wire = await gateway.wire()
            calls = await client(wire, tries[-1])
            left_at = asyncio.get_running_loop().time()
            taken.append(await tries[-1].latest(calls) - left_at)
            await gateway.settled()
            tries.append(Gone())
    return min(taken)


def said_by_us(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the gateway has logged, with what it says of a request; uvicorn's start is not its own."""
    facts = ("status", "error_code", "stream")
    return [
        " ".join([record.getMessage(), *(f"{name}={vars(record)[name]}" for name in facts if name in vars(record))])
        for record in caplog.records
        if not record.name.startswith("uvicorn")
    ]


async def silent(peer: Peer, gone: Gone) -> None:
    await peer.request()
    await gone.watch(peer)


async def silent_after_headers(peer: Peer, gone: Gone) -> None:
    if wants_stream(await peer.request()):
        begin_stream(peer)
    else:
        peer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{")
    await gone.watch(peer)


async def silent_in_the_middle(peer: Peer, gone: Gone) -> None:
    await peer.request()
    begin_stream(peer, HEAD)
    await gone.watch(peer)


@LEAVING
@STREAMED
@pytest.mark.parametrize("script", [silent, silent_after_headers])
@pytest.mark.parametrize("n", [1, 3])
async def test_client_that_leaves_before_its_headers_ends_the_upstream_call(script, leave, streamed, n):
    async def client(wire: Wire, gone: Gone) -> int:
        wire.send(post(chat(stream=streamed, n=n)))
        await gone.were_reached(n)
        leave(wire)
        return n

    assert await fastest(script, client) < AT_ONCE_S


@LEAVING
@pytest.mark.parametrize("n", [1, 3])
async def test_client_that_leaves_in_the_middle_of_a_stream_ends_the_upstream_call(leave, n):
    async def client(wire: Wire, gone: Gone) -> int:
        wire.send(post(chat(stream=True, n=n)))
        await wire.head()
        await wire.until(b"Par")
        await gone.were_reached(n)
        leave(wire)
        return n

    assert await fastest(silent_in_the_middle, client) < AT_ONCE_S


async def test_client_that_leaves_between_two_comments_ends_the_upstream_call():
    async def client(wire: Wire, gone: Gone) -> int:
        wire.send(post(chat(stream=True)))
        await wire.head()
        await wire.until(b": ping\n\n: ping\n\n")
        wire.close()
        return 1

    assert await fastest(silent, client, stream_keepalive_s=0.05) < AT_ONCE_S


@STREAMED
async def test_client_that_half_closes_counts_as_gone(streamed):
    async def client(wire: Wire, gone: Gone) -> int:
        wire.send(post(chat(stream=streamed)))
        await gone.were_reached()
        wire.writer.write_eof()
        return 1

    assert await fastest(silent, client) < AT_ONCE_S


@STREAMED
async def test_client_that_leaves_with_a_further_request_on_its_way_ends_the_upstream_call(streamed):
    async def client(wire: Wire, gone: Gone) -> int:
        wire.send(post(chat(stream=streamed)) * 2)
        await gone.were_reached()
        wire.close()
        return 1

    assert await fastest(silent, client) < AT_ONCE_S


@STREAMED
async def test_client_that_leaves_during_a_continuation_ends_it(streamed):
    paused = message({"type": "text", "text": "Par"}, stop_reason="pause_turn")

    async def script(peer: Peer, gone: Gone) -> None:
        while True:
            request = await peer.request()
            if b"Par" in request.body:
                await gone.watch(peer)
                return
            if wants_stream(request):
                begin_stream(peer, HEAD + event("content_block_stop", index=0))
                peer.chunk(
                    event(
                        "message_delta",
                        delta={"stop_reason": "pause_turn", "stop_sequence": None},
                        usage={"output_tokens": 1},
                    )
                )
                peer.chunk(event("message_stop"))
                end_stream(peer)
            else:
                peer.reply(200, paused)

    async def client(wire: Wire, gone: Gone) -> int:
        wire.send(post(chat(stream=streamed, web_search_options={})))
        await gone.were_reached()
        wire.close()
        return 1

    assert await fastest(script, client) < AT_ONCE_S


@STREAMED
async def test_nothing_is_sent_again_for_a_client_that_has_left(streamed):
    calls = 0

    async def script(peer: Peer) -> None:
        nonlocal calls
        while True:
            await peer.request()
            calls += 1
            peer.reply(529, error_body("overloaded_error", "Overloaded"))

    async with raw_upstream(script) as upstream, gateway_here(upstream.base_url, upstream_retries=5) as gateway:
        wire = await gateway.wire()
        wire.send(post(chat(stream=streamed)))
        await until(lambda: calls)
        wire.close()
        await gateway.settled()
        assert calls == 1


@pytest.mark.parametrize("sent", [0.0, 0.5], ids=["headers only", "half of its body"])
async def test_client_that_leaves_while_it_sends_its_body_calls_nobody(sent):
    calls = 0

    async def script(peer: Peer) -> None:
        nonlocal calls
        calls += 1

    request = post(chat("x" * 200_000))
    cut = request.index(b"\r\n\r\n") + 4
    async with raw_upstream(script) as upstream, gateway_here(upstream.base_url) as gateway:
        wire = await gateway.wire()
        wire.send(request[: cut + int(sent * (len(request) - cut))])
        await until(lambda: gateway.requests_in_flight)
        wire.close()
        await gateway.settled()
    assert calls == 0


async def test_leaving_clients_leave_the_log_calm(caplog):
    caplog.set_level(logging.INFO)

    async def script(peer: Peer) -> None:
        while True:
            request = await peer.request()
            if wants_stream(request):
                begin_stream(peer, HEAD)
            await peer.gone()
            return

    async with raw_upstream(script) as upstream, gateway_here(upstream.base_url) as gateway:
        for number in range(20):
            wire = await gateway.wire()
            wire.send(post(chat(stream=bool(number % 2), n=1 + number % 3)))
            await asyncio.sleep(0.005 * (number % 4))
            (wire.reset if number % 5 else wire.close)()
        await gateway.settled()
    assert said_by_us(caplog) == []


@pytest.mark.parametrize("seed", range(4))
async def test_clients_that_leave_at_any_moment_leave_nothing_behind(seed, caplog):
    """Five hundred cuts per seed at random moments, among them the one at which the reply completes."""
    dice = random.Random(seed)
    served = 0

    async def script(peer: Peer) -> None:
        nonlocal served
        while True:
            request = await peer.request()
            served += 1
            if not wants_stream(request):
                await asyncio.sleep(dice.random() * 0.002)
                peer.reply(200, MESSAGE)
                continue
            begin_stream(peer, HEAD)
            for _ in range(dice.randrange(4)):
                await asyncio.sleep(dice.random() * 0.001)
                peer.chunk(delta("x"))
            peer.chunk(TAIL)
            await asyncio.sleep(dice.random() * 0.0005)
            end_stream(peer)

    async def visit(gateway: GatewayHere, longest_s: float) -> None:
        wire = await gateway.wire()
        request = post(chat(stream=dice.random() < 0.6, n=dice.choice([1, 1, 1, 2])))
        if dice.random() < 0.1:
            request = request[: dice.randrange(len(request))]
        wire.send(request)
        await asyncio.sleep(dice.random() * longest_s)
        (wire.close if dice.random() < 0.5 else wire.reset)()

    async def visits(gateway: GatewayHere, longest_s: float) -> None:
        for _ in range(100):
            await visit(gateway, longest_s)

    async with raw_upstream(script) as upstream, gateway_here(upstream.base_url) as gateway:
        loop = asyncio.get_running_loop()
        for _ in range(2):  # the first call is slower than any other
            began_at = loop.time()
            await gateway.ask(chat(stream=True))
        await asyncio.gather(*(visits(gateway, 4 * (loop.time() - began_at)) for _ in range(5)))
        await gateway.settled()
        assert (await gateway.ask(chat())).status == 200
    assert served > 20
    assert said_by_us(caplog) == []


async def test_upstream_answer_in_progress_ends_when_one_of_many_leaves_and_the_others_go_on():
    go_on = asyncio.Event()

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            begin_stream(peer, HEAD)
            await go_on.wait()
            peer.chunk(TAIL)
            end_stream(peer)

    async with raw_upstream(script) as upstream, gateway_here(upstream.base_url) as gateway:
        wires = [await gateway.wire() for _ in range(10)]
        for wire in wires:
            wire.send(post(chat(stream=True)))
        for wire in wires:
            await wire.head()
            await wire.until(b"Par")
        for wire in wires[::2]:
            wire.reset()
        go_on.set()
        for wire in wires[1::2]:
            assert b"[DONE]" in await wire.until(b"[DONE]")
            wire.close()
