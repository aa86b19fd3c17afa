"""Errors to replies: every failure leaves as JSON in OpenAI's shape, with its status, and never as a trace.

The body and the status of each error are decided in ``translate/error_bodies.py``; here they become an ASGI reply, and
Litestar's own exceptions become errors of our tree.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any, Final

from litestar import Request, Response
from litestar.exceptions import (
    HTTPException,
    LitestarException,
    MethodNotAllowedException,
    NotFoundException,
    ValidationException,
)
from litestar.types import ExceptionHandlersMap, Receive, Scope, Send

from app.api.operation import DocumentedOperation, Json
from app.api.unknown import unknown_url
from app.domain.closed_wire import in_words, invalid
from app.errors import (
    BodyTooLarge,
    GatewayError,
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    RequestTimeout,
    SessionDamaged,
    ShuttingDown,
    StateError,
    Unauthenticated,
    UpstreamStatus,
)
from app.observability.record import RequestRecord
from app.translate.error_bodies import ErrorReply, openai_code, openai_error

logger = logging.getLogger(__name__)


def error_reply(error: GatewayError, record: RequestRecord | None = None) -> ErrorReply:
    """The reply to an error; notes its cause in the request's record.

    Args:
        error: what went wrong.
        record: notes of the request, for the log.
    """
    note_bug(error, record)
    reply = openai_error(
        error,
        request_id=record.request_id if record is not None else "",
        client_credential=record is not None and record.client_credential,
    )
    if record is not None and isinstance(error, StateError) and not isinstance(error, SessionDamaged):
        record.degraded = True
    if record is not None and isinstance(error, Unauthenticated):
        record.key_guessed = error.guessed
    if record is not None and not record.error_code:
        record.error_code = cause_of(error)
    return reply


def note_bug(error: GatewayError, record: RequestRecord | None) -> None:
    """Writes the trace of what a room could only call an ``InternalError`` into the log; other errors leave none."""
    if isinstance(error, InternalError) and error.__cause__ is not None:
        unexpected(error.__cause__, record)


def cause_of(error: GatewayError) -> str:
    """One word for the log: the code that the client is told, else Anthropic's error type, or the error's class."""
    return openai_code(error) or (isinstance(error, UpstreamStatus) and error.error_type) or type(error).__name__


async def send_error(error: GatewayError, scope: Scope, receive: Receive, send: Send) -> None:
    """Answers a request with an error, by plain ASGI.

    Args:
        error: what went wrong.
        scope: the request.
        receive: its ASGI channel for the request body; what is left of it is not read.
        send: its ASGI channel for the reply; nothing has been sent on it yet.
    """
    reply = error_reply(error, record_of(scope))
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(reply.body)).encode()),
        *((name.encode("latin-1"), value.encode("latin-1")) for name, value in _headers(error, reply).items()),
    ]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body, "more_body": False})


def record_of(scope: Scope) -> RequestRecord | None:
    """The notes of a request; ``None`` where the middleware is not there, as in some tests."""
    record = scope.get("state", {}).get("record")
    return record if isinstance(record, RequestRecord) else None


_NO_PARAMETERS: Final[Mapping[str, Json]] = MappingProxyType({})


def from_litestar(
    error: LitestarException,
    *,
    method: str,
    path: str,
    routes: Collection[str],
    parameters: Mapping[str, Json] = _NO_PARAMETERS,
) -> GatewayError:
    """An exception of Litestar's as one of our tree.

    Args:
        error: what Litestar raised.
        method: HTTP method of the request.
        path: its path.
        routes: paths of all routes, as templates.
        parameters: schemas of the parameters of the route, by name.
    """
    match error:
        case MethodNotAllowedException():
            return MethodNotAllowedWith(method, path, allowed=(error.headers or {}).get("allow", ""))
        case NotFoundException():
            return unknown_url(method, path, routes)
        case ValidationException():
            return _invalid_parameter(error, parameters)
        case HTTPException(status_code=413):
            return BodyTooLarge("The request body is larger than this gateway accepts.")
        case HTTPException(status_code=408):
            return RequestTimeout("The request was not complete in time.")
        case HTTPException(status_code=401):
            return Unauthenticated("The request is not authorized.")
        case HTTPException(status_code=503):
            return ShuttingDown("This gateway cannot take the request now; please try again.", retry_after_s=1)
        case HTTPException(status_code=status) if 400 <= status < 500:
            return InvalidRequest(_sentence(error.detail) or "The request is not valid.")
        case _:
            return InternalError("The gateway failed to answer this request.")


class MethodNotAllowedWith(MethodNotAllowed):
    """A ``MethodNotAllowed`` that knows the methods of the route, for the ``allow`` header."""

    def __init__(self, method: str, path: str, *, allowed: str) -> None:
        methods = {name.strip() for name in allowed.split(",")}
        if "GET" in methods:  # HEAD is answered wherever GET is (middleware.py)
            methods.add("HEAD")
        self.allow = ", ".join(sorted(methods))
        super().__init__(f"{path[:200]} does not accept {method}; it accepts {self.allow}.")


def _invalid_parameter(error: ValidationException, parameters: Mapping[str, Json]) -> InvalidRequest:
    """Names the parameter where Litestar does: ``extra`` is a list of ``{"message", "key", "source"}``."""
    extra: Any = error.extra
    first = extra[0] if isinstance(extra, list) and extra and isinstance(extra[0], dict) else {}
    param = first.get("key") or None
    schema = parameters.get(param or "", {})
    if "enum" in schema:
        return invalid(str(param), f"expected one of {', '.join(schema['enum'])}")
    bounds = (schema["minimum"], schema["maximum"]) if {"minimum", "maximum"} <= schema.keys() else None
    what = (
        _sentence(in_words(_TYPE_OF_TEXT.sub(r"\1", str(first.get("message", ""))), bounds))
        or "The value is not valid."
    )
    return InvalidRequest(f"Invalid value for '{param}': {what}" if param else what, param=param, code="invalid_value")


#: What msgspec adds of the type of a value, which is always a text in a URL, and of parameters that may be absent.
_TYPE_OF_TEXT: Final = re.compile(r"(?: \| null)?(`), got `\w+`")


def _sentence(text: str) -> str:
    """One line of an error text, with a full stop."""
    line = re.sub(r"\s+", " ", text).strip()
    return line if not line or line.endswith((".", "!", "?")) else f"{line}."


def unexpected(error: BaseException, record: RequestRecord | None) -> InternalError:
    """A bug of ours: the trace to the log, to the caller only the request id.

    Args:
        error: what was raised.
        record: notes of the request.
    """
    request_id = record.request_id if record is not None else ""
    path = record.path if record is not None else ""
    logger.error("unexpected %s", type(error).__name__, exc_info=error, extra={"request_id": request_id, "path": path})
    return InternalError("The gateway failed to answer this request.")


def _render(request: Request[Any, Any, Any], error: GatewayError) -> Response[bytes]:
    reply = error_reply(error, record_of(request.scope))
    return Response(
        content=reply.body,
        status_code=reply.status,
        headers=_headers(error, reply),
        media_type="application/json",
    )


def _headers(error: GatewayError, reply: ErrorReply) -> dict[str, str]:
    headers = dict(reply.headers)
    if isinstance(error, MethodNotAllowedWith):
        headers["allow"] = error.allow
    if isinstance(error, (BodyTooLarge, RequestTimeout)):  # what is left of the body is not waited for
        headers["connection"] = "close"
    return headers


def _on_gateway_error(request: Request[Any, Any, Any], error: GatewayError) -> Response[bytes]:
    return _render(request, error)


def _on_litestar_exception(request: Request[Any, Any, Any], error: LitestarException) -> Response[bytes]:
    routes = [route.path for route in request.app.routes]
    ours = from_litestar(
        error,
        method=request.scope["method"],
        path=request.scope["path"],
        routes=routes,
        parameters=_parameters(request),
    )
    if isinstance(ours, InternalError):
        ours = unexpected(error, record_of(request.scope))
    return _render(request, ours)


def _parameters(request: Request[Any, Any, Any]) -> Mapping[str, Json]:
    """The schemas of the parameters of the route that answers, by name."""
    operation = getattr(request.scope.get("route_handler"), "operation_class", None)
    if not (isinstance(operation, type) and issubclass(operation, DocumentedOperation)):
        return {}
    return {parameter.name: parameter.schema for parameter in operation.doc.parameters}


def _on_anything_else(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    return _render(request, unexpected(error, record_of(request.scope)))


#: For ``Litestar(exception_handlers=...)``. The most specific class wins.
EXCEPTION_HANDLERS: ExceptionHandlersMap = {
    GatewayError: _on_gateway_error,
    LitestarException: _on_litestar_exception,
    Exception: _on_anything_else,
}
