"""A plain message of Anthropic's as the stream that it would have sent, one delta a block: for replaying it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec
from msgspec import Raw

from app.errors import BadUpstreamReply
from app.schemas.anthropic_reply import Message
from app.translate.stop_reasons import finish_reason
from app.translate.tool_calls import arguments_text

_MESSAGE: Final = msgspec.json.Decoder(Message)
_FIELDS: Final = msgspec.json.Decoder(dict[str, Raw])
_RAWS: Final = msgspec.json.Decoder(list[Raw])
_CITATIONS: Final[msgspec.json.Decoder[list[Raw] | None]] = msgspec.json.Decoder(list[Raw] | None)
_encode = msgspec.json.encode

#: How a message ends is told at its end; at its beginning these fields are null.
_ENDING: Final = ("stop_reason", "stop_sequence", "stop_details")
_ONE_LINE: Final = bytes.maketrans(b"\r\n", b"  ")
_NULL: Final = Raw(b"null")
_NO_TEXT: Final = Raw(b'""')
_NO_INPUT: Final = Raw(b"{}")
#: For each kind of block the field that its delta brings, what the field begins as, the delta and its field.
_DELTAS: Final = {
    b'"text"': ("text", _NO_TEXT, "text_delta", "text"),
    b'"thinking"': ("thinking", _NO_TEXT, "thinking_delta", "thinking"),
    b'"tool_use"': ("input", _NO_INPUT, "input_json_delta", "partial_json"),
    b'"server_tool_use"': ("input", _NO_INPUT, "input_json_delta", "partial_json"),
}


def message_events(body: bytes) -> bytes:
    """The stream of a message.

    Args:
        body: the message as JSON, whole.

    Returns:
        Server-sent events. Counts of tokens come as they were in the end.

    Raises:
        BadUpstreamReply: it is not a message.
    """
    try:
        if not body.isascii():
            body.decode()  # NOTE: msgspec looks at the UTF-8 of typed strings only, not of Raw
        stop_reason = _MESSAGE.decode(body).stop_reason
        return b"".join(map(_event, _events(_FIELDS.decode(body), stop_reason)))
    except (ValueError, RecursionError) as exc:
        raise BadUpstreamReply("The upstream answered something that is not a message.") from exc


def _event(event: dict[str, Any]) -> bytes:
    data = _encode(event).translate(_ONE_LINE)  # between tokens: inside a string JSON has only the escaped form
    return b"event: " + str(event["type"]).encode() + b"\ndata: " + data + b"\n\n"


def _events(message: dict[str, Raw], stop_reason: str | None) -> Iterator[dict[str, Any]]:
    usage = message.get("usage", _NO_INPUT)
    ending = {name: message[name] for name in _ENDING if name in message}
    not_yet: dict[str, Raw] = dict.fromkeys(ending, _NULL)
    begun = {**message, **not_yet, "content": Raw(b"[]")}
    yield {"type": "message_start", "message": begun}
    is_cut = finish_reason(stop_reason) == "length"
    for index, block in enumerate(_RAWS.decode(message.get("content", b"[]"))):
        yield from _block_events(index, _FIELDS.decode(block), is_cut=is_cut)
    yield {"type": "message_delta", "delta": ending, "usage": usage}
    yield {"type": "message_stop"}


def _block_events(index: int, block: dict[str, Raw], *, is_cut: bool) -> Iterator[dict[str, Any]]:
    begun = dict(block)
    deltas: list[dict[str, Any]] = []
    known = _DELTAS.get(bytes(block.get("type", b"")))
    if known is not None and known[0] in block:
        field, beginning, kind, name = known
        begun[field] = beginning
        value = arguments_text(block[field], is_cut=is_cut) if field == "input" else block[field]
        deltas.append({"type": kind, name: value})
        if "signature" in block:
            begun["signature"] = _NO_TEXT
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
        if citations := _CITATIONS.decode(block.get("citations", b"null")):
            begun["citations"] = Raw(b"[]")
            deltas += [{"type": "citations_delta", "citation": citation} for citation in citations]
    yield {"type": "content_block_start", "index": index, "content_block": begun}
    for delta in deltas:
        yield {"type": "content_block_delta", "index": index, "delta": delta}
    yield {"type": "content_block_stop", "index": index}
