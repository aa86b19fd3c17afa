"""Calls and results: every ``tool_use`` is answered first thing in the next user turn, and nothing else is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from workers.simulator.errors import Invalid
from workers.simulator.wire import Block, CountTokensRequest, ToolResultBlock, ToolUseBlock, blocks_of

_ID: Final = re.compile(r"[a-zA-Z0-9_-]+")
_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,200}")


_Placed = list[tuple[int, int, Block]]


def check_tool_results(request: CountTokensRequest) -> None:
    """Checks ids and pairing over the whole conversation; neighbouring messages of one role are one turn.

    Raises:
        Invalid: names the message and the ids.
    """
    pending: dict[str, int] = {}
    every: set[str] = set()
    for role, blocks in _turns(request):
        if role == "assistant":
            if pending:
                raise _unanswered(pending)
            pending = _calls(blocks, every)
        else:
            _check_answers(blocks, pending)
            pending = {}
    if pending:
        raise _unanswered(pending)


def _turns(request: CountTokensRequest) -> Iterator[tuple[str, _Placed]]:
    """Role and blocks of every turn, with message and place of each; system messages end nothing."""
    role = ""
    blocks: _Placed = []
    for index, message in enumerate(request.messages):
        if message.role == "system":
            continue
        if message.role != role:
            if blocks:
                yield role, blocks
            role, blocks = message.role, []
        blocks += [(index, number, block) for number, block in enumerate(blocks_of(message.content))]
    if blocks:
        yield role, blocks


def _calls(blocks: _Placed, every: set[str]) -> dict[str, int]:
    """Ids of the calls of a turn, with their message."""
    calls: dict[str, int] = {}
    for index, number, block in blocks:
        if not isinstance(block, ToolUseBlock):
            continue
        path = f"messages.{index}.content.{number}.tool_use"
        if not _ID.fullmatch(block.id):
            raise Invalid("String should match pattern '^[a-zA-Z0-9_-]+$'", f"{path}.id")
        if not _NAME.fullmatch(block.name):
            raise Invalid("String should match pattern '^[a-zA-Z0-9_-]{1,200}$'", f"{path}.name")
        if block.id in every:
            raise Invalid("`tool_use` ids must be unique", "messages")
        every.add(block.id)
        calls[block.id] = index
    return calls


def _check_answers(blocks: _Placed, pending: dict[str, int]) -> None:
    answered: set[str] = set()
    others = False
    for index, number, block in blocks:
        if not isinstance(block, ToolResultBlock):
            others = True
            continue
        path = f"messages.{index}.content.{number}"
        name = block.tool_use_id
        if name not in pending:
            raise Invalid(
                f"unexpected `tool_use_id` found in `tool_result` blocks: {name}. Each `tool_result` block must have a"
                " corresponding `tool_use` block in the previous message.",
                path,
            )
        if name in answered:
            raise Invalid(
                f"each tool_use must have a single result. Found multiple `tool_result` blocks with id: {name}", path
            )
        if others:
            break
        answered.add(name)
    missing = {name: at for name, at in pending.items() if name not in answered}
    if missing:
        raise _unanswered(missing)


def _unanswered(pending: dict[str, int]) -> Invalid:
    ids = ", ".join(pending)
    return Invalid(
        f"`tool_use` ids were found without `tool_result` blocks immediately after: {ids}. Each `tool_use` block must"
        " have a corresponding `tool_result` block in the next message.",
        f"messages.{next(iter(pending.values()))}",
    )
