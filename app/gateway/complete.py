"""One plain chat completion, start to end: send, continue what paused, translate back."""

from __future__ import annotations

import asyncio

from msgspec import Struct

from app.domain.auth import Caller
from app.domain.calls import MessagesCall, Report, Usage
from app.domain.upstream import UpstreamReply
from app.errors import UpstreamError, UpstreamStatus
from app.gateway.chat import (
    MAX_CONTINUATIONS,
    Admitted,
    ChatRequest,
    admit,
    downgraded,
    note_request_id,
    read_to_end,
    refused_forced_tool,
    reply_headers,
    send,
    settle,
)
from app.gateway.services import Services
from app.gateway.spending import SentCall
from app.observability.record import RequestRecord
from app.translate.chat_to_messages import continue_after_pause
from app.translate.message_accumulator import MessageAccumulator
from app.translate.messages_to_chat import message_usage, paused_content, to_chat


class Completed(Struct, frozen=True, kw_only=True):
    """A whole answer.

    Args:
        body: the ``chat.completion`` object as JSON.
        usage: tokens of all its upstream calls.
        headers: reply headers that come from Anthropic.
        report: what was ignored or adjusted, with what only the answer could tell.
        model: the model that was called.
    """

    body: bytes
    usage: Usage
    headers: dict[str, str]
    report: Report
    model: str


async def complete(services: Services, request: ChatRequest, record: RequestRecord, caller: Caller) -> Completed:
    """Answers a plain chat completion.

    With ``n`` above 1 the calls run at the same time; the first failure cancels the others.

    Args:
        services: the rooms.
        request: what the client asked for.
        record: notes of the request, for the log.
        caller: who asks.

    Raises:
        UpstreamError: Anthropic failed.
        Overloaded: no free connection in time.
        GatewayError: it was not let in, see ``Admission.admit``.
    """
    created = int(services.now())
    admitted = await admit(services, request, record, caller)
    is_complete = False
    try:
        call, answers = admitted.call, []
        try:
            answers = await _answers(services, admitted, call, record)
        except UpstreamStatus as error:
            if not refused_forced_tool(error):
                raise
            call = downgraded(services, request, admitted)
            answers = await _answers(services, admitted, call, record)
        try:
            reply = to_chat([answer.messages for answer in answers], call.plan, created=created)
        except UpstreamError as error:
            note_request_id(error, answers[0].headers)
            raise
        is_complete = True
    finally:
        settle(services, admitted, record, complete=is_complete)
    record.usage, record.model, record.adjusted = reply.usage, call.model, reply.report.adjusted
    return Completed(
        body=reply.body,
        usage=reply.usage,
        headers=reply_headers(answers[0].headers, admitted, services.now()),
        report=Report(call.report.ignored + reply.report.ignored, call.report.adjusted + reply.report.adjusted),
        model=call.model,
    )


class _Answer(Struct, frozen=True):
    """One choice: a message, or the chain of messages that ``pause_turn`` made of it."""

    messages: list[bytes]
    headers: dict[str, str]


async def _answers(services: Services, admitted: Admitted, call: MessagesCall, record: RequestRecord) -> list[_Answer]:
    if call.n == 1:
        return [await _answer(services, admitted, call, record)]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_answer(services, admitted, call, record)) for _ in range(call.n)]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None  # the first; the others were cancelled for it
    return [task.result() for task in tasks]


async def _answer(services: Services, admitted: Admitted, call: MessagesCall, record: RequestRecord) -> _Answer:
    body, messages = call.body, []
    while True:
        reply, sent = await send(services, admitted, call, body, record)
        try:
            messages.append(await _message(reply, sent) if call.upstream_stream else await reply.read())
            paused = paused_content(messages[-1]) if call.plan.server_tools else None
        except UpstreamError as error:
            note_request_id(error, reply.headers)
            raise
        finally:
            await reply.close()
        if (usage := message_usage(messages[-1])) is not None:
            admitted.spending.answered(sent, usage)
        if paused is None or len(messages) > MAX_CONTINUATIONS:
            return _Answer(messages, dict(reply.headers))
        body = continue_after_pause(body, paused)


async def _message(reply: UpstreamReply, sent: SentCall) -> bytes:
    """The plain message of an upstream stream."""
    accumulator = MessageAccumulator()
    sent.stream = lambda: accumulator.meter if accumulator.meter.begun else None
    chunks = reply.chunks()
    async for chunk in chunks:
        accumulator.feed(chunk)
        if accumulator.stopped:
            await read_to_end(chunks)
            break
    return accumulator.message()
