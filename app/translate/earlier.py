"""What a session puts before the client's new messages: its instructions, then every turn's messages and answer.

Source: DESIGN.md section 3, "Sessions".
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import Final

import msgspec
from msgspec import Raw, Struct

from app.domain.sessions import SessionHistory
from app.errors import StateError
from app.schemas import anthropic
from app.schemas import openai_chat as openai
from app.translate.received import received_blocks

_MESSAGES: Final = msgspec.json.Decoder(list[openai.Message])


class AnswerTurn(Struct, frozen=True):
    """An answer of Claude's, which stands among chat messages with its exact content.

    Args:
        content: its blocks, each as it came, in order; without blank text, which Anthropic refuses in a request.
    """

    content: list[anthropic.ReceivedBlock]


#: What a conversation is made of.
Entry = openai.Message | AnswerTurn


class Earlier(Struct, frozen=True, kw_only=True):
    """What comes before the client's new messages.

    Args:
        entries: oldest first.
        dropped: how many messages there were before them that are not kept any more.
        repeated: how many of the client's leading messages are instructions that stand among the entries already.
    """

    entries: list[Entry]
    dropped: int
    repeated: int


def earlier_entries(history: SessionHistory, messages: Sequence[openai.Message]) -> Earlier:
    """What a session's history puts before a client's messages.

    Args:
        history: as it was read.
        messages: the client's.

    Raises:
        StateError: it cannot be read.
    """
    instructions = stored_messages(history.head.instructions)
    entries: list[Entry] = [*instructions]
    for turn in history.turns:
        entries.extend(stored_messages(turn.messages))
        if turn.answer:
            entries.append(_answer(turn.answer))
    repeated = repeated_instructions(instructions, messages)
    return Earlier(entries=entries, dropped=history.head.dropped, repeated=repeated)


def stored_messages(stored: Raw) -> list[openai.Message]:
    """The messages that a session keeps as JSON.

    Raises:
        StateError: it cannot be read.
    """
    try:
        return _MESSAGES.decode(stored)
    except (ValueError, RecursionError) as exc:
        raise unreadable() from exc


def repeated_instructions(instructions: Sequence[openai.Message], messages: Sequence[openai.Message]) -> int:
    """How many of the first messages are those instructions, in order: clients send them again every time."""
    pairs = zip(instructions, messages, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def unreadable() -> StateError:
    """The error for a session that is there and makes no sense."""
    return StateError(
        "What is kept of this session cannot be read by this version of the gateway. Delete the session, or go on with"
        " another id."
    )


def _answer(stored: Raw) -> AnswerTurn:
    try:
        return AnswerTurn(received_blocks(stored))
    except (ValueError, RecursionError) as exc:
        raise unreadable() from exc
