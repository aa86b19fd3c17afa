"""What the log says of one request, for programs and for people."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from app.observability.record import RequestRecord
from app.observability.request_line import RequestLine, as_text, kind_of, line_of
from app.observability.steps import overhead_s
from tests.support.request_logs import chat_request, request


def line(record: RequestRecord, **given: Any) -> RequestLine:
    told: dict[str, Any] = {
        "timestamp": "2026-11-24T10:00:00.000Z",
        "level": "INFO",
        "response_s": 0.812,
        "duration_s": 0.8125,
    }
    told |= {"kind": kind_of(record.path), "clean": str, **given}
    return line_of(record, overhead_s=overhead_s(record, duration_s=told["duration_s"]), **told)


def fields(record: RequestRecord, **given: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(line(record, **given)))


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/v1/chat/completions", "chat"),
        ("/v1/compatibility", "chat"),
        ("/v1/sessions", "sessions"),
        ("/v1/sessions/abc", "sessions"),
        ("/admin/keys/abc", "keys"),
        ("/admin/audit", "keys"),
        ("/admin/debug", "admin"),
        ("/health/live", "operations"),
        ("/metrics", "operations"),
        ("/dashboard/data", "operations"),
        ("/logs", "operations"),
        ("/docs", "operations"),
        ("/v1/models", "other"),
        ("/", "other"),
        ("/nothing", "other"),
    ],
)
def test_the_path_tells_the_kind(path: str, kind: str) -> None:
    assert kind_of(path) == kind


def test_a_chat_completion_has_everything() -> None:
    assert fields(chat_request()) == {
        "timestamp": "2026-11-24T10:00:00.000Z",
        "level": "INFO",
        "logger": "app.request",
        "message": "request",
        "type": "chat",
        "request_id": "cw-019ab3f2c1d5-e0f3a21c-1f",
        "method": "POST",
        "path": "/v1/chat/completions",
        "status": 200,
        "bytes_in": 1000,
        "bytes_out": 2000,
        "tenant": "acme",
        "key_id": "0123456789ab",
        "response_ms": 812.0,
        "duration_ms": 812.5,
        "model_asked": "opus",
        "model": "claude-opus-5-5",
        "stream": False,
        "attempts": 1,
        "cost_usd": 0.0123,
        "input_tokens": 11,
        "cache_read_tokens": 12,
        "cache_write_tokens": 13,
        "output_tokens": 14,
        "cache": "bypass",
        "verdict": "admitted",
        "upstream_ms": 800.0,
        "overhead_ms": 12.5,
    }


def test_a_stream_tells_its_first_token_and_what_came_before_its_call() -> None:
    told = fields(chat_request(stream=True, first_token_at=100.75), duration_s=5.0)
    assert (told["first_token_ms"], told["overhead_ms"], told["upstream_ms"]) == (750.0, 10.0, 690.0)


def test_a_stream_that_brought_nothing_has_no_first_token() -> None:
    assert "first_token_ms" not in fields(chat_request(stream=True))
    assert "upstream_ms" not in fields(chat_request(stream=True, answered_at=0.0))


def test_a_plain_call_that_failed_has_no_times() -> None:
    assert not fields(chat_request(ended_at=0.0)).keys() & {"upstream_ms", "overhead_ms"}


def test_what_a_request_did_not_have_is_left_out() -> None:
    assert set(fields(request())) == {
        *("timestamp", "level", "logger", "message", "type", "request_id", "method", "path", "status"),
        *("bytes_in", "bytes_out", "tenant", "key_id", "response_ms", "duration_ms"),
    }


def test_how_it_ended_is_told() -> None:
    told = fields(
        chat_request(
            error_code="overloaded_error",
            failed=True,
            client_left=True,
            degraded=True,
            estimated=True,
            retries=1,
            adjusted=(("model", "claude-opus-5-5"), ("tool_choice", "no_call")),
        )
    )
    assert told["error_code"] == "overloaded_error"
    assert told["broken"] is told["client_left"] is told["degraded"] is told["estimated"] is True
    assert told["retries"] == 1
    assert told["adjusted"] == "model=claude-opus-5-5, tool_choice=no_call"


def test_every_text_from_outside_is_cleaned() -> None:
    record = chat_request(error_code="e", adjusted=(("a", "b"),))
    told = fields(record, clean=lambda text: f"<{text}>")
    dirty = {"request_id", "path", "model_asked", "model", "error_code", "adjusted"}
    assert {name for name, value in told.items() if str(value).startswith("<")} == dirty


def test_what_was_written_can_be_read_again() -> None:
    written = line(chat_request(stream=True))
    written.slow = ("admit",)
    assert msgspec.json.decode(msgspec.json.encode(written), type=RequestLine) == written


def test_text_tells_first_what_happened() -> None:
    assert as_text(line(chat_request()), is_coloured=False) == (
        "2026-11-24T10:00:00.000Z INFO POST /v1/chat/completions 200 812.5 ms  "
        "claude-opus-5-5 (asked for opus) tokens=11+14 cost=$0.012300 cache=bypass upstream_ms=800.0 overhead_ms=12.5 "
        "tenant=acme key_id=0123456789ab request_id=cw-019ab3f2c1d5-e0f3a21c-1f"
    )


def test_text_of_something_bad() -> None:
    bad = line(
        chat_request(model_asked="claude-opus-5-5", stream=True, estimated=True, failed=True, error_code="timeout"),
        level="WARNING",
    )
    bad.slow = ("admit", "finish")
    text = as_text(bad, is_coloured=False)
    assert "WARNING POST /v1/chat/completions 200" in text
    assert "claude-opus-5-5 stream tokens=11+14 cost=$0.012300~" in text
    assert "error_code=timeout slow=admit,finish broken cache=bypass" in text


def test_text_of_a_request_that_got_no_reply() -> None:
    assert as_text(line(request(status=0)), is_coloured=False) == (
        "2026-11-24T10:00:00.000Z INFO GET /v1/models --- 812.5 ms  request_id=cw-019ab3f2c1d5-e0f3a21c-1f"
    )


@pytest.mark.parametrize(("status", "colour"), [(200, "32"), (304, "36"), (429, "33"), (503, "31")])
def test_on_a_terminal_the_status_has_a_colour(status: int, colour: str) -> None:
    assert f" \x1b[{colour}m{status}\x1b[0m " in as_text(line(request(status=status)), is_coloured=True)


def test_no_status_has_no_colour() -> None:
    assert " --- " in as_text(line(request(status=0)), is_coloured=True)
