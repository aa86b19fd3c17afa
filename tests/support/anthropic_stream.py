"""Anthropic's side of a stream: events as bytes, and whole messages taken apart into events."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

JsonObject = dict[str, Any]


def event(data: JsonObject, *, name: str | None = None) -> bytes:
    """One event as Anthropic frames it."""
    text = json.dumps(data, ensure_ascii=False)
    return f"event: {name or data['type']}\ndata: {text}\n\n".encode()


def stream(events: Iterable[JsonObject]) -> bytes:
    """A whole stream."""
    return b"".join(map(event, events))


def message_start(**fields: Any) -> JsonObject:
    """The event that begins a message."""
    message: JsonObject = {
        "id": "msg_01",
        "type": "message",
        "role": "assistant",
        "model": "claude-opus-5-5",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 1},
    }
    return {"type": "message_start", "message": {**message, **fields}}


def block_start(index: int, block: JsonObject) -> JsonObject:
    """A content block begins."""
    return {"type": "content_block_start", "index": index, "content_block": block}


def block_delta(index: int, kind: str, **fields: Any) -> JsonObject:
    """A content block goes on."""
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **fields}}


def block_stop(index: int) -> JsonObject:
    """A content block ends."""
    return {"type": "content_block_stop", "index": index}


def message_delta(stop_reason: str | None = "end_turn", usage: JsonObject | None = None, **fields: Any) -> JsonObject:
    """How the message ended."""
    delta = {"stop_reason": stop_reason, "stop_sequence": None, **fields}
    return {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 5} if usage is None else usage}


MESSAGE_STOP: JsonObject = {"type": "message_stop"}


def text_block(index: int, *pieces: str) -> list[JsonObject]:
    """A text block, a delta for each piece."""
    deltas = [block_delta(index, "text_delta", text=piece) for piece in pieces]
    return [block_start(index, {"type": "text", "text": ""}), *deltas, block_stop(index)]


def tool_block(index: int, name: str, *pieces: str, id_: str | None = None) -> list[JsonObject]:
    """A tool call, a delta for each piece of its input's JSON text."""
    start = {"type": "tool_use", "id": id_ or f"toolu_{index}", "name": name, "input": {}}
    deltas = [block_delta(index, "input_json_delta", partial_json=piece) for piece in pieces]
    return [block_start(index, start), *deltas, block_stop(index)]


def text_stream(*pieces: str, stop_reason: str | None = "end_turn") -> bytes:
    """A whole stream with one text block."""
    return stream([message_start(), *text_block(0, *pieces), message_delta(stop_reason), MESSAGE_STOP])


def events_of(message: JsonObject, sizes: Sequence[int]) -> Iterator[JsonObject]:
    """A message as Anthropic would stream it; texts are cut by ``sizes``, used over and over."""
    usage = message["usage"]
    begun = {
        **message,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {**usage, "output_tokens": 1},
    }
    begun["usage"].pop("output_tokens_details", None)
    begun.pop("stop_details", None)
    yield {"type": "message_start", "message": begun}
    for index, block in enumerate(message["content"]):
        yield from _block_events(index, block, sizes)
    delta = {key: message[key] for key in ("stop_reason", "stop_sequence", "stop_details") if key in message}
    yield {"type": "message_delta", "delta": delta, "usage": usage}
    yield MESSAGE_STOP


def _block_events(index: int, block: JsonObject, sizes: Sequence[int]) -> Iterator[JsonObject]:
    match block["type"]:
        case "text":
            yield block_start(index, {**block, "text": "", **({"citations": []} if "citations" in block else {})})
            for piece in pieces_of(block["text"], sizes):
                yield block_delta(index, "text_delta", text=piece)
            for citation in block.get("citations", []):
                yield block_delta(index, "citations_delta", citation=citation)
        case "thinking":
            yield block_start(index, {**block, "thinking": "", "signature": ""})
            for piece in pieces_of(block["thinking"], sizes):
                yield block_delta(index, "thinking_delta", thinking=piece)
            yield block_delta(index, "signature_delta", signature=block["signature"])
        case "tool_use" | "server_tool_use":
            yield block_start(index, {**block, "input": {}})
            yield block_delta(index, "input_json_delta", partial_json="")
            if block["input"]:
                text = json.dumps(block["input"], ensure_ascii=False, separators=(",", ":"))
                for piece in pieces_of(text, sizes):
                    yield block_delta(index, "input_json_delta", partial_json=piece)
        case _:
            yield block_start(index, block)
    yield block_stop(index)


def pieces_of(text: str, sizes: Sequence[int]) -> Iterator[str]:
    """``text`` in pieces of the given sizes, over and over."""
    at = step = 0
    while at < len(text):
        size = sizes[step % len(sizes)]
        yield text[at : at + size]
        at += size
        step += 1


def cut(data: bytes, sizes: Sequence[int]) -> Iterator[bytes]:
    """Bytes in chunks of the given sizes, over and over."""
    at = step = 0
    while at < len(data):
        size = sizes[step % len(sizes)]
        yield data[at : at + size]
        at += size
        step += 1
