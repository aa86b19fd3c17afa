"""A session's history towards its client and its store: what a turn adds, how it is shown, what is taken in.

What it is for Claude: ``earlier.py``. Source: DESIGN.md section 3, "Sessions".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile
from typing import Final

import msgspec
from msgspec import Raw, Struct

from app.domain.calls import MessagesCall
from app.domain.models import ModelTable
from app.domain.sessions import SessionHead, SessionHistory
from app.errors import InvalidRequest
from app.schemas import openai_chat as openai
from app.translate.chat_decoding import DecodedChat, decode_chat_request
from app.translate.chat_to_messages import to_messages
from app.translate.content import ContentTranslator
from app.translate.earlier import earlier_entries, repeated_instructions, stored_messages, unreadable
from app.translate.messages_to_chat import assistant_message
from app.translate.notes import Notes
from app.translate.prompt_caching import CacheMarkers
from app.translate.settings import TranslationSettings
from app.translate.turns import TurnTranslator

_INSTRUCTIONS: Final = (openai.SystemMessage, openai.DeveloperMessage)
_RAWS: Final = msgspec.json.Decoder(list[Raw])
_UNKNOWN: Final = SessionHistory(SessionHead())
#: After everything, so that a conversation is there whatever the messages are.
_END: Final = openai.UserMessage(content=".")
_encode = msgspec.json.encode


class NewMessages(Struct, frozen=True, kw_only=True):
    """A client's messages as its session takes them.

    Args:
        instructions: what shall lead the session from now on, a JSON array; None: that does not change.
        messages: the others, without instructions that lead the session already.
        stored: these as a JSON array, to keep.
        count: how many these are.
        instruction_count: how many ``instructions`` are.
    """

    instructions: Raw | None
    messages: list[openai.Message]
    stored: Raw
    count: int
    instruction_count: int = 0

    @property
    def total(self) -> int:
        """Messages that the session grows by, without the answer."""
        return self.count + self.instruction_count


def split_turn(messages: Sequence[openai.Message], head: SessionHead) -> NewMessages:
    """What of a client's messages a turn adds to its session.

    Instructions that lead the first turn become the session's own. Those that lead a later turn and stand there
    already are left out; others stay among the messages.

    Args:
        messages: the client's.
        head: of the session before the turn.

    Raises:
        StateError: the session's instructions cannot be read.
    """
    if head.seq:
        known = repeated_instructions(stored_messages(head.instructions), messages)
        rest = list(messages[known:])
        return NewMessages(instructions=None, messages=rest, stored=Raw(_encode(rest)), count=len(rest))
    leading = list(takewhile(lambda message: isinstance(message, _INSTRUCTIONS), messages))
    rest = list(messages[len(leading) :])
    return NewMessages(
        instructions=Raw(_encode(leading)) if leading else None,
        messages=rest,
        stored=Raw(_encode(rest)),
        count=len(rest),
        instruction_count=len(leading),
    )


def shown_messages(history: SessionHistory) -> list[Raw]:
    """A whole history as chat messages, answers as replies have them, thinking included.

    Raises:
        StateError: it cannot be read.
    """
    try:
        shown = _RAWS.decode(history.head.instructions)
        for turn in history.turns:
            shown.extend(_RAWS.decode(turn.messages))
            if turn.answer:
                shown.append(Raw(_encode(assistant_message(_RAWS.decode(turn.answer)))))
    except (ValueError, RecursionError) as exc:
        raise unreadable() from exc
    return shown


def read_messages(body_messages: Raw | list[object]) -> list[openai.Message]:
    """The messages of a request to the sessions' routes.

    Args:
        body_messages: a JSON array of chat messages, encoded or not.

    Raises:
        InvalidRequest: as for a chat request, or a field that nobody knows; ``param`` is the path.
    """
    array = bytes(body_messages) if isinstance(body_messages, Raw) else _encode(body_messages)
    chat = decode_chat_request(b'{"model":"","messages":' + array + b"}")
    if chat.unknown:
        path = chat.unknown[0]
        raise InvalidRequest(f"Unknown parameter: '{path}'.", param=path, code="unknown_parameter")
    if not chat.request.messages:
        raise InvalidRequest("Send at least one message.", param="messages", code="invalid_value")
    return chat.request.messages


def check_messages(
    history: SessionHistory, messages: Sequence[openai.Message], models: ModelTable, settings: TranslationSettings
) -> None:
    """Refuses messages that would make every later turn of a session fail; what some model takes is not refused.

    Args:
        history: of the session, without what has to go for the messages.
        messages: that shall come to it, as the client sent them.
        models: the known models.
        settings: the operator's choices.

    Raises:
        InvalidRequest: as for a chat request; ``param`` is the path, or ``session_id`` where the history is at fault.
        StateError: the history cannot be read.
    """
    facts = msgspec.structs.replace(models.all()[0], vision=True, pdf=True)
    notes = Notes()  # of what a turn will change nobody is told before there is one
    markers = CacheMarkers(openai.ChatRequest(model=facts.id, messages=[]), notes)
    content = ContentTranslator(facts, settings, markers, notes)
    TurnTranslator(facts, settings, content, markers, notes).check(messages, earlier_entries(history, messages))


def preview(
    chat: DecodedChat,
    models: ModelTable,
    settings: TranslationSettings,
    *,
    thinking_tokens: int | None = None,
    strict: bool | None = None,
) -> MessagesCall:
    """The call of a session's turn before the history is known, for its admission: what it adds, and what it may cost.

    Everything but the conversation is as in the real call. The new messages stand in it as text of the user, so that
    the body's size bounds what they add, and nothing is refused that the history makes valid, such as the result of a
    call. Arguments and errors as ``to_messages``.
    """
    messages = [*_as_text(chat.request.messages), _END] if chat.request.messages else []
    request = msgspec.structs.replace(chat.request, messages=messages)
    return to_messages(
        DecodedChat(request, chat.unknown),
        models,
        settings,
        history=_UNKNOWN,
        thinking_tokens=thinking_tokens,
        strict=strict,
    )


def _as_text(messages: Iterable[openai.Message]) -> Iterator[openai.Message]:
    """Answers, calls and results as messages of the user that are no shorter; cache markers stay."""
    for message in messages:
        match message:
            case openai.AssistantMessage():
                text = _encode(message).decode()
                yield openai.UserMessage(content=text, cache_control=message.cache_control)
            case openai.ToolMessage():
                content = message.content
                said = [openai.TextPart(text=content)] if isinstance(content, str) else content or []
                parts: list[openai.UserPart] = [*said, openai.TextPart(text=f"result of {message.tool_call_id}")]
                yield openai.UserMessage(content=parts, cache_control=message.cache_control)
            case openai.FunctionMessage():
                text = f"result of {message.name}: {message.content}"
                yield openai.UserMessage(content=text, cache_control=message.cache_control)
            case _:
                yield message
