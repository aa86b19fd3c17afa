from __future__ import annotations

import asyncio
import logging
import zlib

import pytest

from app.domain.upstream import UpstreamRequest
from app.errors import BadUpstreamReply, UpstreamError, UpstreamUnreachable
from tests.support.raw_upstream import Peer, Script, keep_answering, raw_upstream

CALL = UpstreamRequest(
    path="/v1/messages",
    body=b'{"model":"claude"}',
    headers={"anthropic-version": "2026-10-21", "anthropic-beta": "a,b"},
)


async def collect(reply) -> bytes:
    return b"".join([data async for data in reply.chunks()])


def after_request(*pieces: bytes, close: bool = True) -> Script:
    """A script that reads one request and writes the pieces, each by itself."""

    async def script(peer: Peer) -> None:
        await peer.request()
        for piece in pieces:
            peer.write(piece)
            await peer.writer.drain()
            await asyncio.sleep(0.002)
        if not close:
            await peer.gone()

    return script


async def test_the_request_carries_the_credential_the_version_and_nothing_about_the_machine(open_lane):
    seen = []

    async def script(peer: Peer) -> None:
        seen.append(await peer.request())
        peer.reply(200)

    async with raw_upstream(script) as upstream:
        reply = await open_lane(upstream.base_url).send(CALL)
        await reply.read()
    (request,) = seen
    assert request.line == "POST /v1/messages HTTP/1.1"
    assert request.body == CALL.body
    headers = dict(request.headers)
    assert len(headers) == len(request.headers)
    assert headers.pop("host") == upstream.base_url.removeprefix("http://")
    assert headers.pop("user-agent")
    assert headers.pop("connection", "keep-alive") == "keep-alive"
    assert headers == {
        "accept": "application/json",
        "accept-encoding": "identity",
        "authorization": "Bearer sk-test",
        "content-type": "application/json",
        "content-length": str(len(CALL.body)),
        "anthropic-version": "2026-10-21",
        "anthropic-beta": "a,b",
    }


async def test_a_get_has_a_query_and_no_body(open_lane):
    seen = []

    async def script(peer: Peer) -> None:
        seen.append(await peer.request())
        peer.reply(200, b'{"data":[]}')

    async with raw_upstream(script) as upstream:
        lane = open_lane(upstream.base_url)
        reply = await lane.send(
            UpstreamRequest(method="GET", path="/v1/models?limit=3", body=b"", headers=CALL.headers)
        )
        assert await reply.read() == b'{"data":[]}'
    assert seen[0].line == "GET /v1/models?limit=3 HTTP/1.1"
    assert seen[0].header("content-type") is None
    assert seen[0].header("content-length") is None


async def test_the_base_url_may_have_a_path(open_lane):
    seen = []

    async def script(peer: Peer) -> None:
        seen.append((await peer.request()).line)
        peer.reply(200)

    async with raw_upstream(script) as upstream:
        await (await open_lane(upstream.base_url + "/proxy/anthropic/").send(CALL)).read()
    assert seen == ["POST /proxy/anthropic/v1/messages HTTP/1.1"]


async def test_calls_of_many_kinds_are_not_mixed_up(open_lane):
    async def script(peer: Peer) -> None:
        while True:
            request = await peer.request()
            peer.reply(200, f"{request.line} {request.header('anthropic-beta')} {request.body.decode()}".encode())

    async with raw_upstream(script) as upstream:
        lane = open_lane(upstream.base_url)
        for number in [*range(80), *range(80)]:
            call = UpstreamRequest(
                path=f"/v1/{number % 9}", body=b"%d" % number, headers={"anthropic-beta": f"beta-{number}"}
            )
            answer = await (await lane.send(call)).read()
            assert answer.decode() == f"POST /v1/{number % 9} HTTP/1.1 beta-{number} {number}"


async def test_an_auth_token_is_sent_where_there_is_no_key(open_lane):
    seen = []

    async def script(peer: Peer) -> None:
        seen.append((await peer.request()).header("authorization"))
        peer.reply(200)

    async with raw_upstream(script) as upstream:
        await (await open_lane(upstream.base_url, api_key="", auth_token="token-1").send(CALL)).read()
    assert seen == ["Bearer token-1"]


async def test_nothing_of_the_environment_reaches_the_wire(open_lane, monkeypatch, tmp_path):
    monkeypatch.setenv("ANTHROPIC_CUSTOM_HEADERS", "x-evil: 1")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "from-environment")
    monkeypatch.setenv("ANTHROPIC_PROFILE", "nobody")
    monkeypatch.setenv("ANTHROPIC_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    seen = []

    async def script(peer: Peer) -> None:
        seen.append(await peer.request())
        peer.reply(200)

    async with raw_upstream(script) as upstream:
        await (await open_lane(upstream.base_url).send(CALL)).read()
    assert seen[0].header("authorization") == "Bearer sk-test"
    assert seen[0].header("x-evil") is None


async def test_no_prompt_and_no_credential_is_logged_at_any_level(open_lane, caplog):
    caplog.set_level(logging.DEBUG)
    secret = UpstreamRequest(path="/v1/messages", body=b'{"content":"the prompt"}', headers=CALL.headers)
    async with raw_upstream(keep_answering) as upstream:
        lane = open_lane(upstream.base_url, api_key="sk-secret")
        await (await lane.send(secret)).read()
    assert "the prompt" not in caplog.text
    assert "sk-secret" not in caplog.text


@pytest.mark.parametrize("status", [200, 201, 400, 401, 404, 429, 500, 529])
async def test_a_reply_of_any_status_comes_back_whole(open_lane, status):
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.reply(status, b'{"a":1}', Request_Id="req_1", retry_after="3")

    async with raw_upstream(script) as upstream:
        reply = await open_lane(upstream.base_url).send(CALL)
        assert reply.status == status
        assert reply.headers["request-id"] == "req_1"
        assert reply.headers["retry-after"] == "3"
        assert reply.attempts == 1
        assert await reply.read() == b'{"a":1}'


async def test_a_redirect_is_not_followed(open_lane):
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.reply(307, b"", location="http://127.0.0.1:1/v1/messages")

    async with raw_upstream(script) as upstream:
        reply = await open_lane(upstream.base_url).send(CALL)
        assert reply.status == 307
        assert await reply.read() == b""


async def test_cookies_are_not_kept_from_one_client_to_the_next(open_lane):
    seen = []

    async def script(peer: Peer) -> None:
        for _ in range(2):
            seen.append((await peer.request()).header("cookie"))
            peer.reply(200, set_cookie="session=1; Path=/")

    async with raw_upstream(script) as upstream:
        # By name: of an address nobody would keep a cookie anyway.
        lane = open_lane(upstream.base_url.replace("127.0.0.1", "localhost"))
        for _ in range(2):
            await (await lane.send(CALL)).read()
    assert seen == [None, None]


BODY = b"event: ping\ndata: {}\n\n" * 3
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[i : i + size] for i in range(0, len(data), size)]


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)], id="one_write"),
        pytest.param(cut(CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY), 7), id="seven_bytes_at_a_time"),
        pytest.param([CHUNKED, *(b"1\r\n%c\r\n" % byte for byte in BODY), b"0\r\n\r\n"], id="chunks_of_one_byte"),
        pytest.param(
            [CHUNKED + b"3;ext=1\r\neve\r\n%x\r\n" % (len(BODY) - 3), BODY[3:], b"\r\n0\r\nTrailer: 1\r\n\r\n"]
        ),
        pytest.param([b"HTTP/1.1 200 OK\r\n\r\n", *cut(BODY, 11)], id="until_close"),
        pytest.param([b"HTTP/1.0 200 OK\r\n\r\n" + BODY], id="http_1_0"),
        pytest.param([b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(BODY), BODY], id="content_length"),
        pytest.param(
            [
                b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n",
                CHUNKED,
                b"42\r\n",
                BODY,
                b"\r\n0\r\n\r\n",
            ],
            id="after_1xx",
        ),
    ],
)
async def test_every_framing_gives_the_same_body(open_lane, pieces):
    async with raw_upstream(after_request(*pieces)) as upstream:
        reply = await open_lane(upstream.base_url).send(CALL)
        assert reply.status == 200
        assert await collect(reply) == BODY


async def test_chunks_that_arrived_together_come_together(open_lane):
    burst = [b"data: %d\n\n" % n for n in range(2000)]

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.write(CHUNKED + b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in burst) + b"0\r\n\r\n")
        await peer.gone()

    async with raw_upstream(script) as upstream:
        reply = await open_lane(upstream.base_url).send(CALL)
        await asyncio.sleep(0.1)
        pieces = [data async for data in reply.chunks()]
        assert b"".join(pieces) == b"".join(burst)
        assert len(pieces) == 1


async def test_a_compressed_reply_is_read_although_nobody_asked_for_it(open_lane):
    squeezed = zlib.compressobj(wbits=31)
    data = squeezed.compress(BODY) + squeezed.flush()

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.reply(200, data, content_encoding="gzip")

    async with raw_upstream(script) as upstream:
        reply = await open_lane(upstream.base_url).send(CALL)
        assert await reply.read() == BODY
    assert not {"content-encoding", "content-length"} & set(reply.headers)


async def test_a_reply_over_the_limit_is_refused_without_reading_it_all(open_lane):
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        peer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(10_000):
            peer.write(b"x" * 10_000)
            await peer.writer.drain()
            sent += 10_000

    async with raw_upstream(script) as upstream:
        reply = await open_lane(upstream.base_url, max_reply_bytes=100_000).send(CALL)
        with pytest.raises(BadUpstreamReply, match="larger than 100000 bytes"):
            await reply.read()
    assert sent < 50_000_000


@pytest.mark.parametrize(
    ("pieces", "error"),
    [
        ([b"\x00\x01\x02nonsense\r\n\r\n"], BadUpstreamReply),
        ([b"SSH-2.0-OpenSSH_9.6\r\n"], BadUpstreamReply),
        ([b"HTTP/1.1 abc OK\r\n\r\n"], BadUpstreamReply),
        ([b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n"], BadUpstreamReply),
        ([b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000 + b"\r\n\r\n"], BadUpstreamReply),
        ([b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 10_000 + b"\r\n"], BadUpstreamReply),
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 7\r\n\r\nhello"], BadUpstreamReply),
        ([b"HTTP/1.1 200 OK\r\ncontent-length: minus\r\n\r\nhello"], BadUpstreamReply),
        ([b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"], BadUpstreamReply),
        ([b"<html>busy</html>"], BadUpstreamReply),
        ([b""], UpstreamUnreachable),
        ([b"HTTP/1.1 200"], UpstreamUnreachable),
        ([b"HTTP/1.1 200 OK\r\ncontent-le"], UpstreamUnreachable),
    ],
)
async def test_what_is_not_a_reply_is_one_of_our_errors(open_lane, pieces, error):
    async with raw_upstream(after_request(*pieces)) as upstream:
        with pytest.raises(error) as raised:
            await open_lane(upstream.base_url).send(CALL)
    assert raised.type is error
    assert "nonsense" not in raised.value.message
    assert "busy" not in raised.value.message


@pytest.mark.parametrize(
    ("pieces", "error"),
    [
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello"], UpstreamUnreachable),
        ([CHUNKED, b"5\r\nhello\r\n"], UpstreamUnreachable),
        ([CHUNKED, b"5\r\nhel"], UpstreamUnreachable),
        ([CHUNKED, b"5\r\nhello\r\n", b"zz\r\n"], UpstreamError),
        ([CHUNKED, b"5\r\nhelloXX"], UpstreamError),
        ([CHUNKED, b"f" * 40, b"\r\n"], UpstreamError),
        ([b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 5\r\n\r\nhello"], UpstreamError),
    ],
)
@pytest.mark.parametrize("read", [lambda reply: reply.read(), collect], ids=["read", "chunks"])
async def test_a_body_that_ends_wrongly_is_one_of_our_errors(open_lane, pieces, error, read):
    async with raw_upstream(after_request(*pieces)) as upstream:
        lane = open_lane(upstream.base_url)
        async with asyncio.timeout(3):
            with pytest.raises(error):
                await read(await lane.send(CALL))


@pytest.mark.parametrize(
    "beginning",
    [
        CHUNKED + b"5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\n\r\nhello",
    ],
    ids=["chunked", "content_length", "until_close"],
)
async def test_a_reset_inside_the_body_comes_after_what_had_arrived(open_lane, beginning):
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.write(beginning)
        await asyncio.sleep(0.05)
        peer.reset()

    async with raw_upstream(script) as upstream:
        reply = await open_lane(upstream.base_url).send(CALL)
        seen = b""
        with pytest.raises(UpstreamUnreachable) as raised:
            async for data in reply.chunks():
                seen += data
    assert seen == b"hello"
    assert raised.value.sent


async def test_an_answer_before_the_body_was_read_is_an_answer(open_lane):
    async def script(peer: Peer) -> None:
        await peer.head()
        peer.reply(413, b'{"error":{}}')
        await peer.gone()

    large = UpstreamRequest(path="/v1/messages", body=b" " * 20_000_000, headers=CALL.headers)
    async with raw_upstream(script) as upstream:
        reply = await open_lane(upstream.base_url).send(large)
        assert reply.status == 413
        assert await reply.read() == b'{"error":{}}'


async def test_a_body_of_many_megabytes_arrives_whole(open_lane):
    sizes = []

    async def script(peer: Peer) -> None:
        sizes.append(len((await peer.request()).body))
        peer.reply(200)

    large = UpstreamRequest(path="/v1/messages", body=b" " * 5_000_000, headers=CALL.headers)
    async with raw_upstream(script) as upstream:
        await (await open_lane(upstream.base_url).send(large)).read()
    assert sizes == [5_000_000]


async def test_a_connection_serves_one_call_after_the_other(open_lane):
    async with raw_upstream(keep_answering) as upstream:
        lane = open_lane(upstream.base_url)
        for _ in range(20):
            assert await (await lane.send(CALL)).read() == b'{"ok":true}'
    assert len(upstream.peers) == 1
