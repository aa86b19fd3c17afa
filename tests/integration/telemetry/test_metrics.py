"""Metrics over OTLP: what the worker has counted, under the names and attributes of the conventions."""

from __future__ import annotations

from opentelemetry.proto.metrics.v1.metrics_pb2 import HistogramDataPoint, Metric, NumberDataPoint

from tests.support.chat_wire import chat
from tests.support.gateway_here import gateway_here
from tests.support.messages_peer import keep_answering
from tests.support.otlp_receiver import attributes
from tests.support.raw_upstream import raw_upstream

PLAIN, STREAMS, BAD = 7, 5, 3
CUMULATIVE = 2


def points(metric: Metric) -> list[NumberDataPoint]:
    return list(metric.sum.data_points or metric.gauge.data_points)


def only(metric: Metric) -> HistogramDataPoint:
    (point,) = metric.histogram.data_points
    return point


async def test_totals_are_right_over_a_run(collector):
    async with (
        raw_upstream(keep_answering) as upstream,
        gateway_here(upstream.base_url, otlp_endpoint=collector.url) as gateway,
    ):
        for fields, times in (({}, PLAIN), ({"stream": True}, STREAMS), ({"temperature": 99}, BAD)):
            for _ in range(times):
                await gateway.ask(chat(**fields))
        counted = gateway.app._metrics
        expected_tokens = dict(counted.counters["claude_wrapper_tokens"])
        expected_cost = sum(counted.counters["claude_wrapper_cost_usd"].values()) / 1e9
    totals = collector.totals()
    by_status = {
        attributes(point.attributes)["http.response.status_code"]: point.as_int
        for point in points(totals["claude_wrapper.requests"])
    }
    assert by_status == {200: PLAIN + STREAMS, 400: BAD}
    durations = {
        attributes(point.attributes).get("error.type", ""): point
        for point in totals["gen_ai.server.request.duration"].histogram.data_points
    }
    assert durations[""].count == sum(durations[""].bucket_counts) == PLAIN + STREAMS
    assert durations[""].sum > 0
    first_token = only(totals["gen_ai.server.time_to_first_token"])
    assert first_token.count == STREAMS
    assert attributes(first_token.attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": "claude-opus-5-5",
    }
    (tokens,) = points(totals["gen_ai.client.inference.usage.input_tokens"])
    assert tokens.as_int == expected_tokens["claude-opus-5-5", "input"] > 0
    (cost,) = points(totals["claude_wrapper.cost_usd"])
    assert abs(cost.as_double - expected_cost) < 1e-9
    assert totals["claude_wrapper.requests"].sum.is_monotonic
    assert totals["claude_wrapper.requests"].sum.aggregation_temporality == CUMULATIVE


async def test_totals_only_grow(collector):
    async with (
        raw_upstream(keep_answering) as upstream,
        gateway_here(upstream.base_url, otlp_endpoint=collector.url) as gateway,
    ):
        for _ in range(40):
            await gateway.ask(chat())
    name = "claude_wrapper.requests"
    seen = [points(named[name])[0] for _, named in collector.exports if name in named]
    counts = [point.as_int for point in seen]
    assert counts == sorted(counts)
    assert counts[-1] == 40
    assert len({point.start_time_unix_nano for point in seen}) == 1
