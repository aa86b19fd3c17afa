"""Thinking that is handed back: its signature, and whether it belongs where it stands.

- A block whose signature is not ours, or whose text was changed, is refused on every model.
- Inside a tool-use turn the blocks must be the original ones in their order, on every model.
- On models that bind thinking to its prefix, everything before a block (system, tools, messages, thinking aside)
  must be as it was when the block was made, and the kept blocks must be an unbroken run. A mismatch is refused, or,
  with ``block_binding.prefix_mismatch_behavior: drop_block``, the block and the thinking right after it in the turn
  are dropped.
- What the model may not read (another model's or, where it is account-bound, another organization's) is dropped
  silently.

Source: spec/chat-completions.md section 6, "Replay rules upstream"; ``BetaThinkingDroppedInputTransformation`` of the
SDK.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from app.domain.models import ModelFacts
from workers.simulator.errors import Invalid
from workers.simulator.models import can_read
from workers.simulator.prompt import Piece, PrefixHash
from workers.simulator.signatures import NO_BLOCK, Seal, Signer
from workers.simulator.wire import (
    BINDING_BETA,
    CountTokensRequest,
    Message,
    RedactedThinkingBlock,
    TextBlock,
    ThinkingBlock,
    ThinkingEnabled,
    ToolResultBlock,
    ToolUseBlock,
    blocks_of,
)


class Dropped(Struct, frozen=True):
    """A thinking block that the model does not see."""

    path: tuple[int, int]
    reason: str

    def shown(self) -> dict[str, Any]:
        """As an entry of ``input_transformations``."""
        message, block = self.path
        return {"type": "thinking_dropped", "path": f"messages.{message}.content.{block}", "reason": self.reason}


def check_thinking_blocks(
    request: CountTokensRequest,
    pieces: Sequence[Piece],
    facts: ModelFacts,
    models: Mapping[str, ModelFacts],
    signer: Signer,
    org: bytes,
    betas: Collection[str],
) -> tuple[list[Dropped], bytes]:
    """Checks every thinking block of a request.

    Returns:
        What is dropped, in request order, and the id of the last block that is kept (``NO_BLOCK`` for none).

    Raises:
        Invalid: names the block.
    """
    if isinstance(request.thinking, ThinkingEnabled):
        _check_turn_starts_with_thinking(request.messages)
    if not any(piece.is_thinking for piece in pieces):
        return [], NO_BLOCK
    turn_start = _current_turn(request.messages)
    binding = getattr(request.thinking, "block_binding", None)
    may_drop = binding is not None and binding.prefix_mismatch_behavior == "drop_block" and BINDING_BETA in betas
    dropped: list[Dropped] = []
    prefix = PrefixHash()
    last_kept = NO_BLOCK
    broken_run = False
    for piece in pieces:
        if not piece.is_thinking:
            prefix.add(piece)
            broken_run = False
            continue
        in_turn = piece.path[0] >= turn_start
        seal = _seal(piece, signer, in_turn=in_turn)
        reason = "prefix_binding_mismatch" if broken_run else _unreadable(seal, facts, models, org)
        if reason is None:
            chained = last_kept in (NO_BLOCK, seal.previous)
            if in_turn and not chained and not facts.bound_thinking:
                raise Invalid(_MODIFIED, _path(piece))
            if facts.bound_thinking and (seal.prefix != prefix.digest() or not chained):
                if not may_drop:
                    raise Invalid(_MISMATCH, _path(piece))
                reason, broken_run = "prefix_binding_mismatch", True
        if reason is None:
            last_kept = seal.id
        else:
            dropped.append(Dropped(piece.path, reason))
    return dropped, last_kept


_MODIFIED: Final = (
    "`thinking` or `redacted_thinking` blocks in the latest assistant message cannot be modified. These blocks must"
    " remain as they were in the original response."
)
_MISMATCH: Final = (
    "This `thinking` block was created in a different conversation, or the messages before it have changed since. Send"
    " the conversation as it was, or remove the block."
)


def _seal(piece: Piece, signer: Signer, *, in_turn: bool) -> Seal:
    block = piece.block
    if isinstance(block, ThinkingBlock):
        seal, kind = signer.verify(block.signature, block.thinking), "thinking"
    else:
        data = block.data if isinstance(block, RedactedThinkingBlock) else ""
        seal, kind = signer.verify(data, ""), "redacted_thinking"
    if seal is not None:
        return seal
    if in_turn and isinstance(block, ThinkingBlock) and signer.is_ours(block.signature):
        raise Invalid(_MODIFIED, _path(piece))
    raise Invalid(f"Invalid `{'signature' if kind == 'thinking' else 'data'}` in `{kind}` block", _path(piece))


def _unreadable(seal: Seal, facts: ModelFacts, models: Mapping[str, ModelFacts], org: bytes) -> str | None:
    if facts.account_bound_thinking and seal.org != org:
        return "organization_binding_mismatch"
    maker = models.get(seal.model)
    return None if maker is not None and can_read(facts, maker) else "model_binding_mismatch"


def _current_turn(messages: Sequence[Message]) -> int:
    """Index from which on messages belong to the tool-use turn under way; beyond the end where there is none."""
    start = len(messages)
    for index in range(len(messages) - 1, -1, -1):
        message = messages[index]
        if message.role == "assistant":
            start = index
        elif message.role == "user" and not any(isinstance(b, ToolResultBlock) for b in blocks_of(message.content)):
            break
    pending = any(isinstance(b, ToolUseBlock) for message in messages[start:] for b in blocks_of(message.content))
    return start if pending else len(messages)


def _check_turn_starts_with_thinking(messages: Sequence[Message]) -> None:
    """With ``enabled`` thinking the assistant turn that is going on must begin with thinking."""
    start = _current_turn(messages)
    if start >= len(messages):
        return
    blocks = blocks_of(messages[start].content)
    if blocks and not isinstance(blocks[0], (ThinkingBlock, RedactedThinkingBlock)):
        found = "text" if isinstance(blocks[0], TextBlock) else str(type(blocks[0]).__struct_config__.tag)
        raise Invalid(
            f"Expected `thinking` or `redacted_thinking`, but found `{found}`. When `thinking` is enabled, a final"
            " `assistant` message must start with a thinking block (preceeding the lastmost set of `tool_use` and"
            " `tool_result` blocks).",
            f"messages.{start}.content.0.type",
        )


def _path(piece: Piece) -> str:
    return f"messages.{piece.path[0]}.content.{piece.path[1]}"
