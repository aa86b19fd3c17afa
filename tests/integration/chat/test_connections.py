"""Client connections: kept, reused, pipelined, old-fashioned, flooded."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.support.chat_wire import chat, post, until
from tests.support.gateway_here import gateway_here
from tests.support.messages_peer import HEAD, TAIL, answer, begin_stream, end_stream, error_body, keep_answering
from tests.support.raw_upstream import Peer, raw_upstream

NOBODY = "http://127.0.0.1:9"


async def test_connection_is_used_again_after_answers_errors_and_streams():
    count = 0

    async def script(peer: Peer) -> None:
        nonlocal count
        while True:
            request = await peer.request()
            count += 1
            if count % 3 == 0:
                peer.reply(400, error_body("invalid_request_error", "no"))
            else:
                answer(peer, request)

    async with raw_upstream(script) as upstream, gateway_here(upstream.base_url) as gateway:
        wire = await gateway.wire()
        statuses = []
        for number in range(24):
            wire.send(post(b"{" if number % 4 == 3 else chat(stream=number % 2 == 0)))
            statuses.append((await wire.reply()).status)
        assert gateway.connections == 1
    assert set(statuses) == {200, 400}


async def test_pipelined_requests_are_answered_in_order():
    async with raw_upstream(keep_answering) as upstream, gateway_here(upstream.base_url) as gateway:
        wire = await gateway.wire()
        wire.send(b"".join(post(chat(stream=n % 2 == 1), headers=f"x-request-id: r-{n}\r\n") for n in range(40)))
        replies = [await wire.reply() for _ in range(40)]
    assert [reply.headers["x-request-id"] for reply in replies] == [f"r-{n}" for n in range(40)]
    assert [reply.headers["content-type"].startswith("text/event-stream") for reply in replies] == [False, True] * 20


async def test_client_that_leaves_with_many_requests_on_their_way_ends_the_one_that_runs():
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.gone()

    async with raw_upstream(script) as upstream, gateway_here(upstream.base_url) as gateway:
        wire = await gateway.wire()
        wire.send(post(chat()) * 10)
        await until(lambda: upstream.peers)
        wire.close()
        await gateway.settled()
        assert len(upstream.peers) == 1


async def test_http_1_0_gets_a_reply_that_ends_with_the_connection():
    async with raw_upstream(keep_answering) as upstream, gateway_here(upstream.base_url) as gateway:
        wire = await gateway.wire()
        wire.send(post(chat(), version="1.0"))
        reply = await wire.reply()
        assert await wire.ended() == b""
    assert reply.status == 200
    assert json.loads(reply.body)["object"] == "chat.completion"
    assert reply.headers["connection"] == "close"


async def test_http_1_0_gets_a_stream_without_chunks():
    async with raw_upstream(keep_answering) as upstream, gateway_here(upstream.base_url) as gateway:
        wire = await gateway.wire()
        wire.send(post(chat(stream=True), version="1.0"))
        status, headers = await wire.head()
        body = await wire.ended()
    assert status == 200
    assert "transfer-encoding" not in headers
    assert body.startswith(b"data: {")
    assert body.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("path", ["/v1/models", "/health", "/v1/chat/completions"])
async def test_head_has_no_body_and_leaves_the_connection_usable(path):
    async with gateway_here(NOBODY) as gateway:
        wire = await gateway.wire()
        wire.send(f"HEAD {path} HTTP/1.1\r\nhost: a\r\n\r\nGET /health/live HTTP/1.1\r\nhost: a\r\n\r\n".encode())
        status, headers = await wire.head()
        assert status == (405 if "chat" in path else 200)
        assert headers["content-type"].startswith("application/json")
        assert (await wire.reply()).status == 200


async def test_flood_of_headers_is_refused_and_costs_nothing():
    async with gateway_here(NOBODY) as gateway:
        wire = await gateway.wire()
        wire.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\n")
        wire.send(b"".join(b"x-%d: %b\r\n" % (n, b"y" * 100) for n in range(20_000)) + b"\r\n")
        reply = await wire.reply()
        assert await wire.ended() == b""
        assert (reply.status, reply.error["code"]) == (431, "request_headers_too_large")
        assert gateway.requests_in_flight == 0


async def test_connections_that_come_and_go_leave_nothing():
    async with gateway_here(NOBODY) as gateway:
        for number in range(100):
            wire = await gateway.wire()
            if number % 3:
                wire.send(post(chat())[: number * 2])
            (wire.close if number % 2 else wire.reset)()
        await until(lambda: gateway.connections == 0)


async def test_reply_that_completes_while_the_client_sends_the_next_request_is_framed_right():
    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            begin_stream(peer, HEAD)
            await asyncio.sleep(0)
            peer.chunk(TAIL)
            end_stream(peer)

    async with raw_upstream(script) as upstream, gateway_here(upstream.base_url) as gateway:
        wire = await gateway.wire()
        request = post(chat(stream=True))
        wire.send(request + request[:60])
        for cut in range(60, len(request), 9):
            reply = await wire.reply()
            assert reply.body.endswith(b"data: [DONE]\n\n")
            wire.send(request[60:cut])
            await asyncio.sleep(0.001)
            wire.send(request[cut:] + request[:60])
        wire.close()


# Ids and headers


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("presented", "kept"),
    [("mine-1.a:b_c", True), ("a" * 128, True), ("a" * 129, False), ("with space", False), ("ü", False), ("", False)],
)
async def test_sane_request_id_is_kept_and_another_replaced(presented, kept, streamed):
    async with raw_upstream(keep_answering) as upstream, gateway_here(upstream.base_url) as gateway:
        wire = await gateway.wire()
        head, _, body = post(chat(stream=streamed)).partition(b"\r\n\r\n")
        wire.send(head + b"\r\nx-request-id: " + presented.encode("utf-8") + b"\r\n\r\n" + body)
        reply = await wire.reply()
    assert (reply.headers["x-request-id"] == presented) is kept
    assert reply.headers["x-request-id"]


@pytest.mark.parametrize("streamed", [False, True])
async def test_what_is_ignored_or_adjusted_is_named(streamed):
    async with raw_upstream(keep_answering) as upstream, gateway_here(upstream.base_url) as gateway:
        reply = await gateway.ask(
            chat(stream=streamed, seed=7, temperature=0.5, model="claude-3-5-sonnet-20241022"),
            headers="X-Claude-Max-Turns: 5\r\nX-Claude-Max-Thinking-Tokens: 2000\r\n",
        )
    assert reply.status == 200
    ignored = reply.headers["x-claude-wrapper-ignored-params"].split(", ")
    assert {"seed", "header.x-claude-max-turns"} <= set(ignored)
    assert not any("thinking" in name for name in ignored)
    assert reply.headers["x-claude-wrapper-adjusted-params"].startswith("model=")


@pytest.mark.parametrize("streamed", [False, True])
async def test_strict_by_header_and_by_setting(streamed):
    async with raw_upstream(keep_answering) as upstream:
        async with gateway_here(upstream.base_url) as gateway:
            by_header = await gateway.ask(chat(stream=streamed, seed=7), headers="x-claude-wrapper-strict: 1\r\n")
            of_turns = await gateway.ask(
                chat(stream=streamed), headers="x-claude-wrapper-strict: 1\r\nx-claude-max-turns: 5\r\n"
            )
        async with gateway_here(upstream.base_url, strict=True) as gateway:
            by_setting = await gateway.ask(chat(stream=streamed, seed=7))
            lifted = await gateway.ask(chat(stream=streamed, seed=7), headers="x-claude-wrapper-strict: 0\r\n")
    for reply, param in ((by_header, "seed"), (by_setting, "seed"), (of_turns, "header.x-claude-max-turns")):
        assert (reply.status, reply.error["code"], reply.error["param"]) == (400, "unsupported_parameter", param)
    assert lifted.status == 200


async def test_thinking_header_sets_the_budget():
    got = asyncio.get_running_loop().create_future()

    async def script(peer: Peer) -> None:
        request = await peer.request()
        got.set_result(json.loads(request.body).get("thinking"))
        answer(peer, request)

    async with raw_upstream(script) as upstream, gateway_here(upstream.base_url) as gateway:
        reply = await gateway.ask(chat(model="claude-haiku-4-5"), headers="X-Claude-Max-Thinking-Tokens: 2000\r\n")
        assert reply.status == 200
        assert (await got)["budget_tokens"] == 2000
        refused = await gateway.ask(chat(), headers="X-Claude-Max-Thinking-Tokens: many\r\n")
    assert (refused.status, refused.error["param"]) == (400, "header.x-claude-max-thinking-tokens")
