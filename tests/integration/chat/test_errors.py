"""What a client is told when something is wrong: status, type, code, field; never a trace, a prompt or a key."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio

from app.errors import InternalError
from tests.support.chat_wire import PROMPT_CANARY, Reply, chat, post
from tests.support.fake_upstream import event, stream
from tests.support.gateway_here import UPSTREAM_KEY, GatewayHere, gateway_here
from tests.support.golden import golden
from tests.support.messages_peer import (
    HEAD,
    MESSAGE,
    begin_stream,
    end_stream,
    error_body,
    overloaded,
    wants_stream,
)
from tests.support.raw_upstream import Peer, raw_upstream

NOBODY = "http://127.0.0.1:9"
STREAMED = pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])
CLIENT_KEY = "sk-client-canary-0123456789"

Script = Callable[[Peer], Awaitable[object]]

#: One gateway for all tests of this module that need no settings of their own.
pytestmark = pytest.mark.asyncio(loop_scope="module")


class Shared:
    """The gateway of the module, and what its upstream does now."""

    gateway: GatewayHere
    script: Script

    @classmethod
    async def run(cls, peer: Peer) -> None:
        await cls.script(peer)


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def _shared_gateway() -> AsyncIterator[None]:
    async with (
        raw_upstream(Shared.run) as upstream,
        gateway_here(
            upstream.base_url, upstream_keepalive_s=0.001
        ) as Shared.gateway,  # each test has its own connection
    ):
        yield


def assert_error(reply: Reply, status: int, kind: str, code: str | None, param: str | None = None) -> None:
    """The reply is this error in OpenAI's shape, with the headers that every error has."""
    assert reply.status == status, reply.body
    assert reply.headers["content-type"].startswith("application/json")
    assert reply.headers["x-request-id"]
    error = reply.error
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["code"], error["param"]) == (kind, code, param)
    assert error["message"]
    if status in (429, 503) and code != "insufficient_quota":
        assert int(reply.headers["retry-after"]) >= 1
    for secret in (UPSTREAM_KEY, CLIENT_KEY, PROMPT_CANARY, "Traceback", 'File "'):
        assert secret.encode() not in reply.body


@pytest.fixture(autouse=True)
def _nothing_secret_in_the_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.INFO)
    yield
    for secret in (UPSTREAM_KEY, CLIENT_KEY, PROMPT_CANARY):
        assert all(secret not in str(record.__dict__) for record in caplog.records)


async def call_nobody(peer: Peer) -> None:
    raise AssertionError("the upstream was called")


@asynccontextmanager
async def gateway_before(script: Script, **settings: Any) -> AsyncIterator[GatewayHere]:
    if not settings:
        Shared.script = staticmethod(script)
        yield Shared.gateway
        await Shared.gateway.settled()
        return
    async with raw_upstream(script) as upstream, gateway_here(upstream.base_url, **settings) as gateway:
        yield gateway


# The request


BAD_REQUESTS: dict[str, tuple[bytes, int, str | None, str | None]] = {
    "not JSON": (b"{model", 400, None, None),
    "empty": (b"", 400, None, None),
    "an array": (b"[]", 400, "invalid_type", None),
    "not UTF-8": (b'{"model": "\xff"}', 400, None, None),
    "nested too deeply": (b'{"model": "haiku", "messages": ' + b"[" * 100_000, 400, None, None),
    "no model": (json.dumps({"messages": []}).encode(), 400, "missing_required_parameter", "model"),
    "model of another type": (chat(model=7), 400, "invalid_type", "model"),
    "unknown model": (chat(model="gpt-nope"), 404, "model_not_found", "model"),
    "messages of another type": (chat(messages="hi"), 400, "invalid_type", "messages"),
    "message of another type": (chat(messages=["hi"]), 400, "invalid_type", "messages[0]"),
    "content of another type": (chat(messages=[{"role": "user", "content": 7}]), 400, "invalid_type", None),
    "n too large": (chat(n=9), 400, None, "n"),
    "stream of another type": (chat(stream="yes"), 400, "invalid_type", "stream"),
    "temperature of another type": (chat(temperature="hot"), 400, "invalid_type", "temperature"),
}


@pytest.mark.parametrize("name", BAD_REQUESTS)
async def test_request_that_is_wrong_is_refused_with_the_field_at_fault(name):
    body, status, code, param = BAD_REQUESTS[name]
    async with gateway_before(call_nobody) as gateway:
        reply = await gateway.ask(body)
    assert (reply.status, reply.error["type"]) == (status, "invalid_request_error")
    assert_error(reply, status, "invalid_request_error", code or reply.error["code"], param or reply.error["param"])


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("POST", "/v1/chat/completion", 404, "unknown_url"),
        ("POST", "/chat/completions", 404, "unknown_url"),
        ("POST", "/v1/embeddings", 404, "unknown_url"),
        ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
        ("DELETE", "/v1/models", 405, "method_not_allowed"),
    ],
)
async def test_route_or_method_that_does_not_exist_is_told(method, path, status, code):
    async with gateway_before(call_nobody) as gateway:
        wire = await gateway.wire()
        wire.send(f"{method} {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n".encode())
        reply = await wire.reply()
    assert_error(reply, status, "invalid_request_error", code)


@pytest.mark.parametrize("headers", ["", f"authorization: Bearer {CLIENT_KEY}\r\n", "authorization: Basic eDp5\r\n"])
async def test_key_that_is_missing_or_wrong_is_refused(headers):
    async with gateway_here(NOBODY, api_key="sk-right") as gateway:
        reply = await gateway.ask(chat(), headers=headers)
    assert_error(reply, 401, "invalid_request_error", "invalid_api_key")


# The upstream's error statuses

GOLDEN = golden(15)["cases"]


@STREAMED
@pytest.mark.parametrize("case", GOLDEN, ids=[f"{one['in']['status']}-{i}" for i, one in enumerate(GOLDEN)])
async def test_error_status_of_the_upstream_is_mapped(case, streamed):
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.reply(case["in"]["status"], json.dumps(case["in"]["body"]).encode(), **case["in"]["headers"])

    async with gateway_before(script) as gateway:
        reply = await gateway.ask(chat(stream=streamed))
    expected = case["out"]["body"]["error"]
    assert_error(reply, case["out"]["status"], expected["type"], expected["code"], expected["param"])
    assert json.loads(reply.body) == case["out"]["body"]
    assert case["out"]["headers"].items() <= reply.headers.items()


@STREAMED
@pytest.mark.parametrize("status", [400, 404, 418, 422, 429, 500, 501, 502, 503, 504, 520, 529])
async def test_error_page_of_a_proxy_never_reaches_the_client(status, streamed):
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.reply(status, b"<html><body><h1>Bad Gateway</h1>" + UPSTREAM_KEY.encode(), content_type="text/html")

    async with gateway_before(script) as gateway:
        reply = await gateway.ask(chat(stream=streamed))
    assert b"<h1>" not in reply.body
    assert_error(reply, reply.status, reply.error["type"], reply.error["code"], reply.error["param"])


@STREAMED
async def test_key_that_the_upstream_repeats_is_not_passed_on(streamed):
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.reply(400, error_body("invalid_request_error", f"bad key {UPSTREAM_KEY}, sorry"))

    async with gateway_before(script) as gateway:
        reply = await gateway.ask(chat(stream=streamed))
    assert_error(reply, 400, "invalid_request_error", None)


# No reply, or no good one


@STREAMED
async def test_upstream_that_refuses_connections_is_a_502(streamed):
    async with gateway_here(NOBODY) as gateway:
        reply = await gateway.ask(chat(stream=streamed))
    assert_error(reply, 502, "server_error", "upstream_unreachable")


@STREAMED
@pytest.mark.parametrize("when", ["at once", "after the request", "inside its headers"])
async def test_connection_that_breaks_before_the_headers_is_a_502(when, streamed):
    async def script(peer: Peer) -> None:
        if when == "at once":
            peer.reset()
            return
        await peer.request()
        if when == "inside its headers":
            peer.write(b"HTTP/1.1 200 OK\r\ncontent-le")
            await asyncio.sleep(0.02)
        peer.reset()

    async with gateway_before(script) as gateway:
        reply = await gateway.ask(chat(stream=streamed))
    assert_error(reply, 502, "server_error", "upstream_unreachable")


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("end", ["reset", "close"])
async def test_plain_body_that_breaks_off_is_a_502(end, n):
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n" + MESSAGE)
        await asyncio.sleep(0.02)
        getattr(peer, end)()

    async with gateway_before(script) as gateway:
        reply = await gateway.ask(chat(n=n))
    assert_error(reply, 502, "server_error", "upstream_unreachable")


async def wait_for_ever(peer: Peer) -> None:
    await peer.request()
    await peer.gone()


@STREAMED
async def test_upstream_that_does_not_begin_to_answer_is_a_504(streamed):
    async with gateway_before(wait_for_ever, upstream_first_byte_timeout_s=0.1) as gateway:
        reply = await gateway.ask(chat(stream=streamed))
    assert_error(reply, 504, "server_error", "timeout")


@STREAMED
async def test_upstream_that_falls_silent_in_its_answer_is_a_504(streamed):
    async def script(peer: Peer) -> None:
        if wants_stream(await peer.request()):
            begin_stream(peer, event("ping"))
        else:
            peer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n{")
        await peer.gone()

    async with gateway_before(script, upstream_idle_timeout_s=0.1) as gateway:
        reply = await gateway.ask(chat(stream=streamed))
    assert_error(reply, 504, "server_error", "timeout")


@STREAMED
async def test_upstream_that_cannot_be_connected_to_in_time_is_a_504(streamed):
    # A listening socket whose queue is full: the kernel drops further attempts to connect.
    import socket

    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = []
        for _ in range(4):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(full.getsockname())
            waiting.append(one)
        url = f"http://127.0.0.1:{full.getsockname()[1]}"
        async with gateway_here(url, upstream_connect_timeout_s=0.2) as gateway:
            reply = await gateway.ask(chat(stream=streamed))
        for one in waiting:
            one.close()
    assert_error(reply, 504, "server_error", "timeout")


NONSENSE = {
    "not HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "HTML": b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 15\r\n\r\n<html>hi</html>",
    "nothing": b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 0\r\n\r\n",
    "a number": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n42",
    "an empty object": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
    "JSON that is cut": b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n" + MESSAGE[:20],
    "not UTF-8": b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n" + b'{"id":"\xff\xfe"}',
    "another type of content": b"HTTP/1.1 200 OK\r\ncontent-length: 35\r\n\r\n"
    + b'{"type":"message","content":"text"}',
    "nested too deeply": b"HTTP/1.1 200 OK\r\ncontent-length: 50000\r\n\r\n" + b"[" * 50_000,
    "a redirect": b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n",
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "chunks that are none": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n",
    "gzip that is none": b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\nabcd",
    "headers without end": b"HTTP/1.1 200 OK\r\nx-long: " + b"x" * 70_000,
}


@STREAMED
@pytest.mark.parametrize("name", NONSENSE)
async def test_nonsense_of_the_upstream_is_a_502(name, streamed):
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.write(NONSENSE[name])
        await asyncio.sleep(0.05)

    async with gateway_before(script) as gateway:
        reply = await gateway.ask(chat(stream=streamed))
    code = reply.error["code"]
    assert code in ("bad_upstream_response", "upstream_unreachable")
    assert_error(reply, 502, "server_error", code)
    assert re.search(r"[<{\[]", reply.error["message"]) is None


async def test_events_where_a_message_was_asked_for_are_a_502():
    async def script(peer: Peer) -> None:
        await peer.request()
        begin_stream(peer, b"".join(stream("Hello")))
        end_stream(peer)

    async with gateway_before(script) as gateway:
        reply = await gateway.ask(chat())
    assert_error(reply, 502, "server_error", "bad_upstream_response")


async def test_message_where_events_were_asked_for_is_a_502():
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.reply(200, MESSAGE)

    async with gateway_before(script) as gateway:
        reply = await gateway.ask(chat(stream=True))
    assert_error(reply, 502, "server_error", "bad_upstream_response")


@pytest.mark.parametrize(
    "events",
    [
        b"event: message_start\ndata: {\n\n",
        b"event: message_start\ndata: []\n\n",
        event("content_block_delta", index=0, delta={"type": "text_delta", "text": "x"}),
        event("message_start", message="text"),
        event("message_start", message={"id": 7}),
    ],
    ids=["cut JSON", "an array", "no beginning", "a text as message", "a number as id"],
)
@pytest.mark.parametrize("n", [1, 3])
async def test_events_that_are_not_the_protocol_are_a_502(events, n):
    async def script(peer: Peer) -> None:
        await peer.request()
        begin_stream(peer, events)
        await peer.gone()

    async with gateway_before(script) as gateway:
        reply = await gateway.ask(chat(stream=True, n=n))
    assert_error(reply, 502, "server_error", "bad_upstream_response")


async def test_event_without_end_is_given_up_at_a_bound():
    taken = 0

    async def script(peer: Peer) -> None:
        nonlocal taken
        await peer.request()
        begin_stream(peer)
        while taken < 100:
            peer.chunk(b"x" * 2**20)
            await peer.writer.drain()
            taken += 1

    async with gateway_before(script) as gateway:
        reply = await gateway.ask(chat(stream=True))
    assert_error(reply, 502, "server_error", "bad_upstream_response")
    assert taken < 60


async def test_plain_reply_without_end_is_given_up_at_a_bound():
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n")
        while True:
            peer.write(b" " * 2**16)
            await peer.writer.drain()

    async with gateway_before(script, upstream_max_reply_bytes=2**20) as gateway:
        reply = await gateway.ask(chat())
    assert_error(reply, 502, "server_error", "bad_upstream_response")


async def test_error_event_before_anything_else_gets_its_status():
    async def script(peer: Peer) -> None:
        await peer.request()
        begin_stream(peer, event("ping"))
        peer.chunk(overloaded())
        end_stream(peer)

    async with gateway_before(script) as gateway:
        reply = await gateway.ask(chat(stream=True))
    assert_error(reply, 503, "server_error", "overloaded")


AFTER_THE_HEADERS: dict[str, tuple[int, bytes]] = {
    "a redirect": (302, b""),
    "nonsense": (200, b"<html>hello</html>"),
    "an error event at once": (200, event("error", error={"type": "overloaded_error", "message": "Overloaded"})),
    "a stream that ends early": (200, b"".join(stream("Par")[:1])),
}


@pytest.mark.parametrize("asked", [{}, {"max_tokens": 50_000}, {"stream": True}], ids=["plain", "long", "streamed"])
@pytest.mark.parametrize("case", AFTER_THE_HEADERS)
async def test_error_after_the_upstreams_headers_has_its_request_id(case, asked):
    status, body = AFTER_THE_HEADERS[case]

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.reply(status, body, request_id="req_up", content_type="text/event-stream")

    async with gateway_before(script) as gateway:
        reply = await gateway.ask(chat(**asked))
    assert reply.headers["request-id"] == "req_up"
    assert b'"error"' in reply.body


@pytest.mark.parametrize("asked", [{}, {"max_tokens": 50_000}], ids=["plain", "long"])
async def test_reply_that_breaks_off_has_the_upstreams_request_id(asked):
    async def script(peer: Peer) -> None:
        await peer.request()
        begin_stream(peer, HEAD)
        peer.close()

    async with gateway_before(script) as gateway:
        reply = await gateway.ask(chat(**asked))
    assert (reply.status, reply.headers["request-id"]) == (502, "req_up")


@STREAMED
async def test_one_choice_that_fails_fails_all_and_ends_the_others(streamed):
    others_gone, calls = asyncio.Event(), 0

    async def script(peer: Peer) -> None:
        nonlocal calls
        await peer.request()
        calls += 1
        if calls < 3:
            await peer.gone()
            others_gone.set()
        else:
            peer.reply(429, error_body("rate_limit_error", "slow down"), retry_after="9")

    async with gateway_before(script) as gateway:
        reply = await gateway.ask(chat(stream=streamed, n=3))
        assert_error(reply, 429, "rate_limit_error", "rate_limit_exceeded")
        assert reply.headers["retry-after"] == "9"
        async with asyncio.timeout(5):
            await others_gone.wait()


async def test_bug_of_ours_is_a_500_that_quotes_the_request_id(monkeypatch, caplog):
    def broken(*_: object, **__: object) -> None:
        raise ValueError(PROMPT_CANARY)

    monkeypatch.setattr("app.gateway.whole_answer.to_chat", broken)

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.reply(200, MESSAGE)

    async with gateway_before(script) as gateway:
        reply = await gateway.ask(chat(), headers="x-request-id: mine-1\r\n")
    assert_error(reply, 500, "server_error", "internal_error")
    assert "mine-1" in reply.error["message"]
    caplog.clear()  # the record holds the exception; that its text is not written is tested in test_log.py


@STREAMED
async def test_bug_of_ours_behind_the_upstream_is_a_500_whose_cause_is_in_the_log(monkeypatch, caplog, streamed):
    async def broken(*_: object) -> None:
        raise InternalError("No call.") from KeyError("why")

    monkeypatch.setattr("app.upstream.direct.DirectUpstream.send", broken)
    async with gateway_here(NOBODY) as gateway:
        reply = await gateway.ask(chat(stream=streamed))
    assert_error(reply, 500, "server_error", "internal_error")
    assert [record.getMessage() for record in caplog.records if record.name == "app.api.errors"] == [
        "unexpected KeyError"
    ]


@pytest.mark.parametrize("n", [1, 2])
async def test_bug_of_ours_inside_a_stream_is_an_event_that_quotes_the_request_id(monkeypatch, caplog, n):
    monkeypatch.setattr("app.translate.chat_stream.finish_reason", lambda *_, **__: 1 / 0)
    for_a_moment = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        begin_stream(peer, HEAD)
        await for_a_moment.wait()
        peer.chunk(b"".join(stream("Par")[3:]))
        await peer.gone()

    async with gateway_before(script) as gateway:
        wire = await gateway.wire()
        wire.send(post(chat(stream=True, n=n), headers="x-request-id: mine-1\r\n"))
        assert (await wire.head())[0] == 200
        await wire.until(b"Par")
        for_a_moment.set()
        end = await wire.until(b"internal_error")
        assert b"mine-1" in end
        assert b"[DONE]" not in end
        assert await wire.chunk() == b""
    assert "ZeroDivisionError" in caplog.text
