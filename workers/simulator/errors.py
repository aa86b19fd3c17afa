"""Errors in Anthropic's shape, ``{"type":"error","error":{"type","message","details"?},"request_id"}``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

#: ``error.type`` of a status that nothing more is said about.
TYPE_BY_STATUS: Final[Mapping[int, str]] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}

#: Text of a scripted error that has none of its own.
MESSAGE_BY_STATUS: Final[Mapping[int, str]] = {
    402: "Your credit balance is too low to access the Anthropic API.",
    403: "Your API key does not have permission to use the specified resource.",
    429: "This request would exceed your organization's rate limit.",
    500: "Internal server error",
    503: "Service temporarily unavailable",
    504: "Request timed out",
    529: "Overloaded",
}


class ApiError(Exception):
    """A request is answered with an error.

    Args:
        status: HTTP status.
        message: ``error.message``, with the request path in front where one field is at fault.
        error_type: ``error.type``; empty: the one that belongs to the status.
        code: ``error.details.error_code``.
        headers: extra reply headers, such as ``retry-after``.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        error_type: str = "",
        code: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.type = error_type or TYPE_BY_STATUS.get(status, "api_error" if status >= 500 else "invalid_request_error")
        self.code = code
        self.headers: Mapping[str, str] = headers or {}

    def body(self, request_id: str) -> bytes:
        """The error as JSON, also the data of a stream's error event."""
        error: dict[str, Any] = {"type": self.type, "message": self.message}
        if self.code:
            error["details"] = {"error_code": self.code}
        return msgspec.json.encode({"type": "error", "error": error, "request_id": request_id})


class Invalid(ApiError):
    """A 400; ``path`` (``messages.1.content.0``) is put in front of the message."""

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(400, f"{path}: {message}" if path else message)
