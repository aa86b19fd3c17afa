"""What Anthropic's Messages API answers: the plain message and the events of a stream, as they are on the wire.

Only what the gateway looks at is typed; the rest is skipped, or kept as raw JSON where it has to be given back
unchanged. Kinds of events, deltas and content blocks that are not listed here decode to None: Anthropic adds new ones
without a new API version. Reference: anthropic 2.12, ``types/raw_message_stream_event.py`` and ``types/message.py``.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct

# --- deltas ---------------------------------------------------------------------------------------------------------


class TextDelta(Struct, frozen=True, gc=False, tag="text_delta"):
    """More text of a text block."""

    text: str


class InputJsonDelta(Struct, frozen=True, gc=False, tag="input_json_delta"):
    """More of the JSON text of a tool's input; cut anywhere."""

    partial_json: str


class ThinkingDelta(Struct, frozen=True, gc=False, tag="thinking_delta"):
    """More text of a thinking block."""

    thinking: str


class SignatureDelta(Struct, frozen=True, gc=False, tag="signature_delta"):
    """The signature of a thinking block, whole."""

    signature: str


class CitationsDelta(Struct, frozen=True, tag="citations_delta"):
    """One more citation of a text block."""

    citation: Raw


Delta = TextDelta | InputJsonDelta | ThinkingDelta | SignatureDelta | CitationsDelta

# --- events ---------------------------------------------------------------------------------------------------------


class MessageStart(Struct, frozen=True, tag="message_start"):
    """The message without content; ``message`` decodes to ``Message``."""

    message: Raw


class ContentBlockStart(Struct, frozen=True, tag="content_block_start"):
    """A new content block; ``content_block`` decodes by ``decode_block``."""

    index: int
    content_block: Raw


class ContentBlockDelta(Struct, frozen=True, gc=False, tag="content_block_delta"):
    """More of a content block."""

    index: int
    delta: Delta


class ContentBlockStop(Struct, frozen=True, gc=False, tag="content_block_stop"):
    """The end of a content block."""

    index: int


class MessageDelta(Struct, frozen=True, tag="message_delta"):
    """How the message ended; ``delta`` decodes to ``Ending``, ``usage`` (cumulative) to ``UsageFields``."""

    delta: Raw
    usage: Raw = Raw(b"{}")


class MessageStop(Struct, frozen=True, gc=False, tag="message_stop"):
    """The end of the message and of the stream."""


class Ping(Struct, frozen=True, gc=False, tag="ping"):
    """Keep-alive."""


class ErrorEvent(Struct, frozen=True, gc=False, tag="error"):
    """The stream failed; the data is the body of an error reply."""


Event = (
    ContentBlockDelta
    | ContentBlockStart
    | ContentBlockStop
    | MessageStart
    | MessageDelta
    | MessageStop
    | Ping
    | ErrorEvent
)

# --- content blocks -------------------------------------------------------------------------------------------------


class TextBlock(Struct, frozen=True, tag="text"):
    """Text for the user."""

    text: str
    citations: list[Raw] | None = None


class ThinkingBlock(Struct, frozen=True, tag="thinking"):
    """What the model thought, signed; the text is empty where its display is off."""

    thinking: str
    signature: str = ""


class RedactedThinkingBlock(Struct, frozen=True, tag="redacted_thinking"):
    """Thinking that only Anthropic can read."""

    data: str


class ToolUseBlock(Struct, frozen=True, tag="tool_use"):
    """A call of a tool of the client."""

    id: str
    name: str
    input: Raw = Raw(b"{}")


class ServerToolUseBlock(Struct, frozen=True, gc=False, tag="server_tool_use"):
    """A call of a tool that Anthropic runs itself."""

    name: str = ""


Block = TextBlock | ThinkingBlock | RedactedThinkingBlock | ToolUseBlock | ServerToolUseBlock


class WebSearchResultLocation(Struct, frozen=True, gc=False, tag="web_search_result_location"):
    """A citation of a page that Anthropic's web search found."""

    url: str
    title: str | None = None


# --- message --------------------------------------------------------------------------------------------------------


class OutputTokensDetails(Struct, frozen=True, gc=False):
    """What the output tokens were spent on."""

    thinking_tokens: int | None = None


class CacheCreation(Struct, frozen=True, gc=False):
    """The part of the cache writes that is kept for an hour; the rest is for five minutes."""

    ephemeral_1h_input_tokens: int | None = None


class ServerToolUsage(Struct, frozen=True, gc=False):
    """What Anthropic's own tools did."""

    web_search_requests: int | None = None


class UsageFields(Struct, frozen=True):
    """Tokens as the wire has them; None is "not said"."""

    input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_creation: CacheCreation | None = None
    cache_read_input_tokens: int | None = None
    output_tokens: int | None = None
    output_tokens_details: OutputTokensDetails | None = None
    server_tool_use: ServerToolUsage | None = None
    service_tier: str | None = None
    speed: str | None = None
    inference_geo: str | None = None


class StopDetails(Struct, frozen=True, gc=False):
    """Why the model refused."""

    explanation: str | None = None


class Ending(Struct, frozen=True):
    """How a message ended."""

    stop_reason: str | None = None
    stop_details: StopDetails | None = None


class Message(Struct, frozen=True, kw_only=True):
    """A whole message, or, in ``message_start``, its beginning."""

    id: str
    model: str
    content: list[Raw] = []
    stop_reason: str | None = None
    stop_details: StopDetails | None = None
    usage: UsageFields = UsageFields()


class _Tagged(Struct, frozen=True, gc=False):
    type: str


class _TaggedDelta(Struct, frozen=True):
    delta: _Tagged


_EVENT: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)
_BLOCK: msgspec.json.Decoder[Block] = msgspec.json.Decoder(Block)
_TAGGED = msgspec.json.Decoder(_Tagged)
_TAGGED_DELTA = msgspec.json.Decoder(_TaggedDelta)

_EVENT_TYPES = frozenset(
    {
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
        "ping",
        "error",
    }
)
_DELTA_TYPES = frozenset({"text_delta", "input_json_delta", "thinking_delta", "signature_delta", "citations_delta"})
_BLOCK_TYPES = frozenset({"text", "thinking", "redacted_thinking", "tool_use", "server_tool_use"})


def decode_event(data: bytes) -> Event | None:
    """An event of a stream from its data; None for a kind of event or delta that is not known here.

    Raises:
        ValueError: not JSON, not UTF-8, or not the shape of an event of its kind.
        RecursionError: nested too deeply.
    """
    if not data.isascii():
        data.decode()  # NOTE: msgspec looks at the UTF-8 of typed strings only, not of Raw and of what it skips
    try:
        return _EVENT.decode(data)
    except msgspec.ValidationError:
        kind = _TAGGED.decode(data).type
        if kind not in _EVENT_TYPES:
            return None
        if kind == "content_block_delta" and _TAGGED_DELTA.decode(data).delta.type not in _DELTA_TYPES:
            return None
        raise


def decode_block(data: bytes | Raw) -> Block | None:
    """A content block; None for a kind that is not looked at, such as ``web_search_tool_result``.

    Raises:
        ValueError: not the shape of a block of its kind.
    """
    try:
        return _BLOCK.decode(data)
    except msgspec.ValidationError:
        if _TAGGED.decode(data).type not in _BLOCK_TYPES:
            return None
        raise
