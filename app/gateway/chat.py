"""What every chat completion has in common: from the client's bytes to the call, and from the call to Anthropic.

``complete.py`` answers it whole, ``stream.py`` event by event.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

from msgspec import Struct
from msgspec.structs import replace

from app.domain.calls import MessagesCall
from app.domain.models import ModelTable
from app.domain.sessions import SessionHistory
from app.domain.upstream import UpstreamReply, UpstreamRequest
from app.errors import (
    GatewayError,
    InvalidRequest,
    UpstreamError,
    UpstreamStatus,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from app.gateway.ledger import Permit
from app.gateway.services import Services
from app.gateway.spending import SentCall, Spending, granted
from app.gateway.turns import Turn
from app.gateway.wants import NOTHING_WANTED, Wants
from app.observability.record import RequestRecord
from app.schemas.anthropic_error import word
from app.translate.chat_to_messages import (
    DecodedChat,
    TranslationSettings,
    decode_chat_request,
    downgrade_forced_tool,
    to_messages,
)
from app.translate.history import preview
from app.translate.rate_limit_headers import to_openai

MESSAGES_PATH = "/v1/messages"

#: A chain of ``pause_turn`` answers is continued at most this often (spec/chat-completions.md section 1).
MAX_CONTINUATIONS = 5

#: After the last event Anthropic only ends the body; waiting this long for it lets the connection be used again.
END_OF_BODY_WAIT_S = 0.25


class ChatRequest(Struct, frozen=True, kw_only=True):
    """A decoded and translated chat completion.

    Args:
        chat: the client's request.
        call: what it has become; of a session's turn, what is known of it before its history is.
        thinking_tokens: the budget of the ``X-Claude-Max-Thinking-Tokens`` header.
        strict: the header ``x-claude-wrapper-strict``, where it was sent.
        session: the id of its session; empty without one.
        wants: what its headers ask of the things that are kept.
        models: the models that there were when it came; another file may have been taken up since.
        translation: the settings of the translators, likewise.
    """

    chat: DecodedChat
    call: MessagesCall
    thinking_tokens: int | None = None
    strict: bool | None = None
    session: str = ""
    wants: Wants = NOTHING_WANTED
    models: ModelTable
    translation: TranslationSettings


def read_chat(
    services: Services,
    body: bytes,
    *,
    thinking_tokens: int | None = None,
    strict: bool | None = None,
    wants: Wants = NOTHING_WANTED,
) -> ChatRequest:
    """Decodes and translates a request body.

    Raises:
        InvalidRequest: a field is wrong, or ``strict`` forbids what would be ignored or adjusted.
        NotFound: no such model.
    """
    chat = in_session(decode_chat_request(body), wants)
    session = chat.request.session_id or ""
    translate = preview if session else to_messages
    call = translate(chat, services.models, services.translation, thinking_tokens=thinking_tokens, strict=strict)
    if session and call.n > 1:
        raise InvalidRequest(
            "A turn of a session has one answer: leave out n, or the session.", param="n", code="unsupported_value"
        )
    return ChatRequest(
        chat=chat,
        call=call,
        thinking_tokens=thinking_tokens,
        strict=strict,
        session=session,
        wants=wants,
        models=services.models,
        translation=services.translation,
    )


def in_session(chat: DecodedChat, wants: Wants) -> DecodedChat:
    """A chat request whose ``session_id`` is also that of its headers.

    Raises:
        InvalidRequest: they name two sessions.
    """
    if not wants.session:
        return chat
    if chat.request.session_id not in (None, wants.session):
        raise InvalidRequest(
            "'session_id' and the header X-Session-ID name two sessions: send one of them.",
            param="session_id",
            code="invalid_value",
        )
    return replace(chat, request=replace(chat.request, session_id=wants.session))


class Admitted(Struct, frozen=True, kw_only=True):
    """A request that may be sent to Anthropic.

    Args:
        call: what it has become; its ``max_tokens`` may have been lowered to what a budget leaves.
        permit: what it holds.
        spending: what its calls use.
        turn: of its session.
        history: of that session, as far as it counts.
        kept: answers with tool calls that were found again, by the id of their first call.
        credential: the client's own Anthropic key, if that is what pays.
    """

    call: MessagesCall
    permit: Permit
    spending: Spending
    turn: Turn | None = None
    history: SessionHistory | None = None
    kept: Mapping[str, bytes] = {}
    credential: str = ""

    @property
    def keeps_content(self) -> bool:
        """Whether the content of the answer will be needed again, exactly as it comes."""
        return self.turn is not None or self.call.keeps_answers


async def send(
    services: Services, admitted: Admitted, call: MessagesCall, body: bytes, record: RequestRecord
) -> tuple[UpstreamReply, SentCall]:
    """Sends one Messages request of a call; returns once Anthropic's reply headers are there.

    Args:
        services: the rooms.
        admitted: the request that it is for.
        call: what is asked for.
        body: of this request; that of the call, or its continuation.
        record: gets the number of attempts.

    Raises:
        UpstreamError: see ``app.domain.upstream``; also ``UpstreamStatus`` for every error status.
        Overloaded: no free connection in time.
    """
    headers = {"anthropic-version": call.anthropic_version}
    if call.betas:
        headers["anthropic-beta"] = ",".join(call.betas)
    sent = admitted.spending.sent()
    if not record.sent_at:
        record.sent_at = services.monotonic()
    record.ended_at = 0.0
    request = UpstreamRequest(
        path=MESSAGES_PATH,
        body=body,
        stream=call.upstream_stream,
        headers=headers,
        credential=admitted.credential,
        affinity=call.affinity,
        trace={} if record.trace is None else record.trace.outgoing(),
        watch=sent,
    )
    try:
        reply = await services.upstream.send(request)
    except asyncio.CancelledError:
        record.attempts += sent.left
        raise
    except UpstreamError as error:
        record.attempts += error.attempts
        record.retries += error.attempts - 1
        if not _may_be_charged(error):
            sent.refused()
        if admitted.credential and isinstance(error, UpstreamStatus) and error.status == 401:
            sent.left = False  # nobody's key: an account of it would only fill the store
        raise
    record.answered_at = record.answered_at or services.monotonic()
    record.attempts += reply.attempts
    record.retries += reply.attempts - 1
    return reply, sent


def _may_be_charged(error: UpstreamError) -> bool:
    """Whether Anthropic may have worked on a call that has brought no reply: it was silent, or the connection broke."""
    match error:
        case UpstreamTimeout():
            return error.phase != "connect"
        case UpstreamUnreachable():
            return error.sent and not error.kept
        case _:
            return False


def note_request_id(error: GatewayError, reply_headers: Mapping[str, str]) -> None:
    """Notes in an error the id of the call whose reply it is about, unless the reply's body told it."""
    if isinstance(error, UpstreamError) and error.request_id is None:
        error.request_id = word(reply_headers.get("request-id"))


async def read_to_end(chunks: AsyncIterator[bytes]) -> None:
    """Reads what follows the last event of a stream, which is nothing, without waiting long for it."""
    try:
        async with asyncio.timeout(END_OF_BODY_WAIT_S):
            while await anext(chunks, None) is not None:
                pass
    except (TimeoutError, GatewayError):
        pass  # the answer is complete; the connection is closed instead of kept


def refused_forced_tool(error: UpstreamStatus) -> bool:
    """Whether Anthropic refused the forced tool choice as such: a model unknown to our table may."""
    return error.status == 400 and "tool_choice" in error.message and "not supported" in error.message


def downgraded(request: ChatRequest, *, max_tokens: int, admitted: Admitted | None = None) -> MessagesCall:
    """The same request for a model that turned out to refuse a forced tool choice.

    Args:
        request: the client's.
        max_tokens: the bound of output tokens that was granted.
        admitted: the request that will be sent again; ``None``: only its answer has to be read.
    """
    call = downgrade_forced_tool(
        request.chat,
        request.models,
        request.translation,
        history=None if admitted is None else admitted.history,
        kept=None if admitted is None else admitted.kept,
        thinking_tokens=request.thinking_tokens,
        strict=request.strict,
    )
    call = granted(call, max_tokens)
    if admitted is not None:
        admitted.spending.call = call
    return call


def reply_headers(upstream: Mapping[str, str], permit: Permit, own: Mapping[str, str], now: float) -> dict[str, str]:
    """Headers of a client's reply, those that come from Anthropic's among them (spec/errors-and-headers.md).

    The gateway's own rates win over those of the account that all clients share; while the store is away nobody knows
    how they stand, and there are none.

    Args:
        upstream: headers of Anthropic's reply.
        permit: of the request.
        own: what the gateway has to tell.
        now: Unix seconds.
    """
    headers = {} if permit.degraded else {**to_openai(upstream, now), **permit.headers}
    if request_id := upstream.get("request-id"):
        headers["request-id"] = request_id
    return {**headers, **own}
