from __future__ import annotations

from typing import Any

import pytest

from app.errors import (
    BadUpstreamReply,
    BodyTooLarge,
    ClientDisconnected,
    Conflict,
    GatewayError,
    IdempotencyKeyReused,
    IdentityUnavailable,
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    Overloaded,
    PermissionDenied,
    RateLimited,
    RequestTimeout,
    SessionDamaged,
    ShuttingDown,
    StateUnavailable,
    Unauthenticated,
    UpstreamStatus,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from app.translate.error_meaning import meaning_of

INVALID = "invalid_request_error"
SERVER = "server_error"
NO_RETRY = {"x-should-retry": "false"}


@pytest.mark.parametrize(
    ("error", "status", "kind", "code", "headers"),
    [
        (InvalidRequest("m"), 400, INVALID, None, {}),
        (Unauthenticated("m"), 401, INVALID, "invalid_api_key", {"www-authenticate": "Bearer"}),
        (PermissionDenied("m"), 403, "permission_error", "permission_denied", {}),
        (PermissionDenied("m", code="model_not_allowed"), 403, "permission_error", "model_not_allowed", {}),
        (NotFound("m"), 404, INVALID, "unknown_url", {}),
        (NotFound("m", code="model_not_found"), 404, INVALID, "model_not_found", {}),
        (MethodNotAllowed("m"), 405, INVALID, "method_not_allowed", {}),
        (Conflict("m"), 409, INVALID, "conflict", {}),
        (Conflict("m", code="conversation_changed"), 409, INVALID, "conversation_changed", NO_RETRY),
        (Conflict("m", code="session_exists"), 409, INVALID, "session_exists", NO_RETRY),
        (
            Conflict("m", code="conversation_locked", retry_after_s=1),
            *(409, INVALID, "conversation_locked", {"retry-after": "1"}),
        ),
        (IdempotencyKeyReused("m"), 422, INVALID, "idempotency_key_reused", {}),
        (RequestTimeout("m"), 408, INVALID, "request_timeout", {}),
        (BodyTooLarge("m"), 413, INVALID, "request_too_large", {}),
        (ClientDisconnected("m"), 499, INVALID, None, {}),
        (Overloaded("m"), 503, SERVER, "overloaded", {"retry-after": "1"}),
        (Overloaded("m", retry_after_s=2.1), 503, SERVER, "overloaded", {"retry-after": "3"}),
        (ShuttingDown("m"), 503, SERVER, "server_shutting_down", {"retry-after": "1"}),
        (StateUnavailable("m"), 503, SERVER, "state_unavailable", {"retry-after": "1"}),
        (SessionDamaged("m"), 503, SERVER, "session_damaged", {"retry-after": "1", **NO_RETRY}),
        (IdentityUnavailable("m"), 503, SERVER, "identity_unavailable", {"retry-after": "1"}),
        (IdentityUnavailable("m", retry_after_s=4.2), 503, SERVER, "identity_unavailable", {"retry-after": "5"}),
        (UpstreamUnreachable("m"), 502, SERVER, "upstream_unreachable", {}),
        (UpstreamTimeout("m", phase="idle"), 504, SERVER, "timeout", {}),
        (BadUpstreamReply("m"), 502, SERVER, "bad_upstream_response", NO_RETRY),
    ],
)
def test_the_gateways_own_errors(
    error: GatewayError, status: int, kind: str, code: str | None, headers: dict[str, str]
) -> None:
    meaning = meaning_of(error)
    assert (meaning.status, meaning.type, meaning.code, meaning.headers) == (status, kind, code, headers)
    assert meaning.message == "m"


def test_a_limit_of_ours_says_when_it_frees_up_and_how_it_stands() -> None:
    numbers = {"x-ratelimit-limit-requests": "5", "x-ratelimit-remaining-requests": "0"}
    meaning = meaning_of(RateLimited("m", limit="requests_per_minute", retry_after_s=2.0301, headers=numbers))
    assert (meaning.status, meaning.type, meaning.code) == (429, "rate_limit_error", "rate_limit_exceeded")
    assert meaning.headers == {**numbers, "retry-after": "3", "retry-after-ms": "2031"}


def test_a_budget_that_is_spent_for_now_says_when_to_come_back_and_that_no_retry_helps() -> None:
    meaning = meaning_of(RateLimited("m", limit="budget_day_nano", spent=True, retry_after_s=3_600.0))
    assert (meaning.status, meaning.type, meaning.code) == (429, "insufficient_quota", "insufficient_quota")
    assert meaning.headers == {"retry-after": "3600", "retry-after-ms": "3600000", **NO_RETRY}


def test_a_budget_that_is_spent_for_good_names_the_longest_time() -> None:
    headers = meaning_of(RateLimited("m", limit="budget_total_nano", spent=True)).headers
    assert headers == {**NO_RETRY, "retry-after": "86400", "retry-after-ms": "86400000"}


@pytest.mark.parametrize("error", [InternalError("secret"), GatewayError("secret")])
def test_an_internal_error_tells_the_request_id_and_nothing_else(error: GatewayError) -> None:
    meaning = meaning_of(error, request_id="req-1")
    assert (meaning.status, meaning.type, meaning.code) == (500, SERVER, "internal_error")
    assert meaning.message == "Internal error of the gateway. Please quote the request id req-1."
    assert meaning_of(error).message == "Internal error of the gateway."


def test_the_field_at_fault_is_named() -> None:
    assert meaning_of(InvalidRequest("m", param="messages[0].content")).param == "messages[0].content"


# --- Anthropic's ----------------------------------------------------------------------------------------------------


def upstream(status: int, message: str = "m", **facts: Any) -> UpstreamStatus:
    return UpstreamStatus(message, status=status, **facts)


@pytest.mark.parametrize(
    ("status", "client_status", "kind", "code", "headers"),
    [
        (403, 403, "permission_error", "permission_denied", {}),
        (404, 404, INVALID, "model_not_found", {}),
        (408, 504, SERVER, "timeout", {}),
        (409, 409, INVALID, "conflict", {}),
        (413, 413, INVALID, "request_too_large", {}),
        (422, 422, INVALID, None, {}),
        (418, 418, INVALID, None, {}),
        (500, 500, SERVER, None, {}),
        (501, 501, SERVER, None, NO_RETRY),
        (502, 500, SERVER, None, {}),
        (503, 503, SERVER, None, {"retry-after": "1"}),
        (504, 504, SERVER, "timeout", {}),
        (520, 500, SERVER, None, {}),
        (529, 503, SERVER, "overloaded", {"retry-after": "1"}),
    ],
)
def test_each_status_of_anthropics(
    status: int, client_status: int, kind: str, code: str | None, headers: dict[str, str]
) -> None:
    meaning = meaning_of(upstream(status))
    assert (meaning.status, meaning.type, meaning.code, meaning.headers) == (client_status, kind, code, headers)
    assert meaning.message == "m"


def test_a_refused_credential_of_the_gateway_is_not_the_clients_matter() -> None:
    meaning = meaning_of(upstream(401, "invalid x-api-key"))
    assert (meaning.status, meaning.code, meaning.headers) == (502, "upstream_authentication_error", NO_RETRY)
    assert meaning.message == "The gateway could not authenticate to the upstream API."


def test_a_refused_credential_of_the_client_is() -> None:
    meaning = meaning_of(upstream(401, "invalid x-api-key"), client_credential=True)
    assert (meaning.status, meaning.type, meaning.code) == (401, INVALID, "invalid_api_key")
    assert meaning.message == "invalid x-api-key"


@pytest.mark.parametrize(
    ("message", "param", "code"),
    [
        ("messages.1.content.0: boom", "messages[1].content[0]", None),
        ("tools.0.custom.input_schema.type: Field required", "tools[0].custom.input_schema.type", None),
        ("max_tokens: 200000 > 128000", "max_tokens", None),
        ("temperature: Extra inputs are not permitted", "temperature", "unsupported_parameter"),
        ("messages.0.name: Extra inputs are not permitted", "messages[0].name", "unsupported_parameter"),
        ("Error: boom", None, None),
        ("the value of `x`: bad", None, None),
        ("prompt is too long: 2 tokens > 1 maximum", "messages", "context_length_exceeded"),
        (
            "input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000",
            "messages",
            "context_length_exceeded",
        ),
    ],
)
def test_a_bad_request_names_its_field(message: str, param: str | None, code: str | None) -> None:
    meaning = meaning_of(upstream(400, message))
    assert (meaning.status, meaning.type, meaning.param, meaning.code) == (400, INVALID, param, code)
    assert meaning.message == message


@pytest.mark.parametrize(
    "error",
    [
        upstream(402, error_type="billing_error"),
        upstream(400, error_type="billing_error"),
        upstream(400, "You have reached your specified API usage limits."),
        upstream(400, "Your credit balance is too low to access the Anthropic API."),
        upstream(400, "The workspace spend limit was reached."),
        upstream(400, error_code="enforced_spend_limit_reached"),
        upstream(429, error_code="contract_spend_limit_reached", retry_after_s=7.0),
        upstream(429, "slow down"),
    ],
)
def test_a_spent_quota_is_not_retried(error: UpstreamStatus) -> None:
    meaning = meaning_of(error)
    assert (meaning.status, meaning.type, meaning.code) == (429, "insufficient_quota", "insufficient_quota")
    assert meaning.message == error.message
    assert meaning.headers == NO_RETRY


def test_a_rate_limit_says_when_to_come_back() -> None:
    error = upstream(429, "slow down", retry_after_s=6.5, headers={"retry-after-ms": "6500", "x-should-retry": "true"})
    meaning = meaning_of(error)
    assert (meaning.status, meaning.type, meaning.code) == (429, "rate_limit_error", "rate_limit_exceeded")
    assert meaning.message == "slow down Please try again in 7s."
    assert meaning.headers == {"retry-after": "7", "retry-after-ms": "6500", "x-should-retry": "true"}


def test_a_rate_limit_event_of_a_stream_is_no_spent_quota() -> None:
    meaning = meaning_of(upstream(429, "slow down", headers={"x-should-retry": "true"}))
    assert meaning.code == "rate_limit_exceeded"
    assert meaning.headers["retry-after"] == "1"


def test_a_wait_that_anthropic_named_is_passed_on_with_any_status() -> None:
    assert meaning_of(upstream(500, retry_after_s=2.0)).headers == {"retry-after": "2"}


def test_headers_of_another_shape_are_not_passed_on() -> None:
    odd = {"x-should-retry": "maybe", "retry-after-ms": "soon"}
    assert meaning_of(upstream(500, headers=odd)).headers == {}


def test_an_endless_wait_is_bounded() -> None:
    assert meaning_of(upstream(503, retry_after_s=1e300)).headers["retry-after"] == "86400"


def test_the_upstream_id_is_passed_on() -> None:
    assert meaning_of(upstream(500, request_id="req_1")).headers == {"request-id": "req_1"}


def test_our_word_on_retries_wins_where_the_table_has_one() -> None:
    assert meaning_of(upstream(402, headers={"x-should-retry": "true"})).headers == NO_RETRY
    assert meaning_of(upstream(400, headers={"x-should-retry": "false"})).headers == NO_RETRY


def test_an_upstream_reply_that_is_none_still_has_its_request_id() -> None:
    error = BadUpstreamReply("Nonsense.")
    error.request_id = "req_up"
    assert meaning_of(error).headers["request-id"] == "req_up"
