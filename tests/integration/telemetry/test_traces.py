"""The trace of a request, as a collector gets it: spans, parents, times, and what must not be in it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from tests.support.chat_wire import PROMPT_CANARY, Reply, chat, post, until
from tests.support.gateway_here import UPSTREAM_KEY, GatewayHere, gateway_here
from tests.support.messages_peer import HEAD, TAIL, answer, begin_stream, end_stream, error_body, keep_answering
from tests.support.otlp_receiver import Collector, Span
from tests.support.raw_upstream import Peer, raw_upstream

SERVER, CLIENT, INTERNAL = 2, 3, 1
UNSET, ERROR = 0, 2
OURS = "POST /v1/chat/completions"

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE_ID}-b7ad6b7169203331-01"
STREAMED = pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])


class Recording:
    """Answers every call, and keeps the headers of each."""

    def __init__(self) -> None:
        self.calls: list[dict[str, str]] = []

    async def __call__(self, peer: Peer) -> None:
        while True:
            request = await peer.request()
            self.calls.append(dict(request.headers))
            answer(peer, request)


async def traced(
    gateway: GatewayHere, collector: Collector, *, headers: str = "", **fields: Any
) -> tuple[Reply, dict[str, Span]]:
    """One request, and its spans by the first word of their names."""
    reply = await gateway.ask(chat(**fields), headers=headers)
    await until(lambda: any(span.name.startswith("POST") for span in collector.spans))
    return reply, {span.name.split()[0]: span for span in collector.trace()}


@STREAMED
async def test_a_request_is_a_tree_of_spans(collector, streamed):
    began_ns = time.time_ns()
    async with (
        raw_upstream(keep_answering) as upstream,
        gateway_here(upstream.base_url, otlp_endpoint=collector.url) as gateway,
    ):
        reply, spans = await traced(gateway, collector, stream=streamed)
    ended_ns = time.time_ns()
    assert reply.status == 200
    assert set(spans) == {"POST", "admit", "chat", "settle"} | ({"stream"} if streamed else set())
    request, call = spans["POST"], spans["chat"]
    assert (request.name, request.kind, request.parent_id) == (OURS, SERVER, "")
    assert (call.name, call.kind) == ("chat claude-opus-5-5", CLIENT)
    assert {span.parent_id for name, span in spans.items() if name != "POST"} == {request.span_id}
    assert {span.kind for name, span in spans.items() if name not in ("POST", "chat")} == {INTERNAL}
    assert {span.status for span in spans.values()} == {UNSET}
    assert began_ns <= request.began_ns <= request.ended_ns <= ended_ns
    for span in spans.values():
        assert request.began_ns <= span.began_ns <= span.ended_ns <= ended_ns, span
    assert spans["admit"].ended_ns <= call.began_ns
    assert call.ended_ns <= request.ended_ns


@STREAMED
async def test_attributes_follow_the_conventions(collector, streamed):
    async with (
        raw_upstream(keep_answering) as upstream,
        gateway_here(upstream.base_url, otlp_endpoint=collector.url) as gateway,
    ):
        reply, spans = await traced(gateway, collector, stream=streamed)
        upstream_port = int(upstream.base_url.rpartition(":")[2])
    assert spans["POST"].attributes == {
        "http.request.method": "POST",
        "http.route": "/v1/chat/completions",
        "http.response.status_code": 200,
        "claude_wrapper.request_id": reply.headers["x-request-id"],
        "claude_wrapper.tenant": spans["POST"].attributes["claude_wrapper.tenant"],
        "claude_wrapper.cache": "bypass",
    }
    call = dict(spans["chat"].attributes)
    assert call.pop("claude_wrapper.cost_usd") > 0
    if streamed:
        assert 0 < call.pop("gen_ai.response.time_to_first_chunk") < 10
        assert call.pop("gen_ai.request.stream") is True
    assert call.pop("gen_ai.usage.input_tokens") > 0
    assert call.pop("gen_ai.usage.output_tokens") > 0
    assert call == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": "claude-opus-5-5",
        "server.address": "127.0.0.1",
        "server.port": upstream_port,
    }
    assert spans["admit"].attributes == {"claude_wrapper.verdict": "admitted"}


async def test_the_trace_of_the_client_goes_on_to_anthropic(collector):
    headers = f"traceparent: {PARENT}\r\ntracestate: one=1,two=2\r\ntracestate: three=3\r\n"
    anthropic = Recording()
    async with (
        raw_upstream(anthropic) as upstream,
        gateway_here(upstream.base_url, otlp_endpoint=collector.url, trace_sample=0.0) as gateway,
    ):
        _, spans = await traced(gateway, collector, headers=headers)
    (sent,) = anthropic.calls
    assert {span.trace_id for span in spans.values()} == {TRACE_ID}
    assert spans["POST"].parent_id == "b7ad6b7169203331"
    assert sent["traceparent"] == f"00-{TRACE_ID}-{spans['chat'].span_id}-01"
    assert sent["tracestate"] == spans["POST"].state == "one=1,two=2,three=3"


async def test_a_client_that_does_not_sample_is_not_traced(collector):
    anthropic = Recording()
    async with (
        raw_upstream(anthropic) as upstream,
        gateway_here(upstream.base_url, otlp_endpoint=collector.url) as gateway,
    ):
        await gateway.ask(chat(), headers=f"traceparent: {PARENT[:-1]}0\r\n")
        _, spans = await traced(gateway, collector)
    unsampled, sampled = anthropic.calls
    assert unsampled["traceparent"].startswith(f"00-{TRACE_ID}-")
    assert unsampled["traceparent"].endswith("-00")
    assert sampled["traceparent"] == f"00-{spans['POST'].trace_id}-{spans['chat'].span_id}-01"


async def test_repeated_calls_tell_the_same_span(collector):
    anthropic = Recording()

    async def overloaded_once(peer: Peer) -> None:
        if not anthropic.calls:
            anthropic.calls.append(dict((await peer.request()).headers))
            peer.reply(529, error_body("overloaded_error", "busy"), content_type="application/json")
        await anthropic(peer)

    async with (
        raw_upstream(overloaded_once) as upstream,
        gateway_here(upstream.base_url, otlp_endpoint=collector.url, upstream_retries=1) as gateway,
    ):
        _, spans = await traced(gateway, collector)
    first, second = anthropic.calls
    assert first["traceparent"] == second["traceparent"]
    assert spans["chat"].span_id in first["traceparent"]
    assert spans["chat"].attributes["http.request.resend_count"] == 1


@STREAMED
async def test_a_call_that_fails_is_an_error_of_both_spans(collector, streamed):
    async def refuses(peer: Peer) -> None:
        await peer.request()
        peer.reply(500, error_body("api_error", "broken"), content_type="application/json")

    async with (
        raw_upstream(refuses) as upstream,
        gateway_here(upstream.base_url, otlp_endpoint=collector.url) as gateway,
    ):
        reply, spans = await traced(gateway, collector, stream=streamed)
    assert reply.status >= 500
    assert (spans["POST"].status, spans["chat"].status) == (ERROR, ERROR)
    assert spans["POST"].attributes["http.response.status_code"] == reply.status
    assert spans["POST"].attributes["error.type"] == spans["chat"].attributes["error.type"] != ""


async def test_a_stream_that_breaks_off_is_an_error(collector):
    begun = asyncio.Event()

    async def breaks(peer: Peer) -> None:
        await peer.request()
        begin_stream(peer, HEAD)
        await asyncio.wait_for(begun.wait(), 10)
        peer.reset()

    async with (
        raw_upstream(breaks) as upstream,
        gateway_here(upstream.base_url, otlp_endpoint=collector.url) as gateway,
    ):
        wire = await gateway.wire()
        wire.send(post(chat(stream=True)))
        await wire.head()
        await wire.until(b"Par")
        begun.set()
        await until(lambda: len(collector.spans) == 5)
    spans = {span.name.split()[0]: span for span in collector.trace()}
    assert spans["POST"].attributes["http.response.status_code"] == 200
    assert (spans["POST"].status, spans["chat"].status) == (ERROR, ERROR)


async def test_a_client_that_does_wrong_is_no_error_of_ours(collector):
    async with (
        raw_upstream(keep_answering) as upstream,
        gateway_here(upstream.base_url, otlp_endpoint=collector.url) as gateway,
    ):
        reply, spans = await traced(gateway, collector, temperature=99)
    assert reply.status == 400
    assert set(spans) == {"POST"}
    assert (spans["POST"].status, spans["POST"].attributes["http.response.status_code"]) == (UNSET, 400)


async def test_a_slow_stream_shows_when_its_first_token_came(collector):
    async def slow(peer: Peer) -> None:
        await peer.request()
        begin_stream(peer, HEAD)
        time_before = time.monotonic()
        await until(lambda: time.monotonic() - time_before > 0.2)
        peer.chunk(TAIL)
        end_stream(peer)

    async with raw_upstream(slow) as upstream, gateway_here(upstream.base_url, otlp_endpoint=collector.url) as gateway:
        _, spans = await traced(gateway, collector, stream=True)
    streamed_s = (spans["stream"].ended_ns - spans["stream"].began_ns) / 1e9
    assert 0.19 < streamed_s < 10
    assert spans["chat"].attributes["gen_ai.response.time_to_first_chunk"] < streamed_s + 5


async def test_no_prompt_and_no_key_leaves_the_gateway(collector):
    key = "sk-client-canary-4711"
    async with (
        raw_upstream(keep_answering) as upstream,
        gateway_here(upstream.base_url, otlp_endpoint=collector.url, api_key=key) as gateway,
    ):
        for bad_fields in ({}, {"model": PROMPT_CANARY}, {"stop": [PROMPT_CANARY] * 9}, {"user": PROMPT_CANARY}):
            await gateway.ask(chat(**bad_fields), headers=f"authorization: Bearer {key}\r\n")
        await gateway.ask(chat(), headers=f"authorization: Bearer {key}\r\n", path=f"/v1/{PROMPT_CANARY}")
        await gateway.ask(chat(), headers="authorization: Bearer sk-wrong-canary\r\n")
        await until(lambda: sum(span.name.startswith("POST") for span in collector.spans) == 6)
        await until(lambda: collector.exports)
    sent = b"".join(collector.raw)
    for secret in (PROMPT_CANARY, key, UPSTREAM_KEY, "sk-wrong-canary", "Par"):
        assert secret.encode() not in sent, secret


async def test_probes_and_the_operators_pages_are_not_traced(collector):
    async with (
        raw_upstream(keep_answering) as upstream,
        gateway_here(upstream.base_url, otlp_endpoint=collector.url) as gateway,
    ):
        for _ in range(3):
            wire = await gateway.wire()
            wire.send(b"GET /health/live HTTP/1.1\r\nhost: a\r\n\r\n")
            assert (await wire.reply()).status == 200
        await traced(gateway, collector)
    assert sum(span.kind == SERVER for span in collector.spans) == 1
