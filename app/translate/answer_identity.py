"""What makes two chat requests the same: for sharing one answer, and for a request that is sent again.

The bytes made here are hashed, and need to be the same on every replica; nothing reads them. Source: DESIGN.md
section 3, "Response cache" and "Single flight".
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, Final

import msgspec
from msgspec import UNSET

from app.domain.calls import MessagesCall
from app.schemas import openai_chat as openai
from app.translate.chat_decoding import DecodedChat

#: Fields that the translated body says better: what it leaves out of them shapes no answer.
IN_BODY: Final = frozenset({"model", "messages", "tools", "functions"})

#: Fields that shape no answer: how it is delivered, noted, cached or kept.
NOT_SHAPING: Final = frozenset(
    {
        "stream",
        "stream_options",
        "metadata",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "store",
        "session_id",
    }
)

#: Fields of a request that do not make it another one when it is sent again.
_DELIVERY: Final = frozenset({"stream", "stream_options"})

#: The beginning of a body: the first name in it that is not inside a string.
_STREAM: Final = re.compile(rb'("max_tokens":[^,]*,)"stream":true,')
_DEFAULT_MAX_TOKENS: Final = re.compile(rb'"max_tokens":\d+,')
_ENCODER: Final = msgspec.json.Encoder(order="deterministic")


def same_answer_key(chat: DecodedChat, call: MessagesCall, *, thinking_tokens: int | None) -> bytes:
    """What two requests have in common that may share an answer, plain or streamed.

    It holds what is sent to Anthropic, how the answer is shown, and everything else that the client says of it, also
    what this gateway does not heed. A default bound on the answer, which differs between plain and streamed requests,
    is none of it: only answers that are complete are shared.

    Args:
        chat: the client's request.
        call: what it has become, before any budget has touched it.
        thinking_tokens: of the header.
    """
    rest = _without(chat.request, IN_BODY | NOT_SHAPING)
    plan = msgspec.structs.replace(call.plan, include_usage=False)
    body = _STREAM.sub(rb"\1", call.body, count=1)
    if not call.max_tokens_given:
        body = _DEFAULT_MAX_TOKENS.sub(b"", body, count=1)
    return _ENCODER.encode((call.anthropic_version, call.betas, plan, call.n, thinking_tokens, rest)) + b"\n" + body


def request_fingerprint(chat: DecodedChat, thinking_tokens: int | None) -> bytes:
    """SHA-256 of all that a request says, but for its delivery: whether it is the one that was sent before.

    Args:
        chat: the client's request.
        thinking_tokens: of the header.
    """
    said = (thinking_tokens, chat.unknown, _without(chat.request, _DELIVERY))
    return hashlib.sha256(_ENCODER.encode(said)).digest()


def _without(request: openai.ChatRequest, names: frozenset[str]) -> dict[str, Any]:
    """The fields that say something, as they are encoded."""
    return {
        name: value
        for name in request.__struct_fields__
        if name not in names and (value := getattr(request, name)) is not None and value is not UNSET
    }
