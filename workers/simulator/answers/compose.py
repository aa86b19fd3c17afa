"""The whole answer to a request: which blocks, how long, and why it stops.

Order: thinking (when it is on), then what a script asks for, then a web search, tool calls, JSON of
``output_config.format`` or text. ``max_tokens`` cuts, ``stop_sequences`` stop, in the order in which Claude would
meet them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import UNSET

from app.domain.models import ModelFacts
from workers.simulator.answers import text as texts
from workers.simulator.answers import tool_calls, web_search
from workers.simulator.answers.json_values import Sampler, Unsatisfiable
from workers.simulator.models import shows_thinking
from workers.simulator.prompt import Piece, prefix_digest, text_tokens
from workers.simulator.reply import (
    Answer,
    OutBlock,
    RedactedThinkingOut,
    ServerToolUseOut,
    TextOut,
    ThinkingOut,
    ToolUseOut,
    WebSearchResultOut,
    encode,
)
from workers.simulator.script import MARKER, Script
from workers.simulator.signatures import Seal, Signer
from workers.simulator.wire import (
    MessagesRequest,
    TextBlock,
    ThinkingAdaptive,
    ThinkingBetweenTools,
    ThinkingDisabled,
    ThinkingEnabled,
    ToolResultBlock,
    blocks_of,
)

_WANTS_JSON: Final = re.compile(r"\bvalid JSON object\b", re.IGNORECASE)


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer depends on besides the request.

    Args:
        facts: of the model; ``model`` is the id as it was asked for.
        script: of this request.
        digest: hash of the request.
        signer, org, pieces, previous: for the signature of thinking, see ``signatures.Seal``.
    """

    model: str
    facts: ModelFacts
    script: Script
    digest: bytes
    signer: Signer
    org: bytes
    pieces: Sequence[Piece]
    previous: bytes


def compose(request: MessagesRequest, context: Context) -> Answer:
    """The answer to a request that was found valid."""
    if request.max_tokens == 0:
        return Answer(blocks=(), stop_reason="max_tokens")
    script = context.script
    thinking, used = _thinking(request, context)
    room = request.max_tokens - used
    if script.content is not None:
        answer = _scripted(script.content, script.stop_reason)
    elif room <= 0:
        answer = Answer(blocks=(), stop_reason="max_tokens")
    else:
        answer = _spoken(request, context, room)
    if script.stop_reason and script.content is None:
        answer = _stopped(answer, script.stop_reason)
    return msgspec.structs.replace(
        answer,
        blocks=(*thinking, *answer.blocks),
        output_tokens=max(answer.output_tokens + used, 1),
        thinking_tokens=used,
    )


def _spoken(request: MessagesRequest, context: Context, room: int) -> Answer:
    script = context.script
    if script.text is None and not script.calls and web_search.is_wanted(request):
        blocks, paused, searches = web_search.search_blocks(request, context.digest, script.pause)
        return Answer(
            blocks=tuple(blocks),
            stop_reason="pause_turn" if paused else "end_turn",
            output_tokens=sum(out_tokens(block) for block in blocks),
            web_searches=searches,
        )
    tools = [] if script.text is not None else tool_calls.chosen_tools(request, script.calls)
    if tools:
        calls = tool_calls.call_blocks(request, tools, context.digest)
        said: list[OutBlock] = [TextOut(text=script.preface)] if script.preface else []
        return _within(Answer(blocks=(*said, *calls), stop_reason="tool_use"), room)
    return _text_answer(_text(request, context), request, room)


def _text(request: MessagesRequest, context: Context) -> str:
    script = context.script
    if script.text is not None:
        return script.text
    if request.output_config.format is not None:
        return _json_of(request.output_config.format.schema, context.digest)
    asked = MARKER.sub("", tool_calls.asked_text(request)).strip()
    if _WANTS_JSON.search(_system_text(request)):
        return encode({"answer": texts.opening(asked, 0)}).decode()
    results = _results(request)
    start = results or texts.opening(asked, sum(1 for message in request.messages if message.role == "user"))
    return texts.compose_text(start, context.digest, script.output_tokens)


def _json_of(schema: dict[str, Any], digest: bytes) -> str:
    try:
        value = Sampler(schema, int.from_bytes(digest[4:8], "big")).value()
    except (Unsatisfiable, RecursionError, ArithmeticError, AttributeError, TypeError):
        value = {}  # a schema that allows nothing
    return encode(value).decode()


def _system_text(request: MessagesRequest) -> str:
    if isinstance(request.system, str):
        return request.system
    return "\n".join(block.text for block in request.system or ())


def _results(request: MessagesRequest) -> str:
    """First words after tool results: what they were."""
    last = next((message for message in reversed(request.messages) if message.role == "user"), None)
    found = [block for block in blocks_of(last.content if last else []) if isinstance(block, ToolResultBlock)]
    if not found:
        return ""
    shown = []
    for block in found:
        content = block.content
        if content is UNSET:
            text = ""
        elif isinstance(content, str):
            text = content
        else:
            text = " ".join(part.text for part in content if isinstance(part, TextBlock))
        shown.append(f"{'error: ' if block.is_error else ''}{text[:200] or '(nothing)'}")
    return f"The tool results are: {'; '.join(shown)}."


def _text_answer(text: str, request: MessagesRequest, room: int) -> Answer:
    """Text, ended by a stop sequence or by ``max_tokens``, whichever comes first."""
    stops = [(text.find(stop), stop) for stop in request.stop_sequences or () if stop in text]
    if stops:
        at, stop = min(stops)
        before = text[:at]
        if text_tokens(before) <= room:
            blocks = (TextOut(text=before),) if before else ()
            return Answer(
                blocks=blocks, stop_reason="stop_sequence", stop_sequence=stop, output_tokens=text_tokens(before)
            )
    if text_tokens(text) > room:
        text = texts.cut_to_tokens(text, room)
        return Answer(blocks=(TextOut(text=text),), stop_reason="max_tokens", output_tokens=text_tokens(text))
    return Answer(blocks=(TextOut(text=text),) if text else (), stop_reason="end_turn", output_tokens=text_tokens(text))


def _within(answer: Answer, room: int) -> Answer:
    """An answer of whole blocks; those beyond ``max_tokens`` are left out."""
    kept: list[OutBlock] = []
    tokens = 0
    for block in answer.blocks:
        size = out_tokens(block)
        if tokens + size > room:
            return Answer(blocks=tuple(kept), stop_reason="max_tokens", output_tokens=room)
        kept.append(block)
        tokens += size
    return msgspec.structs.replace(answer, output_tokens=tokens)


def _scripted(content: list[dict[str, Any]], stop_reason: str) -> Answer:
    calls = any(block.get("type") == "tool_use" for block in content)
    answer = Answer(
        blocks=tuple(content),
        stop_reason="tool_use" if calls else "end_turn",
        output_tokens=sum(out_tokens(block) for block in content),
    )
    return _stopped(answer, stop_reason) if stop_reason else answer


def _stopped(answer: Answer, reason: str) -> Answer:
    details = None
    if reason == "refusal":
        details = {"type": "refusal", "category": "general_harms", "explanation": "The simulator was told to refuse."}
    return msgspec.structs.replace(answer, stop_reason=reason, stop_details=details)


def _thinking(request: MessagesRequest, context: Context) -> tuple[list[OutBlock], int]:
    """The thinking block of the answer, if it thinks, and its tokens."""
    mode = request.thinking
    facts = context.facts
    if mode is UNSET:
        on = facts.thinking_default != "off" and "adaptive" in facts.thinking
    elif isinstance(mode, ThinkingBetweenTools):
        on = bool(_results(request))
    else:
        on = not isinstance(mode, ThinkingDisabled)
    if not on or tool_calls.is_forced(request):
        return [], 0
    script = context.script
    tokens = script.thinking_tokens or 8 + context.digest[3] % 33
    if isinstance(mode, ThinkingEnabled):
        tokens = min(tokens, mode.budget_tokens)
    tokens = min(tokens, request.max_tokens)
    display = mode.display if isinstance(mode, (ThinkingAdaptive, ThinkingEnabled)) else None
    shown = ""
    if display == "summarized" or (display is None and shows_thinking(facts)):
        shown = texts.compose_thought(context.digest, tokens)
    if script.redacted:
        shown = ""
    seal = Seal(facts.id, context.org, prefix_digest(context.pieces), context.previous)
    signature, _ = context.signer.sign(seal, shown)
    if script.redacted:
        return [RedactedThinkingOut(data=signature)], tokens
    return [ThinkingOut(thinking=shown, signature=signature)], tokens


def out_tokens(block: OutBlock) -> int:
    """Tokens of a block that goes out, thinking aside: text by its bytes, calls by their JSON, results nothing."""
    if isinstance(block, TextOut):
        return text_tokens(block.text)
    if isinstance(block, (ToolUseOut, ServerToolUseOut)):
        return (len(encode(block.input)) + len(block.name) + 3) >> 2
    if isinstance(block, dict):
        return text_tokens(block["text"]) if block.get("type") == "text" else (len(encode(block)) + 3) >> 2
    if isinstance(block, WebSearchResultOut):
        return 0
    return 0
