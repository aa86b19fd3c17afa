"""A recorded answer given again: to a plain client as one completion, to a streaming one delta by delta.

What is replayed equals what was given the first time, but for the mark in its usage that says so. What may be recorded
for others at all is decided here, too. Source: DESIGN.md section 3, "Response cache".
"""

from __future__ import annotations

from typing import Final

import msgspec

from app.domain.calls import ReplyPlan, Report, Usage
from app.domain.recording import RecordedAnswer, RecordedReply
from app.errors import BadUpstreamReply, UpstreamError
from app.schemas.anthropic_reply import Ending, Message, MessageDelta
from app.translate.chat_stream import ChatStream
from app.translate.message_accumulator import MessageAccumulator
from app.translate.message_events import message_events
from app.translate.messages_to_chat import ChatReply, to_chat
from app.translate.upstream_events import UpstreamEvents

#: Ends of an answer that is as good for whoever asks next.
STORABLE_STOPS: Final = frozenset({"end_turn", "stop_sequence", "tool_use"})

_MESSAGE: Final = msgspec.json.Decoder(Message)
_ENDING: Final = msgspec.json.Decoder(Ending)


def replay_plain(answer: RecordedAnswer, plan: ReplyPlan, *, mark: str) -> ChatReply:
    """The completion of a recorded answer.

    Args:
        answer: whole, see ``is_whole``.
        plan: how the client wants it.
        mark: what its usage says of where it comes from: ``hit`` or ``joined``; empty says nothing.

    Raises:
        UpstreamError: it is not whole.
    """
    chains = [[_message(reply) for reply in chain] for chain in answer.choices]
    return to_chat(chains, plan, created=answer.created, mark=mark)


class ReplayedChoice:
    """The frames of one choice, from a recording that may still be growing.

    Args:
        plan: how the client wants the answer.
        created: Unix seconds, of the recording.
        index: of the choice.
        id: of the completion, where several choices share one.
        mark: as for ``replay_plain``.
    """

    def __init__(
        self,
        plan: ReplyPlan,
        *,
        created: int,
        index: int = 0,
        id: str | None = None,  # noqa: A002 - the name on the wire
        mark: str = "",
    ) -> None:
        self._stream = ChatStream(plan, created=created, index=index, id=id, continue_pauses=plan.server_tools)
        self._mark = mark
        self._reply_number = 0
        self._failed: UpstreamError | None = None

    @property
    def stopped(self) -> bool:
        """The choice is complete; only ``closing`` is left."""
        return self._stream.stopped

    @property
    def has_content(self) -> bool:
        """Whether a frame with a part of the answer was returned."""
        return self._stream.has_content

    @property
    def started(self) -> bool:
        """A data frame was returned."""
        return self._stream.started

    @property
    def error(self) -> UpstreamError | None:
        """Why the choice failed, once it has."""
        return self._failed or self._stream.error

    @property
    def usage(self) -> Usage:
        """Tokens reported so far."""
        return self._stream.usage

    @property
    def report(self) -> Report:
        """What only the answer could tell."""
        return self._stream.report

    def feed(self, reply_number: int, is_stream: bool, data: bytes) -> bytes:
        """The frames of what has been recorded next.

        Args:
            reply_number: which reply of the choice, from 0; a higher one than before continues after a pause.
            is_stream: ``data`` is a part of a stream, cut anywhere; otherwise a whole message.
            data: as it came.
        """
        if reply_number > self._reply_number:
            self._reply_number = reply_number
            self._stream.resume()
        if is_stream:
            return self._stream.feed(data)
        try:
            return self._stream.feed(message_events(data))
        except BadUpstreamReply as error:
            self._failed = error
            return b""

    def end(self) -> bytes:
        """The recording is over: the last frames of a choice that paused and was not continued.

        A choice that is not complete even so gets an ``error``.
        """
        if self._stream.paused:
            self._stream.give_up_pause()
        return self._stream.end()

    def closing(self, usage: Usage | None = None) -> bytes:
        """The last frames of the client's stream, see ``ChatStream.closing``."""
        return self._stream.closing(usage, mark=self._mark)


def is_storable(answer: RecordedAnswer) -> bool:
    """Whether an answer is as good for whoever asks next: every choice is whole, and Claude was done with it."""
    return bool(answer.choices) and all(_stop_reason(chain) in STORABLE_STOPS for chain in answer.choices)


def is_whole(answer: RecordedAnswer) -> bool:
    """Whether every choice has an end, be it that it was cut off or refused."""
    return bool(answer.choices) and all(_stop_reason(chain) is not None for chain in answer.choices)


def _stop_reason(chain: tuple[RecordedReply, ...]) -> str | None:
    """Why Claude stopped in the end; None where the last reply is not whole."""
    if not chain:
        return None
    last = chain[-1]
    try:
        return _streamed_stop_reason(last.body) if last.is_stream else _MESSAGE.decode(last.body).stop_reason
    except (ValueError, RecursionError):
        return None


def _streamed_stop_reason(body: bytes) -> str | None:
    events = UpstreamEvents()
    reason: str | None = None
    for event in events.feed(body):
        if isinstance(event, MessageDelta):
            reason = _ENDING.decode(event.delta).stop_reason or reason
    return reason if events.stopped else None


def _message(reply: RecordedReply) -> bytes:
    if not reply.is_stream:
        return reply.body
    accumulator = MessageAccumulator()
    accumulator.feed(reply.body)
    return accumulator.message()
