"""The short way through the simulator, taken with validation off by requests that ask for nothing but text.

Nothing of such a request is looked at but ``model``, ``max_tokens`` and ``stream``; its tokens are its bytes divided by
four. There is no thinking, no prompt cache and no rate limit. A request with tools, thinking, ``output_config`` or a
script takes the long way, unchecked.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec
from msgspec import Raw, Struct

from workers.simulator.answers.text import compose_text, cut_to_tokens
from workers.simulator.prompt import text_tokens
from workers.simulator.reply import CacheCreation, MessageOut, OutputTokensDetails, TextOut, Usage
from workers.simulator.wire import MessagesRequest

_NOTHING: Final = Raw(b"")


class LeanRequest(Struct, frozen=True):
    """What is read of a body; everything else is skipped."""

    model: str = "claude-opus-5-5"
    stream: bool = False
    max_tokens: int = 1024
    tools: Raw = _NOTHING
    thinking: Raw = _NOTHING
    output_config: Raw = _NOTHING

    @property
    def wants_text_only(self) -> bool:
        """Whether the short way will do."""
        return not (bytes(self.tools) or bytes(self.thinking) or bytes(self.output_config))

    def as_messages_request(self) -> MessagesRequest:
        """The same as a typed request, for a body that is none."""
        return MessagesRequest(model=self.model, messages=[], max_tokens=self.max_tokens, stream=self.stream)


_DECODER: Final = msgspec.json.Decoder(LeanRequest)
_NO_CACHE: Final = CacheCreation()
_NO_THINKING: Final = OutputTokensDetails()


def read_lean(body: bytes) -> LeanRequest:
    """Reads a body of any kind; what is no JSON object with sane fields counts as empty."""
    try:
        return _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return LeanRequest()


def lean_message(request: LeanRequest, body: bytes, output_tokens: int) -> MessageOut:
    """A text answer, the same for the same bytes.

    Args:
        request: the body as read.
        body: its bytes.
        output_tokens: size of the answer; 0 lets a hash of the body choose.
    """
    digest = hashlib.blake2b(body, digest_size=16).digest()
    text = compose_text("", digest, output_tokens)
    size = text_tokens(text)
    stop_reason = "end_turn"
    if size > request.max_tokens:
        text, size, stop_reason = cut_to_tokens(text, request.max_tokens), request.max_tokens, "max_tokens"
    return MessageOut(
        id="msg_sim" + digest.hex()[:22],
        role="assistant",
        model=request.model,
        content=(TextOut(text=text),),
        stop_reason=stop_reason,
        stop_sequence=None,
        stop_details=None,
        usage=Usage(
            input_tokens=(len(body) + 3) >> 2,
            cache_creation_input_tokens=0,
            cache_read_input_tokens=0,
            cache_creation=_NO_CACHE,
            output_tokens=size,
            output_tokens_details=_NO_THINKING,
        ),
    )
