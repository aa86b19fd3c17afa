"""The way to Anthropic as a worker opens it: the configured lane, with retries."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Callable

import pytest
from msgspec.structs import replace

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
        config = Config(**{"anthropic_base_url": base_url, "anthropic_api_key": "sk-test", **settings})
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


@pytest.mark.parametrize(
    "settings",
    [
        {"anthropic_api_key": "sk-a", "anthropic_api_keys": ("sk-b", "sk-c")},
        {"anthropic_api_key": "", "anthropic_api_keys": ("sk-a", "sk-b", "sk-c")},
        {"anthropic_api_key": "sk-c", "anthropic_api_keys": ("sk-b", "sk-a", "sk-b"), "anthropic_auth_token": "token"},
    ],
    ids=["besides_the_first", "without_the_first", "in_another_order"],
)
async def test_a_conversation_goes_with_one_of_all_keys_however_they_are_set(open_configured, settings):
    sent = []

    async def script(peer: Peer) -> None:
        while True:
            sent.append((await peer.request()).header("authorization"))
            peer.reply(200)

    async with raw_upstream(script) as upstream:
        lane = open_configured(upstream.base_url, **settings)
        for _ in range(2):
            for affinity in ("alpha", "beta", "gamma", "delta", "epsilon", "zeta"):
                await (await lane.send(replace(CALL, affinity=affinity))).read()
        await (await lane.send(replace(CALL, affinity="alpha", credential="sk-client"))).read()
    assert sent == [f"Bearer sk-{key}" for key in "bcaacc" * 2] + ["Bearer sk-client"]


async def test_a_key_that_is_refused_is_neither_shown_nor_logged(open_configured, caplog):
    caplog.set_level(logging.DEBUG)
    keys = ("sk-first-canary", "sk-second-canary")

    async def script(peer: Peer) -> None:
        key = (await peer.request()).header("authorization")
        body = {"error": {"type": "authentication_error", "message": f"not valid: {key}"}}
        peer.reply(401, json.dumps(body).encode())

    async with raw_upstream(script) as upstream:
        with pytest.raises(UpstreamStatus) as raised:
            await open_configured(upstream.base_url, anthropic_api_keys=keys).send(replace(CALL, affinity="a"))
    assert raised.value.status == 401
    assert "canary" not in f"{raised.value!r} {raised.value.message} {caplog.text}"


async def test_with_one_key_there_is_no_pool(open_configured, monkeypatch):
    monkeypatch.setattr("app.upstream.CredentialPool", None)
    open_configured("http://127.0.0.1:1", anthropic_api_keys=("sk-test", "sk-test"))


@pytest.mark.parametrize(
    ("lane", "agent"), [("auto", "claude-wrapper/"), ("direct", "claude-wrapper/"), ("sdk", "/Python ")]
)
async def test_the_lane_that_is_asked_for_puts_requests_together(open_configured, lane, agent):
    agents = []

    async def script(peer: Peer) -> None:
        agents.append((await peer.request()).header("user-agent"))
        peer.reply(200)

    async with raw_upstream(script) as upstream:
        await (await open_configured(upstream.base_url, upstream_lane=lane).send(CALL)).read()
    assert agent in agents[0]
