"""Streams: event by event, kept alive, and honest about errors, whenever they come."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from tests.support.chat_wire import Wire, chat, post
from tests.support.fake_upstream import data_frames, event
from tests.support.gateway_here import GatewayHere, gateway_here
from tests.support.messages_peer import (
    HEAD,
    TAIL,
    answer,
    begin_stream,
    delta,
    end_stream,
    error_body,
    overloaded,
)
from tests.support.outage_gateway import services_of
from tests.support.raw_upstream import Peer, raw_upstream
from tests.support.request_logs import logged


async def streaming(gateway: GatewayHere, *, headers: str = "", **fields: Any) -> Wire:
    """A stream that has been asked for."""
    wire = await gateway.wire()
    wire.send(post(chat(stream=True, **fields), headers=headers))
    return wire


async def rest(wire: Wire) -> bytes:
    """What still comes of a stream."""
    data = b""
    while part := await wire.chunk():
        data += part
    return data


async def test_each_event_reaches_the_client_before_the_upstream_sends_the_next():
    seen = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        begin_stream(peer, HEAD)
        for number in range(5):
            async with asyncio.timeout(5):
                await seen.wait()
            seen.clear()
            peer.chunk(delta(f"delta-{number}"))
        await seen.wait()
        peer.chunk(TAIL)
        end_stream(peer)

    async with raw_upstream(script) as upstream, gateway_here(upstream.base_url) as gateway:
        wire = await streaming(gateway)
        await wire.head()
        await wire.until(b"Par")
        for number in range(5):
            seen.set()
            await wire.until(f"delta-{number}".encode())
        seen.set()
        assert (await rest(wire)).endswith(b"data: [DONE]\n\n")


async def test_events_that_arrive_together_leave_together():
    async def script(peer: Peer) -> None:
        await peer.request()
        begin_stream(peer, HEAD + b"".join(delta(f"{n}") for n in range(50)) + TAIL)
        end_stream(peer)

    async with raw_upstream(script) as upstream, gateway_here(upstream.base_url) as gateway:
        wire = await streaming(gateway)
        await wire.head()
        first = await wire.chunk()
        assert len(data_frames(first)) > 50
        assert await wire.chunk() == b""


async def test_stream_is_neither_buffered_nor_compressed_on_its_way():
    async with raw_upstream(_answering) as upstream, gateway_here(upstream.base_url) as gateway:
        wire = await streaming(gateway, headers="accept-encoding: gzip, br, zstd\r\n")
        status, headers = await wire.head()
        await rest(wire)
    assert status == 200
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert headers["x-accel-buffering"] == "no"
    assert headers["cache-control"] == "no-cache"
    assert headers["request-id"] == "req_up"
    assert "content-encoding" not in headers
    assert "content-length" not in headers


async def _answering(peer: Peer) -> None:
    while True:
        answer(peer, await peer.request())


@pytest.mark.parametrize("begun", [False, True], ids=["nothing", "headers only"])
@pytest.mark.parametrize("n", [1, 2])
async def test_comments_keep_a_stream_alive_while_the_upstream_has_not_answered(begun, n):
    go_on = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        if begun:
            begin_stream(peer)
        await go_on.wait()
        if not begun:
            begin_stream(peer)
        peer.chunk(HEAD + TAIL)
        end_stream(peer)

    async with (
        raw_upstream(script) as upstream,
        gateway_here(upstream.base_url, stream_keepalive_s=0.1) as gateway,
    ):
        wire = await streaming(gateway, n=n)
        began_at = asyncio.get_running_loop().time()
        assert (await wire.head())[0] == 200
        assert asyncio.get_running_loop().time() - began_at >= 0.09
        assert [await wire.chunk() for _ in range(3)] == [b": ping\n\n"] * 3
        go_on.set()
        assert (await rest(wire)).endswith(b"data: [DONE]\n\n")


async def test_comments_keep_a_stream_alive_between_two_events():
    async def script(peer: Peer) -> None:
        await peer.request()
        begin_stream(peer, HEAD)
        await asyncio.sleep(0.35)
        peer.chunk(TAIL)
        end_stream(peer)

    async with (
        raw_upstream(script) as upstream,
        gateway_here(upstream.base_url, stream_keepalive_s=0.1) as gateway,
    ):
        wire = await streaming(gateway)
        await wire.head()
        data = await rest(wire)
    assert 2 <= data.count(b": ping\n\n") <= 3
    assert data.endswith(b"data: [DONE]\n\n")


async def test_busy_stream_needs_no_comments():
    async def script(peer: Peer) -> None:
        await peer.request()
        begin_stream(peer, HEAD)
        for _ in range(20):
            await asyncio.sleep(0.02)
            peer.chunk(delta("x"))
        peer.chunk(TAIL)
        end_stream(peer)

    async with (
        raw_upstream(script) as upstream,
        gateway_here(upstream.base_url, stream_keepalive_s=0.25) as gateway,
    ):
        wire = await streaming(gateway)
        await wire.head()
        assert b": ping" not in await rest(wire)


async def test_error_before_the_first_comment_has_its_status_and_a_later_one_comes_in_band():
    late = False

    async def script(peer: Peer) -> None:
        await peer.request()
        await asyncio.sleep(0.4 if late else 0.01)
        peer.reply(429, error_body("rate_limit_error", "slow down"), retry_after="7")

    async with (
        raw_upstream(script) as upstream,
        gateway_here(upstream.base_url, stream_keepalive_s=0.2) as gateway,
    ):
        early = await gateway.ask(chat(stream=True))
        late = True
        wire = await streaming(gateway)
        status, _ = await wire.head()
        data = await rest(wire)
    assert (early.status, early.headers["retry-after"]) == (429, "7")
    assert status == 200
    assert data_frames(data)[-1]["error"]["code"] == "rate_limit_exceeded"
    assert b"[DONE]" not in data


BREAKS = ["error event", "reset", "close", "end without message_stop", "silence", "nonsense"]


async def break_off(peer: Peer, how: str) -> None:
    """Ends a stream in a bad way."""
    match how:
        case "error event":
            peer.chunk(overloaded())
            end_stream(peer)
        case "reset":
            peer.reset()
        case "close":
            peer.close()
        case "end without message_stop":
            end_stream(peer)
        case "silence":
            await peer.gone()
        case "nonsense":
            peer.chunk(b"data: {nonsense\n\n")


CODES = {
    "error event": "overloaded",
    "reset": "upstream_unreachable",
    "close": "upstream_unreachable",
    "end without message_stop": "upstream_unreachable",
    "silence": "timeout",
    "nonsense": "bad_upstream_response",
}


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("how", BREAKS)
async def test_stream_that_breaks_off_ends_with_an_error_event_and_no_done(how, n):
    go_on = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        begin_stream(peer, HEAD)
        await go_on.wait()
        if peer.number == 0:
            await break_off(peer, how)
        else:
            await peer.gone()

    async with (
        raw_upstream(script) as upstream,
        gateway_here(upstream.base_url, upstream_idle_timeout_s=0.3) as gateway,
    ):
        wire = await streaming(gateway, n=n)
        await wire.head()
        seen = await wire.until(b"Par")
        go_on.set()
        data = seen + await rest(wire)
        wire.send(post(chat(model="gpt-nope")))  # the reply was complete: the connection can be used again
        assert (await wire.reply()).status == 404
    assert data_frames(data)[-1]["error"]["code"] == CODES[how]
    assert data.count(b'"error"') == 1
    assert b"[DONE]" not in data


@pytest.mark.parametrize("how", BREAKS)
async def test_official_client_raises_when_a_stream_breaks_off(how):
    go_on = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        begin_stream(peer, HEAD)
        await go_on.wait()
        await break_off(peer, how)

    async with (
        raw_upstream(script) as upstream,
        gateway_here(upstream.base_url, upstream_idle_timeout_s=0.3) as gateway,
        AsyncOpenAI(base_url=gateway.url, api_key="sk-x", max_retries=0, timeout=10) as client,
    ):
        stream = await client.chat.completions.create(
            model="claude-opus-5-5", messages=[{"role": "user", "content": "Hi"}], stream=True
        )
        text = ""
        with pytest.raises(openai.APIError) as caught:
            async for chunk in stream:
                text += chunk.choices[0].delta.content or ""
                go_on.set()
    assert text == "Par"
    assert caught.value.code == CODES[how]


@pytest.mark.parametrize("ending", ["in the same chunk", "late", "never"])
@pytest.mark.parametrize("n", [1, 2])
async def test_answer_is_complete_at_its_last_event_whatever_the_connection_does(ending, n):
    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            begin_stream(peer)
            if ending == "in the same chunk":
                peer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(HEAD + TAIL), HEAD + TAIL))
                continue
            peer.chunk(HEAD)
            peer.chunk(TAIL)
            if ending == "never":
                await peer.gone()
                return
            await asyncio.sleep(0.05)
            end_stream(peer)

    async with raw_upstream(script) as upstream, gateway_here(upstream.base_url) as gateway:
        for _ in range(2):
            wire = await streaming(gateway, n=n)
            await wire.head()
            began_at = asyncio.get_running_loop().time()
            assert (await rest(wire)).endswith(b"data: [DONE]\n\n")
            assert asyncio.get_running_loop().time() - began_at < 1
            await gateway.settled()
        assert len(upstream.peers) == (2 * n if ending == "never" else n), "connections are kept where they can be"


async def test_plain_answer_of_an_upstream_stream_is_complete_at_its_last_event():
    async def script(peer: Peer) -> None:
        await peer.request()
        begin_stream(peer, HEAD + TAIL)
        await peer.gone()

    async with raw_upstream(script) as upstream, gateway_here(upstream.base_url) as gateway:
        reply = await gateway.ask(chat(max_tokens=64_000))
    assert reply.status == 200
    assert b"Par" in reply.body


async def test_stream_cut_into_single_bytes_is_the_same():
    whole = HEAD + delta("é☃\u2028") + TAIL

    async def script(peer: Peer) -> None:
        await peer.request()
        begin_stream(peer)
        for number in range(len(whole)):
            peer.chunk(whole[number : number + 1])
            if number % 7 == 0:
                await peer.writer.drain()
                await asyncio.sleep(0)
        end_stream(peer)

    async with raw_upstream(script) as upstream, gateway_here(upstream.base_url) as gateway:
        wire = await streaming(gateway)
        await wire.head()
        frames = data_frames(await rest(wire))
    text = "".join(frame["choices"][0]["delta"].get("content") or "" for frame in frames[:-1])
    assert text == "Paré☃\u2028"
    assert frames[-1] == "[DONE]"


async def test_pings_of_the_upstream_are_passed_on():
    async def script(peer: Peer) -> None:
        await peer.request()
        begin_stream(peer, event("ping") + HEAD + event("ping") + TAIL)
        end_stream(peer)

    async with raw_upstream(script) as upstream, gateway_here(upstream.base_url) as gateway:
        wire = await streaming(gateway)
        await wire.head()
        assert b": ping\n\n" in await rest(wire)


async def test_forced_tool_that_was_not_called_is_told_in_the_log():
    async def script(peer: Peer) -> None:
        while True:
            answer(peer, await peer.request())

    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    forced = {"tools": [tool], "tool_choice": {"type": "function", "function": {"name": "f"}}}
    async with (
        raw_upstream(script) as upstream,
        gateway_here(upstream.base_url, forced_tool_fallback="auto_instruction") as gateway,
    ):
        for streamed in (True, False):
            assert (await gateway.ask(chat(stream=streamed, **forced))).status == 200
    told = [line["adjusted"] for line in logged(services_of(gateway))]
    assert told == ["tool_choice=no_call"] * 2
