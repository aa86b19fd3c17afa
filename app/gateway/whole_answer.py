"""A whole answer: the call is sent, and what paused is continued."""

from __future__ import annotations

import asyncio

from msgspec import Struct

from app.domain.calls import MessagesCall
from app.domain.upstream import UpstreamReply
from app.errors import UpstreamError, UpstreamStatus
from app.gateway.chat import (
    MAX_CONTINUATIONS,
    Admitted,
    downgraded,
    note_request_id,
    read_to_end,
    refused_forced_tool,
    send,
)
from app.gateway.entrance import Entry
from app.gateway.finishing import Contents
from app.gateway.flights import Tape
from app.gateway.services import Services
from app.gateway.spending import SentCall
from app.observability.record import RequestRecord
from app.translate.chat_to_messages import continue_after_pause
from app.translate.message_accumulator import MessageAccumulator
from app.translate.messages_to_chat import ChatReply, answer_content, message_usage, paused_content, to_chat


class WholeAnswer(Struct, frozen=True, kw_only=True):
    """What has come of a call.

    Args:
        call: as it was made; a forced tool choice may have been downgraded.
        reply: the completion.
        headers: of Anthropic's first reply.
        contents: of each answer, exactly, where they will be needed.
    """

    call: MessagesCall
    reply: ChatReply
    headers: dict[str, str]
    contents: Contents


async def answer_whole(
    services: Services, entry: Entry, admitted: Admitted, *, created: int, tape: Tape | None = None
) -> WholeAnswer:
    """Has a request answered; ``finish`` is left.

    Args:
        services: the rooms.
        entry: the request.
        admitted: what it has become.
        created: Unix seconds, for the completion.
        tape: gets what comes.

    Raises:
        UpstreamError: Anthropic failed.
        Overloaded: no free connection in time.
    """
    call, record = admitted.call, entry.record
    try:
        answers = await _answers(services, admitted, call, record, tape)
    except UpstreamStatus as error:
        if not refused_forced_tool(error) or (tape is not None and tape.pieces):  # another choice has been answered
            raise
        call = downgraded(entry.request, max_tokens=admitted.call.max_tokens, admitted=admitted)
        if tape is not None:
            tape.forced_tool_refused = True
        answers = await _answers(services, admitted, call, record, tape)
    try:
        reply = to_chat([answer.messages for answer in answers], call.plan, created=created)
        contents = [answer_content(answer.messages, call.plan) for answer in answers] if admitted.keeps_content else []
    except UpstreamError as error:
        note_request_id(error, answers[0].headers)
        raise
    return WholeAnswer(call=call, reply=reply, headers=answers[0].headers, contents=contents)


class _Answer(Struct, frozen=True):
    """One choice: a message, or the chain of messages that ``pause_turn`` made of it."""

    messages: list[bytes]
    headers: dict[str, str]


async def _answers(
    services: Services, admitted: Admitted, call: MessagesCall, record: RequestRecord, tape: Tape | None
) -> list[_Answer]:
    if call.n == 1:
        return [await _answer(services, admitted, call, record, tape, 0)]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(_answer(services, admitted, call, record, tape, choice)) for choice in range(call.n)
            ]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None  # the first; the others were cancelled for it
    return [task.result() for task in tasks]


async def _answer(
    services: Services, admitted: Admitted, call: MessagesCall, record: RequestRecord, tape: Tape | None, choice: int
) -> _Answer:
    body = call.body
    messages: list[bytes] = []
    while True:
        reply, sent = await send(services, admitted, call, body, record)
        if tape is not None:
            tape.note_headers(reply.headers)
        number = len(messages)
        try:
            if call.upstream_stream:
                messages.append(await _message(reply, sent, tape, choice, number))
            else:
                messages.append(await reply.read())
                if tape is not None:
                    tape.add(choice, number, messages[-1], is_stream=False)
            record.ended_at = services.monotonic()
            paused = paused_content(messages[-1]) if call.plan.server_tools else None
        except UpstreamError as error:
            note_request_id(error, reply.headers)
            record.ended_at = 0.0
            raise
        finally:
            await reply.close()
        if (usage := message_usage(messages[-1])) is not None:
            admitted.spending.answered(sent, usage)
        if paused is None or len(messages) > MAX_CONTINUATIONS:
            return _Answer(messages, dict(reply.headers))
        body = continue_after_pause(body, paused)


async def _message(reply: UpstreamReply, sent: SentCall, tape: Tape | None, choice: int, number: int) -> bytes:
    """The plain message of an upstream stream."""
    accumulator = MessageAccumulator()
    sent.stream = lambda: accumulator.meter if accumulator.meter.begun else None
    chunks = reply.chunks()
    async for chunk in chunks:
        accumulator.feed(chunk)
        if tape is not None:
            tape.add(choice, number, chunk, is_stream=True)
        if accumulator.stopped:
            await read_to_end(chunks)
            break
    return accumulator.message()
