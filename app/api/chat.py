"""``POST /v1/chat/completions`` and ``POST /v1/compatibility``: OpenAI's chat dialect.

The hot route: it reads its own body and answers bytes, without Litestar's parsing, guards or dependencies
(PERFORMANCE.md section 2). What a request means is decided in ``app/translate``, its order of steps in ``app/gateway``.
"""

from __future__ import annotations

import msgspec
from litestar import Controller, Request, post
from litestar.types import ASGIApp, Receive, Scope, Send

from app.api.body import read_body
from app.api.errors import cause_of, note_bug, send_error, unexpected
from app.api.headers import Headers, encoded, flag, report_headers, whole_number
from app.api.openapi import CHAT_COMPLETIONS, COMPATIBILITY
from app.api.original_headers import ignored_claude_headers
from app.api.presence import ClientPresence
from app.api.streaming import EventStream
from app.api.wants import read_wants
from app.domain.auth import Caller
from app.errors import ClientDisconnected, GatewayError, InvalidRequest, NotFound
from app.gateway.chat import ChatRequest, in_session, read_chat
from app.gateway.complete import complete
from app.gateway.services import Services
from app.gateway.spending import OTHER_MODELS
from app.gateway.stream import ChatEvents
from app.observability.record import RequestRecord
from app.translate.chat_to_messages import decode_chat_request
from app.translate.compatibility import compatibility
from app.translate.error_bodies import openai_error_frame

THINKING_TOKENS_HEADER = b"x-claude-max-thinking-tokens"
STRICT_HEADER = b"x-claude-wrapper-strict"

_JSON = (b"content-type", b"application/json")


class ChatController(Controller):
    """OpenAI's chat completions."""

    path = "/v1"

    @post("/chat/completions", status_code=200, operation_class=CHAT_COMPLETIONS)
    async def create(self, request: Request) -> ASGIApp:  # type: ignore[type-arg]
        """Answers a chat completion, plain or streamed."""
        return _ChatCompletion(request.app.state.services)

    @post("/compatibility", status_code=200, operation_class=COMPATIBILITY)
    async def compatibility(self, request: Request) -> ASGIApp:  # type: ignore[type-arg]
        """Says of each parameter of a chat request what would become of it, without calling Claude."""
        return _Compatibility(request.app.state.services)


class _ChatCompletion:
    """One chat completion as an ASGI application."""

    __slots__ = ("_services",)

    def __init__(self, services: Services) -> None:
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        services, record = self._services, _record(scope)
        caller: Caller = scope["state"]["caller"]
        try:
            body = await _body(services, scope, receive)
            record.read_at = services.monotonic()
            strict = flag(scope, STRICT_HEADER)
            request = read_chat(
                services,
                body,
                thinking_tokens=whole_number(scope, THINKING_TOKENS_HEADER),
                strict=strict,
                wants=read_wants(scope),
            )
            ignored = ignored_claude_headers(scope["headers"])
            if ignored and (services.config.strict if strict is None else strict):
                raise InvalidRequest(
                    f"The header {ignored[0].removeprefix('header.')} has no effect here, and strict mode is on.",
                    param=ignored[0],
                    code="unsupported_parameter",
                )
            record.translated_at = services.monotonic()
            record.model_asked, record.model = request.chat.model, request.call.model
            record.model_label = request.call.model if request.call.is_known else OTHER_MODELS
            record.stream = request.call.stream
            if request.call.stream:
                await self._stream(request, record, caller, ignored, scope, receive, send)
            else:
                await self._plain(request, record, caller, ignored, receive, send)
        except ClientDisconnected:
            record.client_left = True
        except GatewayError as error:
            record.error_code = cause_of(error)
            if isinstance(error, NotFound):
                record.model_label = OTHER_MODELS
            await send_error(error, scope, receive, send)

    async def _plain(
        self,
        request: ChatRequest,
        record: RequestRecord,
        caller: Caller,
        ignored: tuple[str, ...],
        receive: Receive,
        send: Send,
    ) -> None:
        async with ClientPresence(receive) as presence:
            completed = await complete(self._services, request, record, caller)
            headers: Headers = [_JSON, (b"content-length", str(len(completed.body)).encode())]
            headers += encoded(completed.headers)
            headers += report_headers(completed.report, ignored)
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": completed.body, "more_body": False})
            presence.over()

    async def _stream(
        self,
        request: ChatRequest,
        record: RequestRecord,
        caller: Caller,
        ignored: tuple[str, ...],
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        events = ChatEvents(self._services, request, record, caller)
        stream = EventStream(
            events,
            headers=lambda: encoded(events.headers) + report_headers(events.call.report, ignored),
            error_frame=lambda error: openai_error_frame(
                error, request_id=record.request_id, client_credential=record.client_credential
            ),
            unexpected=lambda error: unexpected(error, record),
            keepalive_s=self._services.config.stream_keepalive_s,
        )
        try:
            await stream.serve(receive, send)
        finally:
            if stream.error is not None and stream.started:
                note_bug(stream.error, record)
                record.error_code = cause_of(stream.error)
                record.failed = True


class _Compatibility:
    """One compatibility report as an ASGI application."""

    __slots__ = ("_services",)

    def __init__(self, services: Services) -> None:
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        services = self._services
        try:
            chat = in_session(decode_chat_request(await _body(services, scope, receive)), read_wants(scope))
            report = compatibility(
                chat,
                services.models,
                services.translation,
                thinking_tokens=whole_number(scope, THINKING_TOKENS_HEADER),
                strict=flag(scope, STRICT_HEADER),
                ignored_headers=ignored_claude_headers(scope["headers"]),
            )
        except ClientDisconnected:
            _record(scope).client_left = True
        except GatewayError as error:
            await send_error(error, scope, receive, send)
        else:
            body = msgspec.json.encode(report)
            headers = [_JSON, (b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": body, "more_body": False})


async def _body(services: Services, scope: Scope, receive: Receive) -> bytes:
    config = services.config
    return await read_body(scope, receive, max_bytes=config.max_body_bytes, pause_s=config.body_timeout_s)


def _record(scope: Scope) -> RequestRecord:
    record: RequestRecord = scope["state"]["record"]
    return record
