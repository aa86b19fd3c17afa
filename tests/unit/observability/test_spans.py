"""The spans that the notes of a request make."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

from app.domain.calls import Usage
from app.observability.record import RequestRecord
from app.observability.spans import SpanMaker
from app.observability.trace_context import TraceContext
from app.observability.tracing import Ended

CHAT = "/v1/chat/completions"
MODEL = "claude-opus-5-5"
#: Unix nanoseconds at zero of the monotonic clock.
EPOCH_NS = 1_790_000_000_000_000_000


def record(**facts: Any) -> RequestRecord:
    """The notes of a good stream."""
    known: dict[str, Any] = {
        "status": 200,
        "model": MODEL,
        "model_label": MODEL,
        "stream": True,
        "usage": Usage(input_tokens=10, cache_read_input_tokens=4, cache_creation_input_tokens=2, output_tokens=7),
        "verdict": "admitted",
        "attempts": 1,
        "bytes_out": 321,
        "began_at": 10.0,
        "read_at": 10.1,
        "translated_at": 10.2,
        "admitted_at": 10.3,
        "sent_at": 10.4,
        "answered_at": 10.5,
        "first_token_at": 10.6,
        "ended_at": 10.8,
        "trace": TraceContext(0xABC, 0x1, 0x2, parent_span_id=0x9, state="a=1", settling_at=10.8, settled_at=11.5),
    }
    return RequestRecord("req-1", "POST", CHAT, **(known | facts))


def spans(route: str = CHAT, **facts: Any) -> dict[str, ReadableSpan]:
    """By the first word of their names."""
    notes = record(**facts)
    assert notes.trace is not None
    maker = SpanMaker(Resource({}), server=("api.anthropic.com", 443), bits=Random(1).getrandbits)
    made = maker.spans_of(Ended(notes, notes.trace, route, 11.0), epoch_ns=EPOCH_NS)
    return {span.name.split()[0]: span for span in made}


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def seconds(span: ReadableSpan) -> tuple[float, float]:
    """Beginning and end, by the clock of the notes."""
    assert span.start_time is not None
    assert span.end_time is not None
    return round((span.start_time - EPOCH_NS) / 1e9, 6), round((span.end_time - EPOCH_NS) / 1e9, 6)


def test_each_step_has_its_time() -> None:
    assert {name: seconds(span) for name, span in spans().items()} == {
        "POST": (10.0, 11.0),
        "admit": (10.2, 10.3),
        "chat": (10.4, 10.8),
        "stream": (10.6, 11.0),
        "settle": (10.8, 11.5),
    }


def test_they_are_one_tree_in_the_trace_of_the_client() -> None:
    made = spans()
    contexts = {name: span.context for name, span in made.items()}
    parents = {name: span.parent for name, span in made.items()}
    assert {context.trace_id for context in contexts.values() if context} == {0xABC}
    assert len({context.span_id for context in contexts.values() if context}) == 5
    assert {name: parent.span_id for name, parent in parents.items() if parent} == {
        "POST": 0x9,
        "admit": 0x1,
        "chat": 0x1,
        "stream": 0x1,
        "settle": 0x1,
    }
    request, call = contexts["POST"], contexts["chat"]
    assert request is not None
    assert call is not None
    assert (request.span_id, call.span_id) == (0x1, 0x2)
    assert dict(request.trace_state) == {"a": "1"}
    assert parents["POST"] is not None
    assert parents["POST"].is_remote


def test_kinds_and_names() -> None:
    made = spans()
    assert made["POST"].name == f"POST {CHAT}"
    assert made["chat"].name == f"chat {MODEL}"
    assert (made["POST"].kind, made["chat"].kind) == (SpanKind.SERVER, SpanKind.CLIENT)


def test_a_trace_that_begins_here_has_no_parent() -> None:
    assert spans(trace=TraceContext(1, 2, 3))["POST"].parent is None


def test_input_tokens_include_what_the_prompt_cache_held() -> None:
    call = attributes(spans()["chat"])
    assert {name: value for name, value in call.items() if name.startswith("gen_ai.usage")} == {
        "gen_ai.usage.input_tokens": 16,
        "gen_ai.usage.cache_read.input_tokens": 4,
        "gen_ai.usage.cache_creation.input_tokens": 2,
        "gen_ai.usage.output_tokens": 7,
    }


def test_thinking_is_told_apart() -> None:
    call = attributes(spans(usage=Usage(output_tokens=7, thinking_tokens=5))["chat"])
    assert call["gen_ai.usage.reasoning.output_tokens"] == 5
    assert "gen_ai.usage.cache_read.input_tokens" not in call


def test_steps_that_were_not_reached_have_no_span() -> None:
    nowhere = {"admitted_at": 0.0, "sent_at": 0.0, "first_token_at": 0.0, "trace": TraceContext(1, 2, 3)}
    assert set(spans(**nowhere)) == {"POST"}


def test_an_answer_from_the_cache_has_no_call() -> None:
    made = spans(sent_at=0.0, ended_at=0.0, cache="hit")
    assert set(made) == {"POST", "admit", "stream", "settle"}
    assert attributes(made["POST"])["claude_wrapper.cache"] == "hit"


@pytest.mark.parametrize(
    ("facts", "request_error", "call_error", "error_type"),
    [
        ({}, False, False, None),
        ({"status": 502, "ended_at": 0.0, "error_code": "upstream_unreachable"}, True, True, "upstream_unreachable"),
        ({"status": 429, "ended_at": 0.0}, False, True, "429"),  # Anthropic's refusal is an error of the call
        ({"failed": True, "ended_at": 0.0}, True, True, "broken_off"),
        ({"status": 503, "error_code": "state_unavailable"}, True, False, "state_unavailable"),  # the call was good
        ({"status": 409, "error_code": "conflict"}, False, False, "conflict"),
        ({"client_left": True, "ended_at": 0.0}, False, False, None),
    ],
)
def test_failures(facts: dict[str, Any], request_error: bool, call_error: bool, error_type: str | None) -> None:
    made = spans(**facts)
    request, call = made["POST"], made["chat"]
    assert (request.status.status_code is StatusCode.ERROR) == request_error
    assert (call.status.status_code is StatusCode.ERROR) == call_error
    assert attributes(request).get("error.type") == error_type
    assert attributes(call).get("error.type") == (error_type if call_error else None)


def test_a_call_without_an_end_lasts_as_long_as_its_request() -> None:
    made = spans(ended_at=0.0, client_left=True)
    assert seconds(made["chat"]) == (10.4, 11.0)
    assert attributes(made["POST"])["claude_wrapper.client_left"] is True


def test_a_settlement_that_was_not_made_is_an_error() -> None:
    made = spans(trace=TraceContext(1, 2, 3, settling_at=10.9))
    assert made["settle"].status.status_code is StatusCode.ERROR
    assert seconds(made["settle"]) == (10.9, 11.0)
    made = spans(trace=TraceContext(1, 2, 3, settling_at=10.9, settled_at=10.95, is_settled=True))
    assert made["settle"].status.status_code is StatusCode.UNSET


def test_nothing_ends_before_it_begins() -> None:
    """The record of a request whose client left may get a later mark than its end."""
    made = spans(first_token_at=11.2)
    assert seconds(made["stream"]) == (11.2, 11.2)


def test_retries_and_cost_are_told() -> None:
    call = attributes(spans(retries=2, nano=5_000_000)["chat"])
    assert call["http.request.resend_count"] == 2
    assert call["claude_wrapper.cost_usd"] == 0.005


def test_a_plain_call_has_no_first_token() -> None:
    made = spans(stream=False, first_token_at=0.0)
    assert "stream" not in made
    assert not {"gen_ai.request.stream", "gen_ai.response.time_to_first_chunk"} & attributes(made["chat"]).keys()


def test_a_call_whose_model_is_not_known_yet_has_the_label_of_metrics() -> None:
    assert spans(model="")["chat"].name == f"chat {MODEL}"
    made = spans(model="", model_label="")["chat"]
    assert (made.name, attributes(made).get("gen_ai.request.model")) == ("chat", None)


@pytest.mark.parametrize("method", ["BREW", "post", "X" * 400])
def test_methods_and_routes_that_nobody_knows_are_one(method: str) -> None:
    notes = record()
    notes.method = method
    assert notes.trace is not None
    maker = SpanMaker(Resource({}), server=("a", 1), bits=Random(1).getrandbits)
    span = maker.spans_of(Ended(notes, notes.trace, "other", 11.0), epoch_ns=EPOCH_NS)[0]
    assert span.name == "HTTP"
    assert attributes(span)["http.request.method"] == "_OTHER"
    assert "http.route" not in attributes(span)


def test_nothing_that_a_client_wrote_is_among_the_attributes() -> None:
    made = spans(model_asked="canary", key_id="canary", tenant="acme", degraded=True, adjusted=(("canary", "canary"),))
    assert "canary" not in repr([attributes(span) for span in made.values()])
    assert attributes(made["POST"])["claude_wrapper.tenant"] == "acme"
    assert attributes(made["POST"])["claude_wrapper.degraded"] is True


def test_a_request_that_was_cut_before_its_reply_has_no_status() -> None:
    assert "http.response.status_code" not in attributes(spans(status=0)["POST"])
