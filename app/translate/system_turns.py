"""Where instructions go that stand after the first turn (``spec/chat-completions.md`` section 2).

A model with mid-conversation system messages takes them right after a user turn, before an assistant turn or at the
end. Other models get them as reminders inside a user turn, which is what Claude is trained to read there.
"""

from __future__ import annotations

from collections.abc import Iterable

from app.schemas import anthropic


def reminders(blocks: Iterable[anthropic.TextBlock]) -> list[anthropic.TextBlock]:
    """Instructions as text that may stand in a user turn; the blocks are changed in place and keep their markers."""
    wrapped = list(blocks)
    for block in wrapped:
        block.text = f"<system-reminder>\n{block.text}\n</system-reminder>"
    return wrapped


def place(blocks: list[anthropic.TextBlock], messages: list[anthropic.Message], *, inline: bool) -> None:
    """Appends instructions to the turns so far, as a turn of their own.

    Args:
        blocks: the instructions.
        messages: the turns before them; changed in place.
        inline: the model takes turns with role ``system``.
    """
    if inline and messages and messages[-1].role == "user":
        messages.append(anthropic.Message("system", [*blocks]))
    else:
        messages.append(anthropic.Message("user", [*reminders(blocks)]))
