"""Which tools an answer calls, and with what.

A tool is called when ``tool_choice`` forces it, when a script names it, or when the last user message (or a system
message after it) asks for it: by its name, or, if no tool is named, by a word of four letters or more that is part of
a name (``get_weather`` and *what is the weather in Rome?*), or by telling to call a tool at all. A name that stands
twice is called twice; several names are parallel calls unless ``disable_parallel_tool_use`` is set. Right after tool
results nothing is called.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from msgspec import UNSET

from workers.simulator.answers.json_values import Sampler, Unsatisfiable
from workers.simulator.reply import ToolUseOut
from workers.simulator.wire import (
    MessagesRequest,
    Tool,
    ToolChoiceAny,
    ToolChoiceNone,
    ToolChoiceTool,
    ToolResultBlock,
    text_of,
)

_MOST_CALLS: Final = 8
_WORD: Final = re.compile(r"[A-Z]?[a-z]{3,}|[A-Z]{4,}")
_ANY_TOOL: Final = re.compile(r"\b(?:call|calling|use|using)\b[^.?!]{0,40}\btools?\b", re.IGNORECASE)
_PROPER: Final = re.compile(r"(?<=[a-z,;] )[A-ZÀ-Ý][\w-]{2,}")


def asked_text(request: MessagesRequest) -> str:
    """What the last user message says, and system messages after it; empty right after tool results."""
    parts: list[str] = []
    for message in reversed(request.messages):
        if message.role == "assistant":
            break
        if message.role == "user":
            if not isinstance(message.content, str) and any(
                isinstance(block, ToolResultBlock) for block in message.content
            ):
                return ""
            parts.append(text_of(message.content))
            break
        parts.append(text_of(message.content))
    return "\n".join(reversed(parts))


def is_forced(request: MessagesRequest) -> bool:
    """Whether ``tool_choice`` leaves no way but a call."""
    return isinstance(request.tool_choice, (ToolChoiceAny, ToolChoiceTool))


def chosen_tools(request: MessagesRequest, scripted: str) -> list[Tool]:
    """The client tools that the answer calls, in order, a tool as often as it is called."""
    tools = {str(tool.name): tool for tool in request.tools or () if tool.is_custom and tool.name is not UNSET}
    if not tools:
        return []
    choice = request.tool_choice
    if scripted:
        names = [name for name in scripted.split(",") if name in tools]
    elif isinstance(choice, ToolChoiceNone):
        names = []
    elif isinstance(choice, ToolChoiceTool):
        names = [choice.name]
    else:
        names = _asked_for(asked_text(request), list(tools))
        if not names and isinstance(choice, ToolChoiceAny):
            names = [next(iter(tools))]
    if getattr(choice, "disable_parallel_tool_use", False):
        names = names[:1]
    return [tools[name] for name in names[:_MOST_CALLS] if name in tools]


def _asked_for(text: str, names: Sequence[str]) -> list[str]:
    if not text:
        return []
    spots = [
        (found.start(), name)
        for name in names
        for found in re.finditer(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text, re.IGNORECASE)
    ]
    if spots:
        return [name for _, name in sorted(spots)]
    words = {word.lower() for word in re.findall(r"\w+", text)}
    named = [name for name in names if any(word.lower() in words for word in _WORD.findall(name.replace("_", " ")))]
    if not named and _ANY_TOOL.search(text):
        return [names[0]]
    return named


def call_blocks(request: MessagesRequest, tools: Sequence[Tool], digest: bytes) -> list[ToolUseOut]:
    """One ``tool_use`` for each tool; the k-th proper name of the prompt is the k-th call's first open string."""
    proper = _PROPER.findall(asked_text(request))
    blocks: list[ToolUseOut] = []
    for number, tool in enumerate(tools):
        schema = tool.input_schema if tool.input_schema is not UNSET else {}
        seed = int.from_bytes(digest[4:8], "big") + number
        try:
            value = Sampler(schema, seed, proper[number : number + 1]).value()
        except (Unsatisfiable, RecursionError, ArithmeticError, AttributeError, TypeError):
            value = {}  # a schema that allows nothing: the model would answer anything
        block_id = f"toolu_sim{digest.hex()[:16]}{number:02x}"
        blocks.append(ToolUseOut(id=block_id, name=str(tool.name), input=value if isinstance(value, dict) else {}))
    return blocks
