"""A request as the routes see it, and the replies that need no pace: JSON, errors, nonsense."""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct

from workers.simulator.errors import ApiError
from workers.simulator.reply import encode
from workers.simulator.schedule import Part, Reply

JSON_HEADERS: Final = b"content-type: application/json\r\n"

NO_REQUEST: Final = "req_sim00000000000000000000"


class Request(Struct):
    """One HTTP request; header names are lower case."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes

    def betas(self) -> frozenset[str]:
        """The names in ``anthropic-beta``."""
        text = self.headers.get("anthropic-beta")
        return frozenset(name.strip() for name in text.split(",")) if text else frozenset()

    def credential(self) -> str:
        """The API key, ``x-api-key`` before ``Authorization: Bearer``; empty where there is none."""
        key = self.headers.get("x-api-key", "").strip()
        if key:
            return key
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else ""


def json_reply(value: Any, request_id: str) -> Reply:
    """A 200 with JSON."""
    body = encode(value)
    headers = JSON_HEADERS + b"request-id: %b\r\n" % request_id.encode()
    return Reply(status=200, headers=headers, parts=(Part(0.0, body),), full_bytes=len(body))


def error_reply(error: ApiError, request_id: str = NO_REQUEST, due_s: float = 0.0) -> Reply:
    """An error; what is not even a request has no id of its own."""
    body = error.body(request_id)
    lines = "".join(f"{name}: {value}\r\n" for name, value in error.headers.items())
    headers = JSON_HEADERS + b"request-id: %b\r\n%b" % (request_id.encode(), lines.encode())
    return Reply(
        status=error.status, headers=headers, parts=(Part(due_s, body),), full_bytes=len(body), header_due_s=due_s
    )


def nonsense(kind: str, body: bytes) -> tuple[bytes, bytes]:
    """A body that is not the protocol, and its content type."""
    match kind:
        case "html":
            return b"<!doctype html><html><body><h1>It works!</h1></body></html>", b"content-type: text/html\r\n"
        case "text":
            return b"upstream connect error or disconnect/reset before headers", b"content-type: text/plain\r\n"
        case "truncated":
            return body[: len(body) // 2], JSON_HEADERS
        case "empty":
            return b"", JSON_HEADERS
        case "list":
            return b"[1,2,3]", JSON_HEADERS
    return b'{"hello":"world"}', JSON_HEADERS
