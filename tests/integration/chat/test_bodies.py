"""Request bodies: too large, too slow, malformed, and the clients that must still be able to read the reply."""

from __future__ import annotations

import asyncio
import os

import openai
import pytest
from openai import AsyncOpenAI

from tests.support.chat_wire import Reply, chat, post
from tests.support.gateway_here import gateway_here
from tests.support.messages_peer import keep_answering
from tests.support.raw_upstream import raw_upstream

NOBODY = "http://127.0.0.1:9"
LIMIT = 32 * 1024**2
POST = b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\n"


def assert_too_large(reply: Reply) -> None:
    assert reply.status == 413
    assert reply.error["code"] == "request_too_large"
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["connection"] == "close"
    assert reply.headers["x-request-id"]


async def test_body_over_the_limit_is_refused_before_it_is_sent():
    async with gateway_here(NOBODY) as gateway:
        wire = await gateway.wire()
        wire.send(POST + b"content-length: 104857600\r\n\r\n")
        assert_too_large(await wire.reply())
        assert await wire.ended() == b""


async def test_client_that_sends_it_all_the_same_reads_the_reply():
    async with gateway_here(NOBODY) as gateway:
        wire = await gateway.wire()
        wire.send(POST + b"content-length: 50331648\r\n\r\n")
        for _ in range(48):
            wire.send(b"x" * 2**20)
            await wire.writer.drain()
        assert_too_large(await wire.reply())
        assert await wire.ended() == b""


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_client_that_keeps_no_connection_reads_the_reply_too(version):
    """Such as a proxy before the gateway: with an abrupt end it would make a 502 of this 413."""
    async with gateway_here(NOBODY) as gateway:
        wire = await gateway.wire()
        head = f"POST /v1/chat/completions HTTP/{version}\r\nhost: a\r\nconnection: close\r\n"
        wire.send(head.encode() + b"content-length: 50331648\r\n\r\n")
        for _ in range(48):
            wire.send(b"x" * 2**20)
            await wire.writer.drain()
            await asyncio.sleep(0)
        assert_too_large(await wire.reply())


async def test_official_client_sees_the_refusal_of_a_large_body():
    async with (
        gateway_here(NOBODY) as gateway,
        AsyncOpenAI(base_url=gateway.url, api_key="sk-x", max_retries=0, timeout=20) as client,
    ):
        with pytest.raises(openai.APIStatusError) as caught:
            await client.chat.completions.create(
                model="claude-opus-5-5", messages=[{"role": "user", "content": "x" * (LIMIT * 3 // 2)}]
            )
        assert (caught.value.status_code, caught.value.code) == (413, "request_too_large")
        with pytest.raises(openai.NotFoundError):  # and goes on with a new connection
            await client.chat.completions.create(model="gpt-nope", messages=[{"role": "user", "content": "x"}])


async def test_chunked_body_over_the_limit_is_refused_while_it_is_sent():
    async with gateway_here(NOBODY, max_body_bytes=2**20) as gateway:
        wire = await gateway.wire()
        wire.send(POST + b"transfer-encoding: chunked\r\n\r\n")
        for _ in range(17):
            wire.send(b"10000\r\n" + b"x" * 2**16 + b"\r\n")
        assert_too_large(await wire.reply())


async def test_endless_body_is_read_for_a_bounded_amount():
    async with gateway_here(NOBODY, max_body_bytes=2**20) as gateway:
        wire = await gateway.wire()
        wire.send(POST + b"transfer-encoding: chunked\r\n\r\n")
        sent = 0
        with pytest.raises(ConnectionError):
            while sent < 200 * 2**20:
                wire.send(b"10000\r\n" + b"x" * 2**16 + b"\r\n")
                await wire.writer.drain()
                sent += 2**16
    assert sent < 80 * 2**20  # what the kernel buffers comes on top


async def test_endless_body_is_read_for_a_bounded_time(monkeypatch):
    monkeypatch.setattr("workers.http_protocol.LINGER_S", 0.2)
    async with gateway_here(NOBODY, max_body_bytes=2**20) as gateway:
        wire = await gateway.wire()
        wire.send(POST + b"content-length: 104857600\r\n\r\n")
        assert_too_large(await wire.reply())
        began_at = asyncio.get_running_loop().time()
        with pytest.raises(ConnectionError):
            while asyncio.get_running_loop().time() - began_at < 5:
                wire.send(b"x")
                await wire.writer.drain()
                await asyncio.sleep(0.01)
        assert asyncio.get_running_loop().time() - began_at < 2


async def test_body_at_the_limit_is_served():
    async with (
        raw_upstream(keep_answering) as upstream,
        gateway_here(upstream.base_url, max_body_bytes=4096) as gateway,
    ):
        body = chat("x" * (4096 - len(chat(""))))
        assert len(body) == 4096
        assert (await gateway.ask(body)).status == 200
        assert_too_large(await gateway.ask(body + b" "))


async def test_chunked_body_is_served():
    async with raw_upstream(keep_answering) as upstream, gateway_here(upstream.base_url) as gateway:
        wire = await gateway.wire()
        body = chat()
        wire.send(POST + b"transfer-encoding: chunked\r\n\r\n")
        for byte in range(len(body)):
            wire.send(b"1\r\n%b\r\n" % body[byte : byte + 1])
            if byte % 10 == 0:
                await asyncio.sleep(0)
        wire.send(b"0\r\n\r\n")
        assert (await wire.reply()).status == 200


async def test_body_that_stops_coming_is_a_408():
    async with gateway_here(NOBODY, body_timeout_s=0.1) as gateway:
        wire = await gateway.wire()
        wire.send(post(chat())[:-10])
        reply = await wire.reply()
        assert await wire.ended() == b""
    assert (reply.status, reply.error["code"]) == (408, "request_timeout")
    assert reply.headers["connection"] == "close"


async def test_body_of_which_every_byte_comes_in_time_is_given_up_all_the_same():
    async with gateway_here(NOBODY, body_timeout_s=0.5) as gateway:
        wire = await gateway.wire()
        wire.send(post(chat("x" * 2000))[:-1000])
        reply = asyncio.ensure_future(wire.reply())
        while not reply.done():
            wire.send(b"x")
            await asyncio.sleep(0.05)
    assert ((await reply).status, (await reply).error["code"]) == (408, "request_timeout")


async def test_body_that_comes_slowly_is_served():
    async with raw_upstream(keep_answering) as upstream, gateway_here(upstream.base_url, body_timeout_s=1.0) as gateway:
        wire = await gateway.wire()
        request = post(chat("x" * 2000))
        for start in range(0, len(request), 200):
            wire.send(request[start : start + 200])
            await asyncio.sleep(0.02)
        assert (await wire.reply()).status == 200


@pytest.mark.parametrize("value", ["-1", "1e3", "", "99999999999999999999", "4, 4", "0x10"])
async def test_content_length_that_is_none_is_refused(value):
    async with gateway_here(NOBODY) as gateway:
        wire = await gateway.wire()
        wire.send(POST + f"content-length: {value}\r\n\r\n".encode() + b"{}")
        reply = await wire.reply()
    assert reply.status in (400, 413)
    assert reply.error["type"] == "invalid_request_error"


async def test_client_that_waits_for_its_turn_gets_it_or_the_refusal():
    async with raw_upstream(keep_answering) as upstream, gateway_here(upstream.base_url) as gateway:
        wire = await gateway.wire()
        head, _, body = post(chat(), headers="expect: 100-continue\r\n").partition(b"\r\n\r\n")
        wire.send(head + b"\r\n\r\n")
        assert (await wire.head())[0] == 100
        wire.send(body)
        assert (await wire.reply()).status == 200
        refused = await gateway.wire()
        refused.send(POST + b"expect: 100-continue\r\ncontent-length: 104857600\r\n\r\n")
        assert_too_large(await refused.reply())
        assert await refused.ended() == b""


async def test_large_body_arrives_upstream_as_it_was_sent():
    got = asyncio.get_running_loop().create_future()
    text = os.urandom(3 * 2**20).hex()

    async def script(peer):
        request = await peer.request()
        got.set_result(text.encode() in request.body)
        peer.reply(400, b"{}")

    async with raw_upstream(script) as upstream, gateway_here(upstream.base_url) as gateway:
        await gateway.ask(chat(text))
        assert await got
