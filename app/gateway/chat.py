"""What every chat completion has in common: from the client's bytes to the call, and from the call to Anthropic.

``complete.py`` answers it whole, ``stream.py`` event by event.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

from msgspec import Struct

from app.domain.auth import Caller
from app.domain.calls import MessagesCall
from app.domain.upstream import UpstreamReply, UpstreamRequest
from app.errors import GatewayError, UpstreamError, UpstreamStatus, UpstreamTimeout, UpstreamUnreachable
from app.gateway.ledger import Permit
from app.gateway.services import Services
from app.gateway.spending import SentCall, Spending, demand_of, granted
from app.observability.record import RequestRecord
from app.schemas.anthropic_error import word
from app.translate.chat_to_messages import DecodedChat, decode_chat_request, downgrade_forced_tool, to_messages
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
        call: what it has become.
        thinking_tokens: the budget of the ``X-Claude-Max-Thinking-Tokens`` header.
        strict: the header ``x-claude-wrapper-strict``, where it was sent.
    """

    chat: DecodedChat
    call: MessagesCall
    thinking_tokens: int | None = None
    strict: bool | None = None


def read_chat(
    services: Services, body: bytes, *, thinking_tokens: int | None = None, strict: bool | None = None
) -> ChatRequest:
    """Decodes and translates a request body.

    Raises:
        InvalidRequest: a field is wrong, or ``strict`` forbids what would be ignored or adjusted.
        NotFound: no such model.
    """
    chat = decode_chat_request(body)
    call = to_messages(chat, services.models, services.translation, thinking_tokens=thinking_tokens, strict=strict)
    return ChatRequest(chat=chat, call=call, thinking_tokens=thinking_tokens, strict=strict)


class Admitted(Struct, frozen=True, kw_only=True):
    """A request that may go on.

    Args:
        call: what it has become; its ``max_tokens`` may have been lowered to what a budget leaves.
        permit: what it holds.
        spending: what its calls use.
        credential: the client's own Anthropic key, if that is what pays.
    """

    call: MessagesCall
    permit: Permit
    spending: Spending
    credential: str = ""


async def admit(services: Services, request: ChatRequest, record: RequestRecord, caller: Caller) -> Admitted:
    """Lets a request in, or raises what stands against it; see ``Admission.admit``."""
    call = request.call
    strict = services.translation.strict if request.strict is None else request.strict
    names = services.models.names_of(call.model, asked=request.chat.model)
    is_ours = not caller.credential
    asked_at = services.monotonic()
    record.client_credential = not is_ours
    try:
        permit = await services.admission.admit(caller, demand_of(call, names, is_ours=is_ours, strict=strict))
    except GatewayError:
        record.degraded = services.admission.alone_at >= asked_at
        raise
    call = granted(call, permit.max_tokens)
    spending = Spending(
        call, services.ratios, services.pace, services.prompts, monotonic=services.monotonic, is_ours=is_ours
    )
    permit.progress = spending.use
    record.tenant, record.key_id = permit.tenant, permit.account.key_id
    record.degraded = permit.degraded
    return Admitted(call=call, permit=permit, spending=spending, credential=caller.credential)


def settle(services: Services, admitted: Admitted, record: RequestRecord, *, complete: bool) -> None:
    """The request is over, whatever has become of it."""
    use = admitted.spending.use(complete=complete)
    record.nano, record.estimated = use.nano, use.estimated
    services.ledger.settle(admitted.permit, use)


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
    request = UpstreamRequest(
        path=MESSAGES_PATH,
        body=body,
        stream=call.upstream_stream,
        headers=headers,
        credential=admitted.credential,
        watch=sent,
    )
    try:
        reply = await services.upstream.send(request)
    except UpstreamError as error:
        record.attempts += error.attempts
        if not _may_be_charged(error):
            sent.refused()
        if admitted.credential and isinstance(error, UpstreamStatus) and error.status == 401:
            sent.left = False  # nobody's key: an account of it would only fill the store
        raise
    record.attempts += reply.attempts
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


def downgraded(services: Services, request: ChatRequest, admitted: Admitted) -> MessagesCall:
    """The same request for a model that turned out to refuse a forced tool choice."""
    call = downgrade_forced_tool(
        request.chat,
        services.models,
        services.translation,
        thinking_tokens=request.thinking_tokens,
        strict=request.strict,
    )
    admitted.spending.call = call = granted(call, admitted.permit.max_tokens)
    return call


def reply_headers(upstream: Mapping[str, str], admitted: Admitted, now: float) -> dict[str, str]:
    """Headers of a client's reply that come from Anthropic's reply (spec/errors-and-headers.md).

    The gateway's own rates win over those of the account that all clients share; while the store is away nobody knows
    how they stand, and there are none.
    """
    permit = admitted.permit
    headers = {} if permit.degraded else {**to_openai(upstream, now), **permit.headers}
    if request_id := upstream.get("request-id"):
        headers["request-id"] = request_id
    return headers
