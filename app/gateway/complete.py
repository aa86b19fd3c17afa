"""One plain chat completion, start to end: let in, answered by a call or by an answer that is shared."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from app.domain.auth import Caller
from app.domain.calls import MessagesCall, Report, Usage
from app.gateway.chat import ChatRequest, reply_headers
from app.gateway.entrance import Entry
from app.gateway.finishing import finish
from app.gateway.services import Services
from app.gateway.sharing import Part
from app.gateway.whole_answer import answer_whole
from app.observability.record import RequestRecord
from app.translate.messages_to_chat import ChatReply
from app.translate.replay import replay_plain


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
        StateUnavailable: the answer could not be kept where it has to be.
        GatewayError: it was not let in, see ``Entry.let_in`` and ``Entry.ready``.
    """
    entry = Entry(services, request, record, caller)
    await entry.let_in()
    try:
        if entry.shared is not None:
            return await _shared(services, entry)
        admitted = await entry.ready()
        whole = await answer_whole(services, entry, admitted, created=int(services.now()))
        await finish(services, entry, admitted, whole.contents)
        return _completed(services, entry, whole.call, whole.reply, upstream=whole.headers, own=entry.headers)
    finally:
        entry.close()


async def _shared(services: Services, entry: Entry) -> Completed:
    """The answer that equal requests share."""
    part = Part(services, entry)
    try:
        flight = await part.whole()
        reply = replay_plain(flight.recording(), part.call.plan, mark=part.usage_mark)
        part.note_cache(reply.usage)
        return _completed(services, entry, part.call, reply, upstream=flight.headers, own=part.headers)
    finally:
        await part.leave()


def _completed(
    services: Services,
    entry: Entry,
    call: MessagesCall,
    reply: ChatReply,
    *,
    upstream: Mapping[str, str],
    own: Mapping[str, str],
) -> Completed:
    record = entry.record
    record.usage, record.model, record.adjusted = reply.usage, call.model, reply.report.adjusted
    return Completed(
        body=reply.body,
        usage=reply.usage,
        headers=reply_headers(upstream, entry.permit, own, services.now()),
        report=Report(call.report.ignored + reply.report.ignored, call.report.adjusted + reply.report.adjusted),
        model=call.model,
    )
