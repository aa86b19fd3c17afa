from __future__ import annotations

import pytest

from app.upstream.errors import forwarded_headers, retry_after_s, should_retry, status_error

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


@pytest.mark.parametrize("body", [b"", b"<html>nginx</html>", OVERLOADED[:-30]])
def test_a_body_without_a_message_gives_a_sentence_of_our_own(body):
    error = status_error(502, {}, body)
    assert error.message == "Anthropic answered 502 (Bad Gateway) without saying why."
    assert (error.error_type, error.error_code, error.request_id) == ("", None, None)


@pytest.mark.parametrize(("status", "phrase"), [(529, " (Overloaded)"), (429, " (Too Many Requests)"), (599, "")])
def test_a_status_without_a_body_is_named(status, phrase):
    assert status_error(status, {}, b"").message == f"Anthropic answered {status}{phrase} without saying why."


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
