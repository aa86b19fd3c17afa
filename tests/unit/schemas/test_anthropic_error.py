"""Error bodies of any quality, and the errors that events inside a stream stand for."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.schemas.anthropic_error import (
    MAX_BODY_BYTES,
    MAX_MESSAGE_CHARS,
    STATUS_OF_TYPE,
    AnthropicError,
    event_error,
    read_error,
)


def body(**error: object) -> bytes:
    return json.dumps({"type": "error", "error": error, "request_id": "req_body"}).encode()


def test_type_message_code_and_id_are_read() -> None:
    details = {"error_code": "enforced_spend_limit_reached"}
    assert read_error(body(type="rate_limit_error", message="slow down", details=details)) == AnthropicError(
        message="slow down", type="rate_limit_error", code="enforced_spend_limit_reached", request_id="req_body"
    )


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"   ",
        b"\x00\xff\xfe",
        b"upstream connect error or disconnect/reset before headers, secret-host:443",
        b"<html><body>502 Bad Gateway</body></html>",
        body(type="api_error", message="m")[:-30],
        b"null",
        b'"text"',
        b"[1]",
        b"{}",
        b'{"error":null}',
        b'{"error":"text"}',
        b'{"error":{"message":7}}',
        b'{"error":{"message":["a"]}}',
        b'{"error":{"message":null,"type":3,"details":[]}}',
        b'{"error":{"message":"<!DOCTYPE html><html>secret</html>"}}',
        b'{"error":{"message":"Bad gateway: <h1>secret</h1>"}}',
        b'{"error":{"message":"  "}}',
        b"[" * 100_000,
        b'{"error":{"message":"' + b"x" * MAX_BODY_BYTES + b'"}}',
    ],
)
def test_what_is_no_error_body_says_nothing(data: bytes) -> None:
    assert read_error(data) == AnthropicError()


@pytest.mark.parametrize("details", [None, 7, {"error_code": 7}, {"error_code": "a b"}, "text", {}])
def test_details_of_another_shape_do_not_cost_the_message(details: object) -> None:
    error = read_error(body(type="invalid_request_error", message="m", details=details))
    assert (error.message, error.code) == ("m", None)


@pytest.mark.parametrize("bad", ["", "a b", "a\r\nset-cookie: x", "x" * 129, "é"])
def test_an_id_that_does_not_look_like_one_is_dropped(bad: str) -> None:
    data = json.dumps({"error": {"message": "m"}, "request_id": bad}).encode()
    assert read_error(data).request_id is None


def test_a_type_that_is_no_word_is_left_out() -> None:
    assert read_error(body(type="a b\n", message="m")).type == ""


def test_a_long_message_is_cut() -> None:
    message = read_error(body(message="x" * 10_000)).message
    assert len(message) == MAX_MESSAGE_CHARS
    assert message.endswith("x…")


def test_a_message_has_no_line_breaks() -> None:
    assert read_error(body(message="a\r\n b\x0bc\x00d")).message == "a b c d"


def test_a_comparison_in_a_message_is_not_markup() -> None:
    assert read_error(body(message="max_tokens: 1 < 2")).message == "max_tokens: 1 < 2"


@pytest.mark.parametrize("secret", ["sk-ant-api03-abcdefgh", "Bearer abcdefgh.ijk", "bearer abcdefgh", "sk_abcdefgh"])
def test_a_credential_in_a_message_is_masked(secret: str) -> None:
    message = read_error(body(message=f"invalid key {secret}, sorry for the risk-assessment")).message
    assert "abcdefgh" not in message
    assert message.endswith("***, sorry for the risk-assessment")


@given(st.binary(max_size=300))
def test_no_body_ever_fails(data: bytes) -> None:
    assert isinstance(read_error(data), AnthropicError)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=10),
        lambda s: (
            st.lists(s)
            | st.dictionaries(st.sampled_from(["error", "message", "type", "details", "error_code", "request_id"]), s)
        ),
        max_leaves=10,
    )
)
def test_no_json_ever_fails(value: object) -> None:
    assert event_error(msgspec.json.encode(value)).message


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
