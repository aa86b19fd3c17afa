"""Parts of a tool call that the plain answer and the stream share: arguments, the input of a custom tool, ids.

Rules: spec/chat-completions.md sections 3 and 5.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct

from app.translate.content_accumulator import RAW_ARGUMENTS


class _CustomInput(Struct, frozen=True, forbid_unknown_fields=True):
    input: str = ""


class _RawArguments(Struct, frozen=True, forbid_unknown_fields=True, rename={"text": RAW_ARGUMENTS}):
    text: str


_CUSTOM_INPUT = msgspec.json.Decoder(_CustomInput)
_RAW_ARGUMENTS = msgspec.json.Decoder(_RawArguments)


def arguments_text(input_json: bytes | Raw, *, is_cut: bool = False) -> str:
    """A tool's input as the text of ``arguments``: the same JSON, compact.

    Args:
        input_json: the ``input`` object of a ``tool_use`` block.
        is_cut: the message ended in the middle: what ``ContentAccumulator`` could not read as JSON is given as it came,
            as a stream would have given it.
    """
    if is_cut:
        try:
            return _RAW_ARGUMENTS.decode(input_json).text
        except msgspec.ValidationError:
            pass
    return msgspec.json.format(bytes(input_json), indent=-1).decode()


def custom_input(input_text: str) -> str:
    """The free text of a custom tool's call from its arguments ``{"input": "..."}``.

    Arguments of another shape, which Claude may invent or be cut off in, are given as they are.
    """
    try:
        return _CUSTOM_INPUT.decode(input_text).input
    except msgspec.DecodeError:
        return input_text


def structured_call_id(message_id: str) -> str:
    """The id of the call that stands for a structured answer; Claude made none, plain and stream have to agree."""
    return "call_" + message_id.removeprefix("msg_")


def completion_id(message_id: str) -> str:
    """OpenAI's id of an answer."""
    return "chatcmpl-" + message_id.removeprefix("msg_")
