"""A chat completions request as a call of Anthropic's Messages API: the order of the steps, each in its own module.

The table that this follows, row by row, is ``spec/chat-completions.md`` sections 1 to 8; what a model accepts is data
(``app/domain/models.py``). Nothing is dropped silently: see ``notes``. The same client history gives the same bytes on
every turn, so that Anthropic's prompt cache and the binding of thinking hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from app.domain.calls import MessagesCall, ReplyPlan
from app.domain.models import ModelFacts, ModelTable, Resolution
from app.domain.pricing import why_unbounded
from app.domain.prompt_size import CacheLifetime, Media, prompt_size
from app.domain.sessions import SessionHistory, session_id
from app.errors import InvalidRequest
from app.schemas import anthropic
from app.schemas import openai_chat as openai
from app.translate import json_schema, parameters
from app.translate.chat_decoding import DecodedChat, decode_chat_request
from app.translate.content import ContentTranslator
from app.translate.continuation import continue_after_pause
from app.translate.earlier import Earlier, Entry, earlier_entries
from app.translate.kept_thinking import kept_ids
from app.translate.notes import Notes
from app.translate.prompt_caching import CacheMarkers, in_prompt_order
from app.translate.raw import given_bytes
from app.translate.settings import TranslationSettings
from app.translate.thinking import ThinkingPlan, least_tokens, may_think, plan_thinking
from app.translate.tools import ToolPlan, add_stubs, plan_tools
from app.translate.turns import Conversation, TurnTranslator

__all__ = [
    "DecodedChat",
    "TranslationSettings",
    "continue_after_pause",
    "decode_chat_request",
    "downgrade_forced_tool",
    "to_messages",
    "translate",
]

#: The API version that is current, and the one that still takes sampling parameters (``spec/sdk-notes.md``).
ANTHROPIC_VERSION: Final = "2026-10-21"
ANTHROPIC_VERSION_WITH_SAMPLING: Final = "2023-06-01"

#: Above this, Anthropic wants an answer streamed: it may take longer than ten minutes (``spec/models.md``).
MAX_PLAIN_TOKENS: Final = 21_333

#: As much of a conversation's beginning tells it from others well enough.
BEGINNING_CHARS: Final = 256

_JSON_ONLY: Final = "Reply with one valid JSON object and nothing else."
_INSTRUCTIONS: Final = (openai.SystemMessage, openai.DeveloperMessage)
_ENCODER: Final = msgspec.json.Encoder()
_FIELDS: Final = msgspec.json.Decoder(dict[str, Raw])


def to_messages(
    chat: DecodedChat,
    models: ModelTable,
    settings: TranslationSettings,
    *,
    history: SessionHistory | None = None,
    kept: Mapping[str, bytes] | None = None,
    thinking_tokens: int | None = None,
    strict: bool | None = None,
) -> MessagesCall:
    """Translates a chat request.

    Args:
        chat: what ``decode_chat_request`` gave; left unchanged.
        models: the known models.
        settings: the operator's choices.
        history: of the session that the request goes on with. It has Claude's answers, so ``kept`` counts only without.
        kept: contents of earlier answers, see ``kept_thinking``; None before they were looked for.
        thinking_tokens: the header ``X-Claude-Max-Thinking-Tokens``: the budget of models that take one; others get the
            nearest effort, reported as adjusted; 0 turns thinking off.
        strict: refuse what would be ignored or adjusted; None leaves it to the settings. What is kept may change that,
            so nothing is refused before it was looked for.

    Raises:
        InvalidRequest: the request cannot be served, or not to the letter and ``strict`` is on; ``param`` is the path.
        NotFound: no such model.
        StateError: the history cannot be read.
    """
    notes = Notes()
    call = translate(chat, models, settings, notes, history=history, kept=kept, thinking_tokens=thinking_tokens)
    if settings.strict if strict is None else strict:
        is_to_come = kept is None and history is None and call.keeps_answers and kept_ids(chat)
        if not is_to_come:
            notes.refuse_any()
    return call


def downgrade_forced_tool(
    chat: DecodedChat,
    models: ModelTable,
    settings: TranslationSettings,
    *,
    history: SessionHistory | None = None,
    kept: Mapping[str, bytes] | None = None,
    thinking_tokens: int | None = None,
    strict: bool | None = None,
) -> MessagesCall:
    """Translates again for a model that turned out to refuse a forced tool choice.

    For ids that the table does not know a forced tool choice is tried; when Anthropic answers it with 400, this is the
    request to send instead. Arguments and errors as ``to_messages``.
    """
    notes = Notes()
    call = translate(
        chat,
        models,
        settings,
        notes,
        history=history,
        kept=kept,
        thinking_tokens=thinking_tokens,
        forced_tool_refused=True,
    )
    if settings.strict if strict is None else strict:
        notes.refuse_any()
    return call


def translate(
    chat: DecodedChat,
    models: ModelTable,
    settings: TranslationSettings,
    notes: Notes,
    *,
    history: SessionHistory | None = None,
    kept: Mapping[str, bytes] | None = None,
    thinking_tokens: int | None = None,
    forced_tool_refused: bool = False,
) -> MessagesCall:
    """The translation itself; what has to be reported goes to ``notes``, with reasons.

    Raises:
        InvalidRequest: the request cannot be served; ``param`` is the path.
        NotFound: no such model.
        StateError: the history cannot be read.
    """
    request = chat.request
    if request.session_id is not None:
        session_id(request.session_id, "session_id")
    resolution = _resolve(request.model, models, settings, notes, forced_tool_refused=forced_tool_refused)
    facts = resolution.facts
    max_tokens = parameters.max_tokens(request, facts, settings, notes)
    of_prompt = Notes()  # reported after the parameters
    earlier = None if history is None else earlier_entries(history, request.messages)
    prompt = _prompt(request, facts, settings, of_prompt, earlier, kept if history is None else None)
    thinking = plan_thinking(
        request,
        resolution,
        prompt.conversation,
        notes,
        max_tokens=max_tokens,
        thinking_tokens=thinking_tokens,
        forces_tool=prompt.tools.forces_call,
        show_by_default=settings.include_reasoning,
    )
    sampling = parameters.sampling(request, facts, notes, thinks=thinking.thinks)
    parameters.without_counterpart(request, notes)
    tier = parameters.tier(request, settings, notes)
    betas = parameters.betas(request, settings, notes)
    user_id = parameters.pseudonym(request, settings.user_salt, notes)
    stop = parameters.stop_sequences(request.stop, notes)
    notes.extend(of_prompt)
    is_stream = bool(request.stream)
    upstream_stream = is_stream or max_tokens > MAX_PLAIN_TOKENS
    body = _ENCODER.encode(
        anthropic.MessagesRequest(
            model=resolution.id,
            max_tokens=max_tokens,
            stream=upstream_stream or UNSET,
            cache_control=prompt.automatic_marker,
            system=prompt.conversation.system or UNSET,
            messages=prompt.conversation.messages,
            tools=prompt.tools.tools or UNSET,
            tool_choice=prompt.tools.choice,
            thinking=thinking.thinking,
            output_config=_output_config(request, thinking, prompt.answer_format, notes),
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            stop_sequences=stop,
            metadata=anthropic.Metadata(user_id) if user_id else UNSET,
            service_tier=tier.service_tier,
            speed=tier.speed,
            inference_geo=request.inference_geo or UNSET,
        )
    )
    if request.anthropic:
        body = _extended(body, request.anthropic, settings, notes)
    is_fast = tier.speed == "fast"
    thinks = may_think(thinking, facts)
    for path in chat.unknown:
        notes.ignore(path, "nobody knows this field")
    return MessagesCall(
        is_known=facts.known,
        model=resolution.id,
        body=body,
        anthropic_version=ANTHROPIC_VERSION_WITH_SAMPLING if sampling.is_set else ANTHROPIC_VERSION,
        betas=tuple(dict.fromkeys((*thinking.betas, *tier.betas, *betas))),
        stream=is_stream,
        upstream_stream=upstream_stream,
        n=_answer_count(request, history),
        plan=_reply_plan(request, prompt, thinking),
        report=notes.report(),
        affinity=request.prompt_cache_key or request.session_id or _beginning(request.messages, earlier),
        metadata=request.metadata or {},
        size=prompt_size(
            len(body),
            messages=len(prompt.conversation.messages),
            media=prompt.media,
            context_tokens=facts.context_tokens,
            cache_lifetime=prompt.cache_lifetime,
        ),
        max_tokens=max_tokens,
        max_tokens_given=parameters.has_max_tokens(request),
        least_tokens=least_tokens(thinking, max_tokens),
        price=facts.price,
        inference_geo=request.inference_geo or "",
        fast=is_fast,
        unbounded=why_unbounded(
            resolution.id,
            facts.price,
            server_tools=prompt.tools.has_web_search,
            extension=bool(request.anthropic) and settings.anthropic_extension,
            fast=is_fast,
            betas=betas,
        ),
        keeps_answers=thinks and bool(request.tools),
        restored=prompt.conversation.restored,
        lost=prompt.conversation.lost if thinks else 0,
    )


class _Prompt(Struct):
    """Everything of the request that is prompt: it must come out the same on every turn."""

    conversation: Conversation
    tools: ToolPlan
    answer_format: dict[str, Any] | UnsetType
    automatic_marker: anthropic.CacheControl | UnsetType
    cache_lifetime: CacheLifetime
    media: Media


def _resolve(
    name: str, models: ModelTable, settings: TranslationSettings, notes: Notes, *, forced_tool_refused: bool
) -> Resolution:
    resolution = models.resolve(name, settings.aliases)
    if resolution.adjusted is not None:
        notes.adjust("model", resolution.adjusted, "the model is retired; the current one of its line serves it")
    if forced_tool_refused:
        facts = msgspec.structs.replace(resolution.facts, forced_tool_choice=False)
        resolution = msgspec.structs.replace(resolution, facts=facts)
    return resolution


def _prompt(
    request: openai.ChatRequest,
    facts: ModelFacts,
    settings: TranslationSettings,
    notes: Notes,
    earlier: Earlier | None,
    kept: Mapping[str, bytes] | None,
) -> _Prompt:
    markers = CacheMarkers(request, notes)
    tools = plan_tools(request, facts, settings, markers, notes)
    answer_format, instruction = _response_format(request, facts, tools, notes)
    content = ContentTranslator(facts, settings, markers, notes)
    conversation = TurnTranslator(facts, settings, content, markers, notes, kept).translate(
        request.messages,
        tools.instructions,
        prefill=facts.prefill and answer_format is UNSET,
        earlier=earlier,
    )
    if instruction:
        conversation.system.append(anthropic.TextBlock(instruction))
    add_stubs(tools, conversation.tool_names)
    is_conversation = earlier is not None or bool(request.session_id) or _has_several_turns(request.messages)
    automatic = markers.automatic(settings.auto_cache, is_conversation=is_conversation, tools=bool(tools.tools))
    markers.settle(in_prompt_order(tools.tools, conversation.system, conversation.messages), automatic)
    return _Prompt(conversation, tools, answer_format, automatic, markers.longest_lifetime(automatic), content.media)


def _answer_count(request: openai.ChatRequest, history: SessionHistory | None) -> int:
    count = parameters.answer_count(request.n)
    if count > 1 and (history is not None or request.session_id):
        raise InvalidRequest("A session goes on with one answer: leave out 'n'.", param="n", code="unsupported_value")
    return count


def _beginning(messages: Sequence[openai.Message], earlier: Earlier | None) -> str:
    """What the user said first, cut short: it stays the same for the whole conversation."""
    entries: Iterable[Entry] = messages if earlier is None else chain(earlier.entries, messages)
    for message in entries:
        if isinstance(message, openai.UserMessage):
            content = message.content
            if isinstance(content, str):
                return content[:BEGINNING_CHARS]
            return next((part.text for part in content if isinstance(part, openai.TextPart)), "")[:BEGINNING_CHARS]
    return ""


def _has_several_turns(messages: Sequence[openai.Message]) -> bool:
    """Whether more than one message is not an instruction."""
    turns = (message for message in messages if not isinstance(message, _INSTRUCTIONS))
    return next(turns, None) is not None and next(turns, None) is not None


def _response_format(
    request: openai.ChatRequest, facts: ModelFacts, tools: ToolPlan, notes: Notes
) -> tuple[dict[str, Any] | UnsetType, str]:
    """``output_config.format``, or an instruction that stands for it (section 4)."""
    wanted = request.response_format
    if tools.structured_schema is not UNSET:
        if wanted is not None and not isinstance(wanted, openai.TextResponse):
            notes.ignore("response_format", "the answer is the call of the tool that was asked for")
        return {"type": "json_schema", "schema": tools.structured_schema}, ""
    if wanted is None or isinstance(wanted, openai.TextResponse):
        return UNSET, ""
    schema = b"" if isinstance(wanted, openai.JSONObjectResponse) else given_bytes(wanted.json_schema.schema)
    if not schema:
        notes.adjust("response_format", "instruction", "Claude has no mode for JSON without a schema")
        return UNSET, _JSON_ONLY
    reason = f"{facts.id} has no structured outputs"
    if facts.structured_outputs:
        try:
            return {"type": "json_schema", "schema": Raw(json_schema.transform(schema).json)}, ""
        except ValueError as error:
            reason = str(error)
    notes.adjust("response_format", "instruction", reason)
    return UNSET, f"Reply with one JSON value that satisfies this JSON schema and nothing else:\n{schema.decode()}"


def _output_config(
    request: openai.ChatRequest, thinking: ThinkingPlan, answer_format: dict[str, Any] | UnsetType, notes: Notes
) -> dict[str, Any] | UnsetType:
    """``output_config``; what the client gives of it in Anthropic's own words wins."""
    config: dict[str, Any] = {}
    if thinking.effort is not UNSET:
        config["effort"] = thinking.effort
    if answer_format is not UNSET:
        config["format"] = answer_format
    for key, path in (("effort", "reasoning_effort"), ("format", "response_format")):
        if key in config and key in (request.output_config or ()):
            notes.ignore(path, f"output_config.{key} wins over it")
    config.update(request.output_config or {})
    return config or UNSET


def _extended(body: bytes, extension: dict[str, Raw], settings: TranslationSettings, notes: Notes) -> bytes:
    """The body with the client's ``anthropic`` object over it, where the operator allows that."""
    if not settings.anthropic_extension:
        notes.ignore("anthropic", "the operator has not switched this extension on")
        return body
    fields = _FIELDS.decode(body)
    for name, value in extension.items():
        if name in ("model", "stream"):
            notes.ignore(f"anthropic.{name}", "the request itself says it")
        else:
            fields[name] = value
    return _ENCODER.encode(fields)


def _reply_plan(request: openai.ChatRequest, prompt: _Prompt, thinking: ThinkingPlan) -> ReplyPlan:
    tools = prompt.tools
    speaks_details = request.include_reasoning == "details" or prompt.conversation.has_reasoning_details
    return ReplyPlan(
        include_reasoning=thinking.is_shown,
        reasoning_details=thinking.is_shown and speaks_details,
        include_usage=request.stream_options is not None and bool(request.stream_options.include_usage),
        custom_tools=tools.custom_names,
        function_call=tools.is_legacy,
        structured_tool=tools.structured_tool,
        expects_tool_call=tools.expects_call,
        server_tools=tools.has_web_search,
    )
