"""The steps of a request, by its marks, and the header that tells them."""

from __future__ import annotations

import pytest

from app.observability.server_timing import server_timing
from app.observability.steps import overhead_s, slow_steps, steps_of
from tests.support.request_logs import chat_request, request


def test_a_plain_request_has_all_steps() -> None:
    steps = dict(steps_of(chat_request(), response_s=0.812))
    assert list(steps) == ["read", "translate", "admit", "prepare", "upstream", "finish"]
    assert steps == pytest.approx(
        {"read": 0.001, "translate": 0.002, "admit": 0.003, "prepare": 0.004, "upstream": 0.8, "finish": 0.002}
    )


def test_the_call_of_a_stream_ends_with_its_headers_and_the_rest_is_the_clients_time_too() -> None:
    steps = dict(steps_of(chat_request(stream=True), response_s=0.7))
    assert steps["upstream"] == pytest.approx(0.69)
    assert "finish" not in steps


def test_a_step_that_was_not_reached_is_none() -> None:
    refused = chat_request(status=429, sent_at=0.0, answered_at=0.0, ended_at=0.0)
    assert [name for name, _ in steps_of(refused, response_s=0.007)] == ["read", "translate", "admit"]
    assert list(steps_of(request(), response_s=0.1)) == []


def test_a_call_that_failed_before_its_reply_has_no_time() -> None:
    failed = chat_request(status=502, answered_at=0.0, ended_at=0.0)
    assert [name for name, _ in steps_of(failed, response_s=1.0)] == ["read", "translate", "admit", "prepare"]


def test_only_the_gateways_own_steps_can_be_slow() -> None:
    record = chat_request(read_at=102.0, translated_at=102.1, admitted_at=104.0, sent_at=104.1, ended_at=110.0)
    assert slow_steps(record, response_s=12.0, slow_s=1.0) == [
        ("admit", pytest.approx(1.9)),
        ("finish", pytest.approx(2.0)),
    ]
    assert slow_steps(chat_request(), response_s=0.812, slow_s=1.0) == []


def test_what_the_gateway_adds_is_all_but_the_call_or_what_comes_before_it() -> None:
    assert overhead_s(chat_request(), duration_s=0.8125) == pytest.approx(0.0125)
    assert overhead_s(chat_request(stream=True), duration_s=9.0) == pytest.approx(0.010)
    assert overhead_s(chat_request(ended_at=0.0), duration_s=9.0) is None
    assert overhead_s(request(), duration_s=9.0) is None


def test_the_header_tells_the_steps_in_milliseconds_and_the_total() -> None:
    assert server_timing(chat_request(), now=100.8125) == (
        "read;dur=1.0, translate;dur=2.0, admit;dur=3.0, prepare;dur=4.0, upstream;dur=800.0, finish;dur=2.5, "
        "total;dur=812.5"
    )


def test_the_header_of_a_reply_without_steps_tells_the_total() -> None:
    assert server_timing(request(began_at=5.0), now=5.0012) == "total;dur=1.2"
