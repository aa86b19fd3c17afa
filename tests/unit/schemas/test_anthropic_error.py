from __future__ import annotations

import json

import pytest

from app.schemas.anthropic_error import MAX_BODY_BYTES, MAX_MESSAGE_CHARS, STATUS_OF_TYPE, event_error, upstream_status


def body(**error: object) -> bytes:
    return json.dumps({"type": "error", "error": error, "request_id": "req_body"}).encode()


def test_type_message_code_and_id_are_read() -> None:
    error = upstream_status(
        429,
        {"request-id": "req_head", "retry-after": "7", "date": "today"},
        body(type="rate_limit_error", message="slow down", details={"error_code": "enforced_spend_limit_reached"}),
    )
    assert (error.status, error.error_type, error.error_code) == (
        429,
        "rate_limit_error",
        "enforced_spend_limit_reached",
    )
    assert (error.message, error.request_id, error.retry_after_s) == ("slow down", "req_head", 7.0)


def test_only_headers_that_may_be_passed_on_are_kept() -> None:
    headers = {
        "retry-after": "7",
        "retry-after-ms": "6500",
        "x-should-retry": "true",
        "request-id": "req_1",
        "anthropic-ratelimit-requests-limit": "50",
        "set-cookie": "a=b",
        "server": "cloudflare",
    }
    kept = upstream_status(429, headers, b"").headers
    assert sorted(kept) == [
        "anthropic-ratelimit-requests-limit",
        "request-id",
        "retry-after",
        "retry-after-ms",
        "x-should-retry",
    ]


def test_the_id_of_the_body_serves_where_the_header_is_missing() -> None:
    assert upstream_status(500, {}, body(type="api_error", message="m")).request_id == "req_body"


@pytest.mark.parametrize("bad", ["", "a b", "a\r\nset-cookie: x", "x" * 129, "é"])
def test_an_id_in_the_body_that_does_not_look_like_one_is_dropped(bad: str) -> None:
    data = json.dumps({"error": {"message": "m"}, "request_id": bad}).encode()
    assert upstream_status(500, {}, data).request_id is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html><body>502 Bad Gateway</body></html>",
        b'{"type":"error","error":{"type":"api_error","mess',
        b"[]",
        b'{"error":"text"}',
        b'{"error":{"message":7}}',
        b'{"error":{"message":"<!doctype html><html>secret</html>"}}',
        b'{"error":{"message":"Bad gateway: <h1>secret</h1>"}}',
        b'{"error":{"message":"  "}}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"error":{"message":"' + b"x" * MAX_BODY_BYTES + b'"}}',
    ],
)
def test_a_body_of_any_quality_gives_a_message_of_our_own(data: bytes) -> None:
    error = upstream_status(502, {}, data)
    assert error.message == "The upstream API answered with status 502 and no usable message."
    assert error.status == 502


@pytest.mark.parametrize("details", [None, 7, {"error_code": 7}, "text", {}])
def test_details_of_another_shape_do_not_cost_the_message(details: object) -> None:
    error = upstream_status(400, {}, body(type="invalid_request_error", message="m", details=details))
    assert (error.message, error.error_code) == ("m", None)


def test_details_nested_without_end_do_not_cost_the_reply() -> None:
    deep = b'{"error":{"message":"m","details":' + b"[" * 900 + b"]" * 900 + b"}}"
    assert upstream_status(400, {}, deep).error_code is None


def test_a_long_message_is_cut() -> None:
    message = upstream_status(400, {}, body(message="x" * 100_000)).message
    assert len(message) == MAX_MESSAGE_CHARS
    assert message.endswith("x…")


def test_a_message_has_no_line_breaks() -> None:
    assert upstream_status(400, {}, body(message="a\r\n b\x0bc")).message == "a b c"


@pytest.mark.parametrize("secret", ["sk-ant-api03-abcdefgh", "Bearer abcdefgh.ijk", "sk_live_abcdefgh"])
def test_a_credential_in_a_message_is_masked(secret: str) -> None:
    message = upstream_status(401, {}, body(message=f"invalid key {secret}, sorry")).message
    assert "abcdefgh" not in message
    assert message.endswith("***, sorry")


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "2"}, 2.0),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({}, None),
    ],
)
def test_the_wait_is_read_from_what_can_be_read(headers: dict[str, str], seconds: float | None) -> None:
    assert upstream_status(429, headers, b"").retry_after_s == seconds


@pytest.mark.parametrize(("error_type", "status"), STATUS_OF_TYPE.items())
def test_an_error_event_has_the_status_of_its_type(error_type: str, status: int) -> None:
    error = event_error(body(type=error_type, message="m"))
    assert (error.status, error.error_type, error.message) == (status, error_type, "m")
    assert error.request_id == "req_body"


def test_an_error_event_of_an_unknown_type_is_a_server_error() -> None:
    assert event_error(body(type="new_error", message="m")).status == 500


def test_an_error_event_without_a_message_gets_one() -> None:
    assert event_error(b'{"type":"error"}').message == "The upstream API ended the stream with an error."


@pytest.mark.parametrize(("error_type", "hint"), [("overloaded_error", "true"), ("invalid_request_error", None)])
def test_an_error_event_says_whether_to_retry(error_type: str, hint: str | None) -> None:
    assert event_error(body(type=error_type, message="m")).headers.get("x-should-retry") == hint
