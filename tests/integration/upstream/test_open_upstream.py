"""The way to Anthropic as a worker opens it: the configured lane, with retries."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from app.config import Config
from app.domain.upstream import Upstream, UpstreamRequest
from app.errors import UpstreamStatus, UpstreamUnreachable
from app.upstream import open_upstream
from tests.support.raw_upstream import Peer, raw_upstream

CALL = UpstreamRequest(path="/v1/messages", body=b"{}", headers={"anthropic-version": "2026-10-21"})


@pytest.fixture
async def open_configured() -> AsyncIterator[Callable[..., Upstream]]:
    opened: list[Upstream] = []

    def open_one(base_url: str, **settings: object) -> Upstream:
        config = Config(anthropic_base_url=base_url, anthropic_api_key="sk-test", **settings)
        opened.append(open_upstream(config, {}))
        return opened[-1]

    yield open_one
    for upstream in opened:
        await upstream.close()


async def test_a_retry_goes_over_the_same_connection(open_configured):
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.reply(529, b'{"error":{"type":"overloaded_error","message":"Overloaded"}}', retry_after_ms="10")
        assert (await peer.request()).body == CALL.body
        peer.reply(200, b"better now")

    async with raw_upstream(script) as upstream:
        reply = await open_configured(upstream.base_url).send(CALL)
        assert await reply.read() == b"better now"
        assert reply.attempts == 2
    assert len(upstream.peers) == 1


async def test_the_error_of_the_last_attempt_has_its_words_and_headers(open_configured):
    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            peer.reply(
                529, b'{"error":{"type":"overloaded_error","message":"Overloaded"}}', retry_after="0", request_id="r"
            )

    async with raw_upstream(script) as upstream:
        with pytest.raises(UpstreamStatus, match="Overloaded") as raised:
            await open_configured(upstream.base_url).send(CALL)
    assert (raised.value.attempts, raised.value.error_type, raised.value.request_id) == (2, "overloaded_error", "r")
    assert raised.value.headers == {"retry-after": "0", "request-id": "r"}


async def test_a_server_that_drops_every_call_is_tried_as_often_as_allowed(open_configured):
    async def script(peer: Peer) -> None:
        await peer.request()

    async with raw_upstream(script) as upstream:
        with pytest.raises(UpstreamUnreachable):
            await open_configured(upstream.base_url, upstream_retries=0).send(CALL)
        assert len(upstream.peers) == 1
        with pytest.raises(UpstreamUnreachable):
            await open_configured(upstream.base_url).send(CALL)
        assert len(upstream.peers) == 3


async def test_an_error_body_that_never_ends_does_not_hold_the_client(open_configured, monkeypatch):
    monkeypatch.setattr("app.upstream.retries._ERROR_BODY_S", 0.1)

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 100\r\n\r\n{")
        await peer.gone()

    async with raw_upstream(script) as upstream:
        with pytest.raises(UpstreamStatus, match="404"):
            await open_configured(upstream.base_url).send(CALL)
