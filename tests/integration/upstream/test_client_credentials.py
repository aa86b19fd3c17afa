"""A client's own Anthropic key goes with its own calls, alone, and is remembered nowhere."""

from __future__ import annotations

import asyncio
import logging

import pytest
from msgspec.structs import replace

from app.domain.upstream import UpstreamRequest
from app.errors import UpstreamStatus
from app.upstream.retries import RetryingUpstream
from tests.support.raw_upstream import Peer, ReceivedRequest, keep_answering, raw_upstream

CALL = UpstreamRequest(path="/v1/messages", body=b"{}", headers={"anthropic-version": "2026-10-21"})
OF_ALICE = replace(CALL, credential="sk-ant-alice", body=b"alice")
OF_BOB = replace(CALL, credential="sk-ant-bob", body=b"bob")


class Recorder:
    """A server that keeps every request, and answers late enough for calls to overlap."""

    def __init__(self) -> None:
        self.seen: list[ReceivedRequest] = []

    async def __call__(self, peer: Peer) -> None:
        while True:
            request = await peer.request()
            self.seen.append(request)
            await asyncio.sleep(0.001 * (len(self.seen) % 3))
            peer.reply(200, request.body)

    def credentials(self) -> list[tuple[bytes, list[str]]]:
        """The body of each request, and every credential that came with it."""
        return [
            (one.body, [value for name, value in one.headers if name in ("authorization", "x-api-key")])
            for one in self.seen
        ]


async def answer(lane, call: UpstreamRequest) -> bytes:
    return await (await lane.send(call)).read()


@pytest.mark.parametrize(
    "gateway", [{"api_key": "sk-gateway"}, {"api_key": "", "auth_token": "token"}, {"api_key": ""}]
)
async def test_the_client_s_key_is_sent_instead_of_the_gateway_s(open_lane, gateway):
    server = Recorder()
    async with raw_upstream(server) as upstream:
        await answer(open_lane(upstream.base_url, **gateway), OF_ALICE)
    assert server.credentials() == [(b"alice", ["Bearer sk-ant-alice"])]


async def test_the_rest_of_the_request_is_the_same_as_with_the_gateway_s_key(open_lane):
    server = Recorder()
    async with raw_upstream(server) as upstream:
        lane = open_lane(upstream.base_url)
        await answer(lane, CALL)
        await answer(lane, replace(CALL, credential="sk-ant-alice"))
    ours, theirs = (sorted(one.headers) for one in server.seen)
    assert [pair for pair in ours if pair not in theirs] == [("authorization", "Bearer sk-test")]
    assert [pair for pair in theirs if pair not in ours] == [("authorization", "Bearer sk-ant-alice")]


async def test_keys_of_clients_and_gateway_are_not_mixed_up_when_calls_overlap(open_lane):
    server = Recorder()
    async with raw_upstream(server) as upstream:
        lane = open_lane(upstream.base_url)
        calls = [OF_ALICE, replace(CALL, body=b"gateway"), OF_BOB] * 40
        bodies = await asyncio.gather(*(answer(lane, call) for call in calls))
    assert bodies == [call.body for call in calls]
    expected = {b"alice": ["Bearer sk-ant-alice"], b"gateway": ["Bearer sk-test"], b"bob": ["Bearer sk-ant-bob"]}
    assert len(server.seen) == len(calls)
    assert all(credentials == expected[body] for body, credentials in server.credentials())


@pytest.mark.parametrize("first", [OF_ALICE, CALL], ids=["client_first", "gateway_first"])
async def test_a_call_without_a_key_of_its_own_never_gets_that_of_another_client(open_lane, first):
    server = Recorder()
    async with raw_upstream(server) as upstream:
        lane = open_lane(upstream.base_url, api_key="")
        await answer(lane, OF_ALICE)
        with pytest.raises(UpstreamStatus, match="no Anthropic credential"):
            await answer(lane, CALL)
        lane = open_lane(upstream.base_url)
        for call in (first, OF_BOB, CALL):
            await answer(lane, call)
    assert server.credentials()[-1] == (CALL.body, ["Bearer sk-test"])


async def test_a_repeat_goes_with_the_same_key(open_lane):
    seen = []

    async def script(peer: Peer) -> None:
        for status in (529, 200):
            seen.append((await peer.request()).header("authorization"))
            peer.reply(status)

    async with raw_upstream(script) as upstream:
        await answer(RetryingUpstream(open_lane(upstream.base_url), 1, sleep=at_once), OF_ALICE)
    assert seen == ["Bearer sk-ant-alice"] * 2


async def test_a_client_s_key_is_logged_at_no_level(open_lane, caplog):
    caplog.set_level(logging.DEBUG)
    async with raw_upstream(keep_answering) as upstream:
        await answer(open_lane(upstream.base_url), OF_ALICE)
    assert "sk-ant-alice" not in caplog.text


async def at_once(_seconds: float) -> None:
    """Does not sleep."""
