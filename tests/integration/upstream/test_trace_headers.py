"""A call tells Anthropic which trace it belongs to: on every lane, with every attempt, and never another call's."""

from __future__ import annotations

from msgspec.structs import replace

from app.domain.upstream import UpstreamRequest
from app.upstream.retries import RetryingUpstream
from tests.support.raw_upstream import Peer, raw_upstream

CALL = UpstreamRequest(path="/v1/messages", body=b"{}", headers={"anthropic-version": "2026-10-21"})


def trace(number: int) -> dict[str, str]:
    return {"traceparent": f"00-{number:032x}-{number:016x}-01", "tracestate": f"of={number}"}


class Recorder:
    """A server that keeps the trace of every request; its first answers are refusals."""

    def __init__(self, refusals: int = 0) -> None:
        self.refusals = refusals
        self.seen: list[dict[str, str]] = []

    async def __call__(self, peer: Peer) -> None:
        while True:
            request = await peer.request()
            self.seen.append({name: value for name, value in request.headers if name.startswith("trace")})
            peer.reply(529 if len(self.seen) <= self.refusals else 200)


async def ask(lane, call: UpstreamRequest) -> None:
    await (await lane.send(call)).read()


async def test_each_call_has_the_headers_of_its_own_trace(open_lane):
    server = Recorder()
    async with raw_upstream(server) as upstream:
        lane = open_lane(upstream.base_url)
        for number in range(1, 100):
            await ask(lane, replace(CALL, trace=trace(number)))
        await ask(lane, CALL)
    assert server.seen == [*(trace(number) for number in range(1, 100)), {}]


async def test_a_client_s_key_and_a_trace_go_together(open_lane):
    server = Recorder()
    async with raw_upstream(server) as upstream:
        await ask(open_lane(upstream.base_url), replace(CALL, trace=trace(1), credential="sk-ant-alice"))
    assert server.seen == [trace(1)]


async def test_every_attempt_has_them(open_lane):
    server = Recorder(refusals=2)
    async with raw_upstream(server) as upstream:
        lane = RetryingUpstream(open_lane(upstream.base_url), retries=2, random=lambda: 0.0)
        await ask(lane, replace(CALL, trace=trace(1)))
    assert server.seen == [trace(1)] * 3
