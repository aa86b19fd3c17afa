"""A chat history as Anthropic's ``system`` and ``messages`` (``spec/chat-completions.md`` section 2).

One method per role, and one for answers of a session's history, which go back as they came. Leading instructions go to
``system``; every run of tool results becomes one user turn; calls and results are paired by id, and legacy functions by
order and name. Where later instructions go is ``system_turns``' rule.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Final, cast

import msgspec
from msgspec import UNSET, Raw, Struct

from app.domain.models import ModelFacts
from app.errors import InvalidRequest
from app.schemas import anthropic
from app.schemas import openai_chat as openai
from app.translate import system_turns, thinking_blocks
from app.translate.content import ContentTranslator
from app.translate.earlier import AnswerTurn, Earlier, Entry
from app.translate.kept_thinking import matching_content
from app.translate.notes import Notes
from app.translate.prompt_caching import CacheMarkers
from app.translate.raw import is_given
from app.translate.received import is_thought
from app.translate.settings import TranslationSettings

#: Anthropic's bound on messages in one request.
MAX_MESSAGES: Final = 100_000

#: Names of tools and functions, as both APIs accept them.
TOOL_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")

_BAD_ID_CHARACTER: Final = re.compile(r"[^a-zA-Z0-9_-]")
_ARGUMENTS: Final = msgspec.json.Decoder()
_STRING: Final = msgspec.json.Decoder(str)
_CALL: Final = b'"tool_use"'
#: What a call of a session came to that is not answered.
_NO_RESULT: Final = "There is no result: the conversation went on without it."


class Conversation(Struct):
    """A history, translated.

    Args:
        system: the top-level ``system``.
        messages: the turns.
        thinking: messages with replayed thinking, and the path it came from; no path where the client did not send it.
        tool_names: names of tools that were called, in order of their first call.
        has_reasoning_details: the client speaks OpenRouter's form of thinking.
        restored: how many messages with calls are sent as they were kept.
        lost: of how many messages with calls nothing was kept, nor thinking sent by the client.
        broken_at: so many of ``thinking`` stand before the last message whose thinking is missing.
    """

    system: list[anthropic.TextBlock]
    messages: list[anthropic.Message]
    thinking: list[tuple[anthropic.Message, str]]
    tool_names: list[str]
    has_reasoning_details: bool
    restored: int = 0
    lost: int = 0
    broken_at: int = 0


class _OpenCall(Struct):
    """A call that waits for its result.

    Args:
        id: Anthropic's.
        name: of the tool.
        is_legacy: a function's message answers it, by its name.
        is_earlier: of a session's history: either kind of message may answer it, or none.
    """

    id: str
    name: str
    is_legacy: bool = False
    is_earlier: bool = False
    result: anthropic.ToolResultBlock | None = None


class TurnTranslator:
    """Translates the messages of one request, in order.

    Messages are counted as the client counts them; those of a history before them have negative numbers.

    Args:
        facts: of the model.
        settings: the operator's choices.
        content: translates parts.
        markers: the request's cache markers.
        notes: where changes are reported.
        kept: contents of earlier answers by the id of their first tool call; None where none are kept.
    """

    def __init__(
        self,
        facts: ModelFacts,
        settings: TranslationSettings,
        content: ContentTranslator,
        markers: CacheMarkers,
        notes: Notes,
        kept: Mapping[str, bytes] | None = None,
    ) -> None:
        self._kept = kept
        self._facts = facts
        self._settings = settings
        self._content = content
        self._markers = markers
        self._notes = notes
        self._system: list[anthropic.TextBlock] = []
        self._messages: list[anthropic.Message] = []
        self._waiting: list[anthropic.TextBlock] = []
        self._open: dict[str, _OpenCall] = {}
        self._open_index = 0
        self._before = 0
        self._prefills = False
        self._used_ids: dict[str, int] = {}
        self._started = False
        self._emptied_index = -1
        self._thinking: list[tuple[anthropic.Message, str]] = []
        self._tool_names: dict[str, None] = {}
        self._has_reasoning_details = False
        self._restored = 0
        self._lost = 0
        self._broken_at = 0

    def translate(
        self,
        messages: Sequence[openai.Message],
        instructions: Sequence[str],
        *,
        prefill: bool,
        earlier: Earlier | None = None,
    ) -> Conversation:
        """Translates a whole history.

        Args:
            messages: the client's.
            instructions: texts of the gateway's own, put at the end as a later system message is.
            prefill: the model may be made to continue a trailing assistant turn.
            earlier: what a session has before the client's messages.

        Raises:
            InvalidRequest: a message cannot be served; ``param`` is its path.
        """
        if not messages:
            raise InvalidRequest("A conversation needs at least one message.", param="messages", code="invalid_value")
        if len(messages) > MAX_MESSAGES:
            raise InvalidRequest(
                f"A conversation has at most {MAX_MESSAGES} messages.", param="messages", code="invalid_value"
            )
        if earlier is None:
            self._add(enumerate(messages))
        else:
            self._go_on(messages, earlier, prefill=prefill)
        if self._open:
            self._close_results()
        last = len(messages) - 1
        if self._emptied_index == last:
            raise InvalidRequest(
                "The last message has no content.", param=f"messages[{last}].content", code="invalid_value"
            )
        self._begin_with_user()
        self._end(last, instructions, prefill=prefill)
        return Conversation(
            self._system,
            self._messages,
            self._thinking,
            list(self._tool_names),
            self._has_reasoning_details,
            self._restored,
            self._lost,
            self._broken_at,
        )

    def check(self, messages: Sequence[openai.Message], earlier: Earlier) -> None:
        """Refuses messages after which no conversation could go on; their last calls may have results later.

        Args:
            messages: that shall be kept.
            earlier: what a session has before them.

        Raises:
            InvalidRequest: as ``translate``.
        """
        self._go_on(messages, earlier, prefill=False)

    def _go_on(self, messages: Sequence[openai.Message], earlier: Earlier, *, prefill: bool) -> None:
        self._add_earlier(earlier, prefill=prefill)
        self._add(islice(enumerate(messages), earlier.repeated, None))

    def _add(self, entries: Iterable[tuple[int, Entry]]) -> None:
        for index, message in entries:
            _METHODS[type(message)](self, index, message)

    def _add_earlier(self, earlier: Earlier, *, prefill: bool) -> None:
        """The history of a session, whose changes were reported when its messages were new.

        Raises:
            InvalidRequest: this request cannot go on with it, such as a model that takes no images.
        """
        count = len(earlier.entries)
        self._before = earlier.dropped + count
        self._prefills = prefill
        self._notes.muted = True
        try:
            self._add(enumerate(earlier.entries, -count))
        except InvalidRequest as error:
            raise InvalidRequest(
                f"The session cannot go on with this request: {error.message}", param="session_id", code=error.code
            ) from error
        self._notes.muted = False
        self._before -= earlier.repeated

    def _add_system(self, index: int, message: openai.SystemMessage | openai.DeveloperMessage) -> None:
        blocks = self._content_of(message, index)
        leading = not self._started or self._settings.later_system == "hoist"
        (self._system if leading else self._waiting).extend(blocks)

    def _add_user(self, index: int, message: openai.UserMessage) -> None:
        self._started = True
        if self._open:
            self._close_results()
        blocks = self._content_of(message, index)
        if not blocks:
            self._emptied_index = index
            return
        if self._waiting and not self._facts.mid_conversation_system:
            blocks = [*system_turns.reminders(self._take_waiting()), *blocks]
        self._messages.append(anthropic.Message("user", blocks))

    def _add_assistant(self, index: int, message: openai.AssistantMessage) -> None:
        self._started = True
        if self._open:
            self._close_results()
        blocks: list[Any] = self._content.blocks(message.content, index)
        if message.refusal and not message.refusal.isspace():
            blocks.append(anthropic.TextBlock(message.refusal))
        if message.tool_calls or message.function_call is not None:
            blocks.extend(self._calls(message, index))
        thought_path: str | None = None
        if (
            self._kept is not None
            or message.thinking_blocks
            or message.reasoning_details
            or message.reasoning_content
            or message.reasoning
        ):
            blocks, thought_path = self._with_thinking(message, blocks, index)
        if message.name is not None or message.cache_control is not None:
            self._common(message, blocks, index)
        if is_given(message.audio):
            self._notes.ignore(f"messages[{index}].audio", "Claude takes only the text of earlier answers")
        if not blocks:
            return
        if self._waiting:
            self._place_waiting()
        turn = anthropic.Message("assistant", blocks)
        self._messages.append(turn)
        if thought_path is not None:
            self._thinking.append((turn, thought_path))
            self._has_reasoning_details |= bool(message.reasoning_details)

    def _with_thinking(
        self, message: openai.AssistantMessage, blocks: list[Any], index: int
    ) -> tuple[list[Any], str | None]:
        """An assistant message with its thinking: as it was kept, or as the client sends it.

        Returns:
            The blocks, and the path of the thinking among them: empty where it was kept, None where there is none.
        """
        is_kept = self._kept is not None and bool(message.tool_calls)
        if is_kept and (received := self._restored_content(message, blocks)) is not None:
            return received, "" if any(map(is_thought, received)) else None
        thought, path = thinking_blocks.of_message(message, index, self._notes)
        if thought and blocks:
            return [*thought, *blocks], path
        if thought:
            self._notes.ignore(path, "thinking without an answer cannot be replayed")
        elif is_kept:
            self._lost += 1
            self._broken_at = len(self._thinking)
        return blocks, None

    def _restored_content(
        self, message: openai.AssistantMessage, blocks: Sequence[anthropic.Block]
    ) -> list[anthropic.ReceivedBlock] | None:
        """What was kept of an answer that the client sends back, where it still says the same."""
        first_call = (message.tool_calls or [])[0]
        content = (self._kept or {}).get(first_call.id)
        received = None if content is None else matching_content(content, blocks)
        if received is not None:
            self._restored += 1
            self._markers.hand_on(blocks, next(block for block in reversed(received) if not is_thought(block)))
        return received

    def _add_answer(self, index: int, answer: AnswerTurn) -> None:
        """An answer of a session's history, block by block as it came."""
        self._started = True
        if self._open:
            self._close_results()
        thoughts = sum(map(is_thought, answer.content))
        if thoughts == len(answer.content):  # thinking without an answer cannot be replayed
            self._broken_at = len(self._thinking) if thoughts else self._broken_at
            return
        self._open_index = index
        for block in answer.content:
            if bytes(block["type"]) == _CALL:
                id_, name = _STRING.decode(block["id"]), _STRING.decode(block["name"])
                self._fresh_id(id_)  # taken: a later one of the client's has to differ
                self._open[id_] = _OpenCall(id_, name, is_earlier=True)
                self._tool_names[name] = None
        if self._waiting:
            self._place_waiting()
        if self._messages and self._messages[-1].role == "assistant" and not self._prefills:
            self._messages.append(_go_on())  # as when the answer was made
        turn = anthropic.Message("assistant", [*answer.content])
        self._messages.append(turn)
        if thoughts:
            self._thinking.append((turn, ""))

    def _calls(self, message: openai.AssistantMessage, index: int) -> list[anthropic.ToolUseBlock]:
        blocks = []
        self._open_index = index
        for at, call in enumerate(message.tool_calls or ()):
            input_: Raw | dict[str, Any]
            if isinstance(call, openai.FunctionToolCall):
                name = call.function.name
                input_ = self._arguments(call.function.arguments, index, f"tool_calls[{at}]")
            else:
                name, input_ = call.custom.name, {"input": call.custom.input}
            id_ = self._open_call(call.id, name, index, f"tool_calls[{at}]")
            blocks.append(anthropic.ToolUseBlock(id_, name, input_))
        if message.function_call is not None:
            function = message.function_call
            input_ = self._arguments(function.arguments, index, "function_call")
            id_ = self._open_call(f"fn_{self._before + index}", function.name, index, "function_call", is_legacy=True)
            blocks.append(anthropic.ToolUseBlock(id_, function.name, input_))
        return blocks

    def _open_call(self, id_: str, name: str, index: int, where: str, *, is_legacy: bool = False) -> str:
        """Remembers a call that must be answered; returns its id as Anthropic takes it."""
        if not is_tool_name(name):
            raise bad_tool_name(f"messages[{index}].{where}")
        if not id_ or id_ in self._open:
            raise InvalidRequest(
                "Every tool call needs an id of its own.", param=f"messages[{index}].{where}.id", code="invalid_value"
            )
        clean = self._fresh_id(id_ if id_.isidentifier() and id_.isascii() else _BAD_ID_CHARACTER.sub("_", id_))
        self._open[id_] = _OpenCall(clean, name, is_legacy=is_legacy, is_earlier=index < 0)
        self._tool_names[name] = None
        return clean

    def _fresh_id(self, id_: str) -> str:
        """An id that no earlier call has: Anthropic wants them unique in a conversation, OpenAI in a message only."""
        fresh, number = id_, self._used_ids.get(id_, 0)
        while fresh in self._used_ids:
            number += 1
            fresh = f"{id_}_{number}"
        self._used_ids[id_] = max(number, 1)  # where to go on, so that a thousand calls of one id take a thousand steps
        self._used_ids.setdefault(fresh, 1)
        return fresh

    def _arguments(self, text: str, index: int, where: str) -> Raw | dict[str, Any]:
        """Arguments as a JSON object; ones the model got wrong are wrapped, so that the history stays readable."""
        if not text or text.isspace():
            return {}
        encoded = text.encode()
        try:
            value = _ARGUMENTS.decode(encoded)
        except (msgspec.DecodeError, RecursionError):
            wrapped: dict[str, Any] = {"_raw_arguments": text}
            reason = "the arguments are not valid JSON"
        else:
            if isinstance(value, dict):
                return Raw(encoded)
            wrapped = {"_value": Raw(encoded)}
            reason = "the arguments are not a JSON object"
        self._notes.adjust(f"messages[{index}].{where}.arguments", "wrapped", reason)
        return wrapped

    def _add_tool(self, index: int, message: openai.ToolMessage) -> None:
        call = self._open.get(message.tool_call_id)
        if call is None or call.is_legacy:
            raise InvalidRequest(
                "A message with role 'tool' must answer a tool call of the assistant message before it by its id.",
                param=f"messages[{index}]",
                code="invalid_value",
            )
        content: Any = message.content
        if not isinstance(content, str):
            content = self._content.blocks(content, index)
        result = self._answer(call, content, index, is_error=bool(message.is_error))
        if message.name is not None or message.cache_control is not None:
            self._common(message, [result], index)

    def _add_function(self, index: int, message: openai.FunctionMessage) -> None:
        waiting = (
            call
            for call in self._open.values()
            if (call.is_legacy or (call.is_earlier and call.result is None)) and call.name == message.name
        )
        call = next(waiting, None)
        if call is None:
            raise InvalidRequest(
                "A message with role 'function' must answer the function_call of the assistant message before it.",
                param=f"messages[{index}]",
                code="invalid_value",
            )
        result = self._answer(call, message.content, index, is_error=False)
        if message.cache_control is not None:
            self._markers.mark_last(message.cache_control, [result], f"messages[{index}]")

    def _answer(self, call: _OpenCall, content: Any, index: int, *, is_error: bool) -> anthropic.ToolResultBlock:
        if call.result is not None:
            raise InvalidRequest(
                "This tool call was answered before.", param=f"messages[{index}]", code="invalid_value"
            )
        call.result = anthropic.ToolResultBlock(call.id, content or UNSET, is_error or UNSET)
        return call.result

    def _content_of(
        self, message: openai.SystemMessage | openai.DeveloperMessage | openai.UserMessage, index: int
    ) -> list[Any]:
        blocks = self._content.blocks(message.content, index)
        if message.name is not None or message.cache_control is not None:
            self._common(message, blocks, index)
        return blocks

    def _common(self, message: openai.Message, blocks: list[Any], index: int) -> None:
        """What every message may carry: a name, which Claude has no place for, and a cache marker."""
        path = f"messages[{index}]"
        if message.name is not None:
            self._notes.ignore(f"{path}.name", "Claude does not know names of participants")
        if message.cache_control is not None:
            self._markers.mark_last(message.cache_control, blocks, path)

    def _close_results(self) -> None:
        """Ends a run of results: one user turn, in the order of the calls; every call must have its own.

        A client can leave a call out of the conversation by leaving out the message that made it, but not where the
        session has it: so calls of its history may go without a result.
        """
        for call in self._open.values():
            if call.result is None and call.is_earlier:
                call.result = anthropic.ToolResultBlock(call.id, _NO_RESULT, is_error=True)
                self._notes.adjust("messages", "tool result added", "a tool call of the session has no answer")
        blocks: list[Any] = [call.result for call in self._open.values() if call.result is not None]
        if len(blocks) < len(self._open):
            missing = sum(call.result is None for call in self._open.values())
            raise InvalidRequest(
                "An assistant message with tool calls must be followed by messages that answer each of them;"
                f" {missing} of {len(self._open)} have no answer.",
                param=f"messages[{self._open_index}]",
                code="invalid_value",
            )
        if self._waiting and not self._facts.mid_conversation_system:
            blocks.extend(system_turns.reminders(self._take_waiting()))
        self._messages.append(anthropic.Message("user", blocks))
        self._open = {}

    def _take_waiting(self) -> list[anthropic.TextBlock]:
        waiting, self._waiting = self._waiting, []
        return waiting

    def _place_waiting(self) -> None:
        """Later instructions find their place at the latest here: before an assistant turn, or at the end."""
        system_turns.place(self._take_waiting(), self._messages, inline=self._facts.mid_conversation_system)

    def _begin_with_user(self) -> None:
        """The first turn must be the user's."""
        if not self._messages or self._messages[0].role != "user":
            self._messages.insert(0, anthropic.Message("user", [anthropic.TextBlock("(start)")]))
            self._notes.adjust("messages", "user turn prepended", "a conversation with Claude starts with the user")

    def _end(self, last: int, instructions: Sequence[str], *, prefill: bool) -> None:
        """The last turn must be the user's, except for a prefill; instructions of the gateway come after everything."""
        self._waiting.extend(anthropic.TextBlock(text) for text in instructions)
        if self._waiting and not self._facts.mid_conversation_system:
            self._place_waiting()
        if self._messages[-1].role == "assistant":
            if not prefill or self._waiting or isinstance(self._messages[-1].content[-1], dict):
                self._continue(last)
            else:
                _strip_end(self._messages)
        if self._waiting:
            self._place_waiting()

    def _continue(self, last: int) -> None:
        if self._settings.last_assistant == "error":
            raise InvalidRequest(
                f"{self._facts.id} cannot continue an assistant message. End the conversation with a user message.",
                param=f"messages[{last}]",
                code="unsupported_value",
            )
        self._messages.append(_go_on())
        self._notes.adjust(f"messages[{last}]", "user turn appended", "the model cannot continue an assistant message")


_METHODS: Final[dict[type[Any], Callable[[TurnTranslator, int, Any], None]]] = {
    openai.SystemMessage: TurnTranslator._add_system,
    openai.DeveloperMessage: TurnTranslator._add_system,
    openai.UserMessage: TurnTranslator._add_user,
    openai.AssistantMessage: TurnTranslator._add_assistant,
    openai.ToolMessage: TurnTranslator._add_tool,
    openai.FunctionMessage: TurnTranslator._add_function,
    AnswerTurn: TurnTranslator._add_answer,
}


def is_tool_name(name: str) -> bool:
    """Whether both APIs accept the name of a tool."""
    return (name.isidentifier() and name.isascii() and len(name) <= 64) or TOOL_NAME.fullmatch(name) is not None


def bad_tool_name(path: str) -> InvalidRequest:
    """The error for a name that neither API accepts."""
    return InvalidRequest(
        "A tool's name has 1 to 64 letters, digits, underscores and dashes.", param=path, code="invalid_value"
    )


def _go_on() -> anthropic.Message:
    return anthropic.Message("user", [anthropic.TextBlock("Continue.")])


def _strip_end(messages: list[anthropic.Message]) -> None:
    """Claude refuses a prefill that ends in white space."""
    last = cast("anthropic.TextBlock", messages[-1].content[-1])  # calls have been answered, thinking stands first
    last.text = last.text.rstrip()
