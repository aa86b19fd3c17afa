"""The content of an answer as it can stand in a later request, for sessions and for what is kept of tool calls.

Blocks stay exactly as Anthropic sent them. Left out is what it would refuse in a request, which only an answer that was
cut off has; and a call that the client was told of in another form stands in that form, since it will answer it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec
from msgspec import Raw, Struct

from app.domain.calls import ReplyPlan
from app.schemas.anthropic_reply import ServerToolUseBlock, TextBlock, ThinkingBlock, ToolUseBlock, decode_block
from app.translate.content_accumulator import input_json, sendable

_encode = msgspec.json.encode


class _ServerCall(Struct, frozen=True, gc=False):
    """What ties a call of Anthropic's own tools to its result."""

    id: str = ""
    tool_use_id: str = ""


_SERVER_CALL: Final = msgspec.json.Decoder(_ServerCall)


def content_to_keep(blocks: Iterable[Raw], plan: ReplyPlan, *, call_id: str) -> list[Raw]:
    """The blocks of an answer that can be sent back.

    Left out are blank text, thinking without a signature, calls of Anthropic's own tools without a result, and, in
    the legacy form, all calls but the first, which is the only one that the client knows.

    Args:
        blocks: of the whole answer, in order.
        plan: how the client was answered.
        call_id: of the call that stands for a structured answer (``plan.structured_tool``).

    Raises:
        ValueError: a block is not one.
    """
    kept = list(_replayable(sendable(blocks)))
    if plan.structured_tool:
        kept = _as_call(kept, call_id, plan.structured_tool)
    if plan.function_call:
        kept = list(_with_first_call(kept))
    return kept


def _replayable(blocks: Sequence[Raw]) -> Iterator[Raw]:
    finished: set[str] | None = None
    for raw in blocks:
        block = decode_block(raw)
        if isinstance(block, ThinkingBlock) and not block.signature:
            continue
        if isinstance(block, ServerToolUseBlock):
            if finished is None:
                finished = {_SERVER_CALL.decode(other).tool_use_id for other in blocks}
            if _SERVER_CALL.decode(raw).id not in finished:
                continue
        yield raw


def _as_call(blocks: Sequence[Raw], call_id: str, name: str) -> list[Raw]:
    """All text as the arguments of one call, where the text begins."""
    texts: list[str] = []
    others: list[Raw] = []
    place = 0
    for raw in blocks:
        block = decode_block(raw)
        if isinstance(block, TextBlock):
            place = place if texts else len(others)
            texts.append(block.text)
        else:
            others.append(raw)
    if texts:
        call = {"type": "tool_use", "id": call_id, "name": name, "input": input_json("".join(texts))}
        others.insert(place, Raw(_encode(call)))
    return others


def _with_first_call(blocks: Sequence[Raw]) -> Iterator[Raw]:
    has_call = False
    for raw in blocks:
        is_call = isinstance(decode_block(raw), ToolUseBlock)
        if not (is_call and has_call):
            yield raw
        has_call |= is_call
