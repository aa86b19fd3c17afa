"""What would become of a chat request, parameter by parameter: the answer of ``POST /v1/compatibility``.

Runs the real translation, so that the report cannot drift from it. A refused parameter is listed and taken out, and the
translation runs again, until nothing is refused: so one report names every problem at once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from app.domain.calls import MessagesCall
from app.domain.models import ModelTable
from app.errors import RequestError
from app.schemas import openai_chat as openai
from app.translate.chat_decoding import DecodedChat
from app.translate.chat_to_messages import translate
from app.translate.notes import Note, Notes
from app.translate.settings import TranslationSettings
from app.translate.thinking import HEADER

Status = Literal["mapped", "adjusted", "ignored", "refused"]

_TOP: Final = re.compile(r"\w+")


class Finding(Struct, frozen=True, kw_only=True):
    """What becomes of one parameter.

    Args:
        param: its path.
        status: ``mapped`` has its effect, ``adjusted`` a changed one, ``ignored`` none, ``refused`` means a 400. In
            strict mode ``adjusted`` and ``ignored`` mean a 400, too.
        reason: why, or what it is mapped to.
        value: what an adjusted parameter became.
        code: of a refusal.
    """

    param: str
    status: Status
    reason: str
    value: str | UnsetType = UNSET
    code: str | UnsetType | None = UNSET


class Compatibility(Struct, frozen=True, kw_only=True):
    """The whole report; ``model`` is None when the name means no model."""

    object: Literal["compatibility"] = "compatibility"
    accepted: bool
    faithful: bool
    requested_model: str
    model: str | None
    anthropic_version: str | None
    parameters: list[Finding]


def compatibility(
    chat: DecodedChat,
    models: ModelTable,
    settings: TranslationSettings,
    *,
    thinking_tokens: int | None = None,
    strict: bool | None = None,
    ignored_headers: Sequence[str] = (),
) -> Compatibility:
    """Says what each parameter of a chat request would become; refusals are listed, never raised.

    Args:
        chat: what ``decode_chat_request`` gave.
        models: the known models.
        settings: the operator's choices.
        thinking_tokens: the header ``X-Claude-Max-Thinking-Tokens``.
        strict: whether strict mode is on; None leaves it to the settings.
        ignored_headers: paths of headers without an effect.

    Returns:
        The report: ``accepted`` when the request would be served, ``faithful`` when strict mode would serve it too.
    """
    refused: list[Finding] = []
    rest: DecodedChat | None = chat
    call: MessagesCall | None = None
    notes = Notes()
    while rest is not None and call is None:
        notes = Notes()
        try:
            call = translate(rest, models, settings, notes, thinking_tokens=thinking_tokens)
        except RequestError as error:
            refused.append(Finding(param=error.param or "", status="refused", reason=error.message, code=error.code))
            if error.param == HEADER:
                thinking_tokens = None
            else:
                rest = _without(rest, error.param or "")
    noted = [_finding(note) for note in notes.notes]
    noted += [Finding(param=path, status="ignored", reason="it has no effect here") for path in ignored_headers]
    faithful = not refused and not noted
    settled = {finding.param for finding in (*refused, *noted)}
    mapped = [] if call is None else _mapped(chat.request, thinking_tokens, settled, _tops(refused))
    return Compatibility(
        accepted=faithful if (settings.strict if strict is None else strict) else not refused,
        faithful=faithful,
        requested_model=chat.request.model,
        model=None if call is None else call.model,
        anthropic_version=None if call is None else call.anthropic_version,
        parameters=[*refused, *noted, *mapped],
    )


def _finding(note: Note) -> Finding:
    if note.became is None:
        return Finding(param=note.path, status="ignored", reason=note.reason)
    return Finding(param=note.path, status="adjusted", reason=note.reason, value=note.became)


def _tops(findings: list[Finding]) -> set[str]:
    return {match[0] for finding in findings if (match := _TOP.match(finding.param))}


def _without(chat: DecodedChat, param: str) -> DecodedChat | None:
    """The request without a refused parameter; None when it makes no sense without it."""
    match = _TOP.match(param)
    name = match[0] if match else ""
    request = chat.request
    if name == "messages" and request.messages != _ANY_CONVERSATION:
        return DecodedChat(msgspec.structs.replace(request, messages=_ANY_CONVERSATION), chat.unknown)
    if name in _FORGETTABLE and getattr(request, name) not in (None, UNSET):
        gone: dict[str, Any] = dict.fromkeys((name, *_DEPENDENT.get(name, ())))
        return DecodedChat(msgspec.structs.replace(request, **gone), chat.unknown)
    return None


def _mapped(
    request: openai.ChatRequest, thinking_tokens: int | None, settled: set[str], refused: set[str]
) -> list[Finding]:
    findings = [
        Finding(param=field, status="mapped", reason=_MEANING.get(field, "its value asks for nothing"))
        for field in request.__struct_fields__
        if field not in settled and field not in refused and getattr(request, field) not in (None, UNSET)
    ]
    if thinking_tokens is not None and HEADER not in settled:
        findings.append(Finding(param=HEADER, status="mapped", reason="thinking.budget_tokens"))
    return findings


_ANY_CONVERSATION: Final[list[openai.Message]] = [openai.UserMessage(content="Hello.")]
_DEPENDENT: Final = {
    "tools": ("tool_choice", "function_call", "parallel_tool_calls"),
    "functions": ("tool_choice", "function_call"),
    "web_search_options": ("tool_choice", "function_call"),
}
_FORGETTABLE: Final = frozenset(
    field.name for field in msgspec.structs.fields(openai.ChatRequest) if field.name not in ("model", "messages")
)

#: What a parameter becomes when it keeps its effect.
_MEANING: Final = {
    "model": "model",
    "messages": "system and messages",
    "max_completion_tokens": "max_tokens",
    "max_tokens": "max_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "stop": "stop_sequences",
    "n": "as many calls at the same time",
    "stream": "stream",
    "stream_options": "a last chunk with the usage",
    "tools": "tools",
    "tool_choice": "tool_choice",
    "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
    "functions": "tools",
    "function_call": "tool_choice",
    "response_format": "output_config.format",
    "reasoning_effort": "thinking and output_config.effort",
    "web_search_options": "the server tool web_search",
    "user": "metadata.user_id, as a pseudonym",
    "safety_identifier": "metadata.user_id, as a pseudonym",
    "metadata": "the gateway's log; user_id also metadata.user_id, as a pseudonym",
    "prompt_cache_key": "the choice of the upstream credential",
    "prompt_cache_options": "what cache_control is set on, and its ttl",
    "prompt_cache_retention": "what Anthropic does by default",
    "service_tier": "service_tier",
    "thinking": "thinking",
    "include_reasoning": "reasoning in the reply",
    "cache_control": "cache_control",
    "betas": "the header anthropic-beta",
    "output_config": "output_config",
    "inference_geo": "inference_geo",
    "session_id": "the conversation that is kept under this name",
    "prewarm": "max_tokens 0, which only fills the prompt cache",
    "anthropic": "the body sent to Anthropic, merged over it",
}
