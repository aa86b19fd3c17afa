from __future__ import annotations

import json

from app.errors import InternalError, InvalidRequest, UpstreamStatus
from app.translate.error_bodies import openai_error, openai_error_frame
from tests.support.chat_frames import frames

WRONG = InvalidRequest("temperature must be at most 2.", param="temperature", code="invalid_value")
BODY = {
    "error": {
        "message": "temperature must be at most 2.",
        "type": "invalid_request_error",
        "param": "temperature",
        "code": "invalid_value",
    }
}


def test_an_error_is_a_status_headers_and_openais_body() -> None:
    reply = openai_error(WRONG)
    assert (reply.status, reply.headers, json.loads(reply.body)) == (400, {}, BODY)


def test_an_error_in_a_stream_is_one_frame_with_the_same_body() -> None:
    assert frames(openai_error_frame(WRONG)) == [BODY]


def test_what_is_not_known_is_null() -> None:
    reply = openai_error(UpstreamStatus("m", status=500))
    assert json.loads(reply.body)["error"] == {"message": "m", "type": "server_error", "param": None, "code": None}


def test_the_request_id_reaches_both_forms() -> None:
    error = InternalError("a bug")
    assert b"req-1" in openai_error(error, request_id="req-1").body
    assert b"req-1" in openai_error_frame(error, request_id="req-1")


def test_whose_credential_it_was_reaches_both_forms() -> None:
    error = UpstreamStatus("invalid x-api-key", status=401)
    assert openai_error(error).status == 502
    assert openai_error(error, client_credential=True).status == 401
    assert b"invalid_api_key" in openai_error_frame(error, client_credential=True)


def test_the_headers_of_a_reply_are_its_own() -> None:
    error = UpstreamStatus("no", status=402)
    openai_error(error).headers["x-request-id"] = "1"
    assert "x-request-id" not in openai_error(error).headers
