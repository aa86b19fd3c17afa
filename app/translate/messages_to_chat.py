"""Anthropic's plain messages as one OpenAI ``chat.completion``. Table: spec/chat-completions.md section 5."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add

import msgspec
from msgspec import UNSET, Raw, Struct

from app.domain.calls import ReplyPlan, Report, Usage
from app.errors import BadUpstreamReply
from app.schemas.anthropic_reply import (
    Ending,
    Message,
    RedactedThinkingBlock,
    TextBlock,
    ThinkingBlock,
    ToolUseBlock,
    decode_block,
)
from app.schemas.openai_chat_reply import (
    Annotation,
    AssistantMessage,
    ChatCompletion,
    Choice,
    Custom,
    Function,
    ReasoningDetail,
    ToolCall,
)
from app.translate.annotations import split_citations
from app.translate.answer_content import content_to_keep
from app.translate.content_accumulator import sendable
from app.translate.reasoning import reasoning_detail
from app.translate.reply_report import reply_report
from app.translate.stop_reasons import PAUSE_TURN, finish_reason, refusal_text
from app.translate.tool_calls import arguments_text, completion_id, custom_input, structured_call_id
from app.translate.usage import chat_usage, service_tier, usage_of

_MESSAGE = msgspec.json.Decoder(Message)
_PLAIN = ReplyPlan()
_SHOWN = ReplyPlan(include_reasoning=True)
_encode = msgspec.json.encode


class ChatReply(Struct, frozen=True, kw_only=True):
    """A plain answer.

    Args:
        body: the ``chat.completion`` object as JSON.
        usage: tokens of all messages.
        usages: of each message, in order.
        finish_reasons: of the choices, in order.
        report: what only the answer could tell.
    """

    body: bytes
    usage: Usage
    usages: tuple[Usage, ...]
    finish_reasons: tuple[str, ...]
    report: Report


def to_chat(answers: Sequence[Sequence[bytes]], plan: ReplyPlan, *, created: int, mark: str = "") -> ChatReply:
    """One completion from the answers to ``n`` calls.

    Args:
        answers: for each choice the message as JSON, or the chain of messages that ``pause_turn`` made of it.
        plan: how the client wants the answer.
        created: Unix seconds.
        mark: where an answer comes from that was made for another request, see ``ChatUsage``.

    Raises:
        BadUpstreamReply: a message is not one.
    """
    try:
        chains = [[_message(body) for body in chain] for chain in answers]
        choices = [_Answer(chain, plan) for chain in chains]
        built = [choice.choice(index) for index, choice in enumerate(choices)]
    except (ValueError, RecursionError) as exc:
        raise BadUpstreamReply("The upstream answered something that is not a message.") from exc
    first = chains[0][0]
    usages = tuple(usage_of(message.usage) for chain in chains for message in chain)
    usage = reduce(add, usages)
    completion = ChatCompletion(
        id=completion_id(first.id),
        created=created,
        model=first.model,
        choices=built,
        usage=chat_usage(usage, mark=mark),
        service_tier=service_tier(usage) or UNSET,
    )
    return ChatReply(
        body=_encode(completion),
        usage=usage,
        usages=usages,
        finish_reasons=tuple(choice.finish_reason for choice in built),
        report=reply_report(plan, calls=[choice.calls for choice in choices]),
    )


def paused_content(body: bytes) -> bytes | None:
    """The content to continue a plain message with that ended with ``pause_turn``; None when it ended otherwise.

    Returns:
        A JSON array of content blocks, each as it was received, for an assistant turn after the request's messages.

    Raises:
        BadUpstreamReply: the message is not one.
    """
    try:
        message = _message(body)
        if message.stop_reason != PAUSE_TURN:
            return None
        return _encode(sendable(message.content))
    except (ValueError, RecursionError) as exc:
        raise BadUpstreamReply("The upstream answered something that is not a message.") from exc


def answer_content(chain: Sequence[bytes], plan: ReplyPlan = _PLAIN) -> list[Raw]:
    """The content of an answer, for keeping.

    Args:
        chain: the message as JSON, or the chain of messages that ``pause_turn`` made of it.
        plan: how the client was answered.

    Returns:
        Its blocks as they can stand in a later request, see ``content_to_keep``.

    Raises:
        BadUpstreamReply: a message is not one.
    """
    try:
        messages = [_message(body) for body in chain]
        blocks = [block for message in messages for block in message.content]
        return content_to_keep(blocks, plan, call_id=structured_call_id(messages[0].id))
    except (ValueError, RecursionError) as exc:
        raise BadUpstreamReply("The upstream answered something that is not a message.") from exc


def assistant_message(content: Sequence[Raw]) -> AssistantMessage:
    """An answer that was kept, as a reply shows it, with its thinking.

    Args:
        content: Anthropic's blocks.

    Raises:
        ValueError: a block is not one.
    """
    message = Message(id="", model="", content=list(content))
    return _Answer([message], _SHOWN).choice(0).message


def message_usage(body: bytes) -> Usage | None:
    """The tokens of one plain message, for a call that failed after it; None where it is not a message."""
    try:
        return usage_of(_message(body).usage)
    except (ValueError, RecursionError):
        return None


def _message(body: bytes) -> Message:
    if not body.isascii():
        body.decode()  # NOTE: msgspec looks at the UTF-8 of typed strings only, not of Raw
    return _MESSAGE.decode(body)


class _Answer:
    """One choice, collected block by block."""

    def __init__(self, chain: Sequence[Message], plan: ReplyPlan) -> None:
        last = chain[-1]
        self._plan = plan
        self._id = chain[0].id
        self._ending = Ending(last.stop_reason, last.stop_details)
        self._is_cut = finish_reason(last.stop_reason) == "length"
        self._texts: list[str] = []
        self._chars = 0
        self._calls_before_text = 0
        self._annotations: list[Annotation] = []
        self._citations: list[Raw] = []
        self._thinking: list[str] = []
        self._thinking_blocks: list[Raw] = []
        self._details: list[ReasoningDetail] = []
        self._calls: list[ToolCall] = []
        for message in chain:
            for block in message.content:
                self._add(block)
        self._answered_as_call = bool(plan.structured_tool) and self._chars > 0
        if self._answered_as_call:
            self._structure()

    @property
    def calls(self) -> int:
        """How many tools Claude called."""
        return len(self._calls)

    def _add(self, content_block: Raw) -> None:
        block = decode_block(content_block)
        match block:
            case TextBlock():
                self._add_text(block)
            case ThinkingBlock() | RedactedThinkingBlock():
                if isinstance(block, ThinkingBlock):
                    self._thinking.append(block.thinking)
                self._details.append(reasoning_detail(block, len(self._thinking_blocks)))
                self._thinking_blocks.append(content_block)
            case ToolUseBlock():
                self._calls.append(self._call(block.id, block.name, arguments_text(block.input, is_cut=self._is_cut)))
            case _:
                pass  # a server tool, or a kind we do not know: not shown

    def _add_text(self, block: TextBlock) -> None:
        start = self._chars
        if not start:
            self._calls_before_text = len(self._calls)
        self._texts.append(block.text)
        self._chars += len(block.text)
        if self._plan.structured_tool:
            return  # arguments of a call have no citations
        annotations, others = split_citations(block.citations or (), start=start, end=self._chars)
        self._annotations += annotations
        self._citations += others

    def _call(self, call_id: str, name: str, arguments: str) -> ToolCall:
        if name in self._plan.custom_tools:
            return ToolCall(id=call_id, type="custom", custom=Custom(name, custom_input(arguments)))
        return ToolCall(id=call_id, type="function", function=Function(name, arguments))

    def _structure(self) -> None:
        """The text of the answer is the arguments of the forced tool's call."""
        name = self._plan.structured_tool
        call = self._call(structured_call_id(self._id), name, "".join(self._texts))
        self._calls.insert(self._calls_before_text, call)
        self._texts = []

    def choice(self, index: int) -> Choice:
        """The choice at its place in the completion."""
        plan = self._plan
        refusal = refusal_text(self._ending)
        thinking = "".join(self._thinking) if plan.include_reasoning else ""
        details = self._details if plan.include_reasoning and plan.reasoning_details else []
        has_text = bool(self._texts) or not (self._calls or refusal)
        return Choice(
            index=index,
            message=AssistantMessage(
                content="".join(self._texts) if has_text else None,
                refusal=refusal,
                annotations=self._annotations,
                citations=self._citations or UNSET,
                reasoning_content=thinking or UNSET,
                thinking_blocks=(plan.include_reasoning and self._thinking_blocks) or UNSET,
                reasoning=(thinking if plan.reasoning_details else "") or UNSET,
                reasoning_details=details or UNSET,
                tool_calls=(self._calls if not plan.function_call else []) or UNSET,
                function_call=self._calls[0].function if plan.function_call and self._calls else UNSET,
            ),
            finish_reason=finish_reason(
                self._ending.stop_reason, function_call=plan.function_call, answered_as_call=self._answered_as_call
            ),
        )
