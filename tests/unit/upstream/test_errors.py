from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.upstream.errors import MAX_ERROR_BODY_BYTES, forwarded_headers, retry_after_s, should_retry, status_error

OVERLOADED = (
    b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded",'
    b'"details":{"error_code":"compaction_unavailable"}},"request_id":"req_011"}'
)


def test_anthropics_own_error_is_taken_apart():
    error = status_error(529, {"request-id": "req_head", "retry-after": "3"}, OVERLOADED)
    assert error.message == "Overloaded"
    assert error.status == 529
    assert error.error_type == "overloaded_error"
    assert error.error_code == "compaction_unavailable"
    assert error.request_id == "req_head"
    assert error.retry_after_s == 3.0


def test_the_request_id_of_the_body_is_used_where_there_is_no_header():
    assert status_error(529, {}, OVERLOADED).request_id == "req_011"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   ",
        b"\x00\xff\xfe",
        b"upstream connect error or disconnect/reset before headers, secret-host:443",
        b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>",
        OVERLOADED[:-30],
        b"[" * 50_000,
        b"null",
        b'"text"',
        b"[1]",
        b"{}",
        b'{"error":null}',
        b'{"error":"broken"}',
        b'{"error":{"message":null,"type":3,"details":[]}}',
        b'{"error":{"message":["a"]}}',
        b'{"error":{"message":"<!DOCTYPE html><html><body>Blocked</body></html>"}}',
        b'{"error":{"message":"' + b"x" * MAX_ERROR_BODY_BYTES + b'"}}',
    ],
)
def test_a_body_of_any_quality_gives_a_plain_sentence(body):
    error = status_error(502, {}, body)
    assert error.message == "Anthropic answered 502 (Bad Gateway) without saying why."
    assert (error.error_type, error.error_code, error.request_id) == ("", None, None)


@pytest.mark.parametrize(("status", "phrase"), [(529, " (Overloaded)"), (429, " (Too Many Requests)"), (599, "")])
def test_a_status_without_a_body_is_named(status, phrase):
    assert status_error(status, {}, b"").message == f"Anthropic answered {status}{phrase} without saying why."


def test_a_long_message_is_cut():
    error = status_error(400, {}, b'{"error":{"message":"' + b"x" * 5000 + b'"}}')
    assert error.message == "x" * 1999 + "…"


def test_a_credential_in_a_message_is_masked():
    body = b'{"error":{"message":"key sk-ant-api03-abcdefgh, Bearer abc.def; a risk-assessment"}}'
    assert status_error(401, {}, body).message == "key ***, Bearer *** a risk-assessment"


def test_line_breaks_in_a_message_become_spaces():
    assert status_error(400, {}, b'{"error":{"message":"a\\r\\nb\\u0000c"}}').message == "a b c"


def test_a_comparison_in_a_message_is_not_markup():
    assert status_error(400, {}, b'{"error":{"message":"max_tokens: 1 < 2"}}').message == "max_tokens: 1 < 2"


def test_an_error_type_that_is_no_word_is_left_out():
    assert status_error(400, {}, b'{"error":{"type":"a b\\n","message":"m"}}').error_type == ""


@given(st.integers(400, 599), st.binary(max_size=300))
def test_no_body_ever_fails(status, body):
    assert status_error(status, {}, body).message


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
def test_no_json_ever_fails(value):
    import msgspec

    assert status_error(500, {}, msgspec.json.encode(value)).message


def test_headers_that_may_be_passed_on_are_kept_and_no_others():
    headers = {
        "retry-after": "3",
        "retry-after-ms": "2500",
        "x-should-retry": "true",
        "request-id": "req_1",
        "anthropic-ratelimit-requests-remaining": "0",
        "anthropic-priority-input-tokens-limit": "1",
        "set-cookie": "secret",
        "content-length": "7",
        "server": "cloudflare",
        "anthropic-organization-id": "org",
    }
    kept = dict(list(headers.items())[:6])
    assert forwarded_headers(headers) == kept
    assert status_error(429, headers, b"").headers == kept


@pytest.mark.parametrize("value", ["a\r\nset-cookie: x", "x" * 1000, "\u00fc", "a\x00"])
def test_a_header_that_cannot_be_passed_on_is_dropped(value):
    assert forwarded_headers({"retry-after": value}) == {}


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "1500", "retry-after": "7"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:16:50 GMT"}, 10.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:10 GMT"}, 0.0),
        ({"retry-after": "later"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "Thu, 99 Jan 1970 00:16:50 GMT"}, None),
    ],
)
def test_retry_after_in_all_its_forms(headers, seconds):
    assert retry_after_s(headers, now_at=1000.0) == seconds


@pytest.mark.parametrize(("value", "said"), [("true", True), (" False ", False), ("maybe", None), ("", None)])
def test_x_should_retry_says_yes_no_or_nothing(value, said):
    assert should_retry({"x-should-retry": value}) is said


def test_a_missing_x_should_retry_says_nothing():
    assert should_retry({}) is None
