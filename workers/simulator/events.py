"""A Message as server-sent events, exactly as they go over the wire, each with the token at which it is due."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from workers.simulator.answers.text import split_tokens
from workers.simulator.prompt import text_tokens
from workers.simulator.reply import (
    MessageOut,
    OutBlock,
    RedactedThinkingOut,
    ServerToolUseOut,
    TextOut,
    ThinkingOut,
    ToolUseOut,
    encode,
)

PING = b'event: ping\ndata: {"type":"ping"}\n\n'
MESSAGE_STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'


class Event(msgspec.Struct, frozen=True):
    """One event.

    Args:
        data: its bytes, blank line included.
        token: number of the output token it comes with; -1 comes with the headers.
        made: output tokens that are made once it is out.
        stampable: it is a text delta of block ``index``, whose text may be replaced by the time it is due.
    """

    data: bytes
    token: int
    made: int = 0
    stampable: bool = False
    index: int = 0


def event(name: str, data: bytes) -> bytes:
    """The bytes of one event."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), data)


def error_event(body: bytes) -> bytes:
    """An error in the middle of a stream."""
    return event("error", body)


def text_delta(index: int, text: str) -> bytes:
    """The event of a piece of text."""
    return _delta(index, b'{"type":"text_delta","text":%b}' % encode(text))


def events_of(message: MessageOut, delta_tokens: int) -> list[Event]:
    """The events of a message, in order.

    Args:
        message: complete.
        delta_tokens: tokens in one delta.
    """
    details = message.usage.output_tokens_details
    # Thinking that is counted but not shown passes before its signature; redacted thinking comes at once.
    hidden_tokens = details.thinking_tokens if details is not None else 0
    events = [Event(_message_start(message), -1)]
    token = 0
    at_once = 0
    for index, block in enumerate(message.content):
        position = -1 if index == 0 else token
        if isinstance(block, RedactedThinkingOut):
            at_once = hidden_tokens
        events.append(Event(_start(index, block), position, token + at_once))
        if index == 0:
            events.append(Event(PING, -1, at_once))
        if isinstance(block, ThinkingOut) and not block.thinking:
            token += hidden_tokens
        for tokens, data, stampable in _deltas(index, block, delta_tokens):
            events.append(Event(data, token, token + tokens + at_once, stampable, index))
            token += tokens
        events.append(Event(_stop(index), token, token + at_once))
    if not message.content:
        events.append(Event(PING, -1))
    made = message.usage.output_tokens
    events.append(Event(_message_delta(message), token, made))
    events.append(Event(MESSAGE_STOP, token, made))
    return events


def _message_start(message: MessageOut) -> bytes:
    usage = msgspec.structs.replace(message.usage, output_tokens=1, output_tokens_details=None)
    opening = msgspec.structs.replace(
        message, content=(), stop_reason=None, stop_sequence=None, stop_details=None, usage=usage
    )
    return b'event: message_start\ndata: {"type":"message_start","message":%b}\n\n' % encode(opening)


def _message_delta(message: MessageOut) -> bytes:
    usage = message.usage
    data: dict[str, Any] = {
        "type": "message_delta",
        "delta": {"stop_reason": message.stop_reason, "stop_sequence": message.stop_sequence},
        "usage": {
            "input_tokens": usage.input_tokens,
            "cache_creation_input_tokens": usage.cache_creation_input_tokens,
            "cache_read_input_tokens": usage.cache_read_input_tokens,
            "output_tokens": usage.output_tokens,
        },
    }
    if message.stop_details is not None:
        data["delta"]["stop_details"] = message.stop_details
    if usage.output_tokens_details is not None:
        data["usage"]["output_tokens_details"] = usage.output_tokens_details
    if usage.server_tool_use is not None:
        data["usage"]["server_tool_use"] = usage.server_tool_use
    return event("message_delta", encode(data))


def _start(index: int, block: OutBlock) -> bytes:
    shown: Any = block
    if isinstance(block, TextOut):
        shown = {"type": "text", "text": ""} | ({"citations": []} if block.citations else {})
    elif isinstance(block, ThinkingOut):
        shown = {"type": "thinking", "thinking": "", "signature": ""}
    elif isinstance(block, (ToolUseOut, ServerToolUseOut)):
        shown = msgspec.structs.replace(block, input={})
    elif isinstance(block, dict):
        empty = {"text": "", "thinking": "", "signature": "", "input": {}}
        shown = {name: empty.get(name, value) for name, value in block.items() if name != "citations"}
    return b'event: content_block_start\ndata: {"type":"content_block_start","index":%d,"content_block":%b}\n\n' % (
        index,
        encode(shown),
    )


def _stop(index: int) -> bytes:
    return b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n' % index


def _delta(index: int, delta: bytes) -> bytes:
    return b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":%b}\n\n' % (
        index,
        delta,
    )


def _sized(text: str, tokens: int) -> Iterator[tuple[int, str]]:
    """The parts of a text, each with its tokens."""
    parts = split_tokens(text, tokens)
    for part in parts[:-1]:
        yield tokens, part
    for part in parts[-1:]:
        yield text_tokens(part), part


def _deltas(index: int, block: OutBlock, tokens: int) -> Iterator[tuple[int, bytes, bool]]:
    """Deltas of a block as ``(tokens, event, is text)``; all but the last count as full, so that they come evenly."""
    fields = block if isinstance(block, dict) else msgspec.structs.asdict(block)
    for citation in fields.get("citations") or ():
        yield 0, _delta(index, b'{"type":"citations_delta","citation":%b}' % encode(citation)), False
    for size, part in _sized(fields.get("text", ""), tokens):
        yield size, text_delta(index, part), True
    for size, part in _sized(fields.get("thinking", ""), tokens):
        yield size, _delta(index, b'{"type":"thinking_delta","thinking":%b}' % encode(part)), False
    if "input" in fields:
        yield 0, _delta(index, b'{"type":"input_json_delta","partial_json":""}'), False
        for size, part in _sized(encode(fields["input"]).decode(), tokens) if fields["input"] else ():
            yield (
                size,
                _delta(index, b'{"type":"input_json_delta","partial_json":%b}' % encode(part)),
                False,
            )
    if "signature" in fields:
        yield 0, _delta(index, b'{"type":"signature_delta","signature":%b}' % encode(fields["signature"])), False
