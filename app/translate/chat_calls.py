"""What a tool call adds to a stream of ``chat.completion.chunk`` frames; the four forms that a client may want.

Each is a ``Block`` of ``chat_blocks.py``, except ``StructuredCall``, which stands behind the text blocks of an answer.
"""

from __future__ import annotations

from app.domain.calls import ReplyPlan
from app.schemas.anthropic_reply import Delta, InputJsonDelta, TextBlock, TextDelta, ToolUseBlock
from app.schemas.openai_chat_reply import ChunkDelta, Custom, Function, ToolCall
from app.translate.chat_blocks import Progress
from app.translate.chat_chunks import ChunkWriter
from app.translate.tool_calls import arguments_text, custom_input


class FunctionToolCall:
    """A call of a function: its name at once, its arguments as they come."""

    __slots__ = ("_block", "_frame", "_has_arguments", "_index", "_writer")

    def __init__(self, block: ToolUseBlock, writer: ChunkWriter, progress: Progress) -> None:
        self._block = block
        self._writer = writer
        self._index = progress.tool_calls
        progress.tool_calls += 1
        self._frame = writer.text_frame(b'{"tool_calls":[{"index":%d,"function":{"arguments":' % self._index, b"}}]}")
        self._has_arguments = False

    def open(self) -> bytes:
        """Id and name."""
        call = ToolCall(
            index=self._index, id=self._block.id, type="function", function=Function(self._block.name, arguments="")
        )
        return self._writer.delta(ChunkDelta(tool_calls=[call]))

    def add(self, delta: Delta) -> bytes:
        """More of the arguments, as Anthropic cut them."""
        return self.add_text(delta.partial_json) if type(delta) is InputJsonDelta else b""

    def add_text(self, text: str) -> bytes:
        """More of the arguments."""
        if not text:
            return b""
        self._has_arguments = True
        return self._frame(text)

    def close(self) -> bytes:
        """The arguments of a call that came without deltas, most often ``{}``."""
        return b"" if self._has_arguments else self._frame(arguments_text(self._block.input))


class LegacyFunctionCall(FunctionToolCall):
    """The same in the form of the deprecated ``functions``, which has no id and room for one call only."""

    __slots__ = ()

    def __init__(self, block: ToolUseBlock, writer: ChunkWriter, progress: Progress) -> None:
        super().__init__(block, writer, progress)
        self._frame = writer.text_frame(b'{"function_call":{"arguments":', b"}}")

    def open(self) -> bytes:
        """The name."""
        return self._writer.delta(ChunkDelta(function_call=Function(self._block.name, arguments="")))


class CustomToolCall:
    """A call of a custom tool: its free text is inside JSON, so it is sent when the JSON is complete."""

    __slots__ = ("_block", "_index", "_pieces", "_writer")

    def __init__(self, block: ToolUseBlock, writer: ChunkWriter, progress: Progress) -> None:
        self._block = block
        self._writer = writer
        self._index = progress.tool_calls
        progress.tool_calls += 1
        self._pieces: list[str] = []

    def open(self) -> bytes:
        """Nothing yet."""
        return b""

    def add(self, delta: Delta) -> bytes:
        """Collects."""
        return self.add_text(delta.partial_json) if type(delta) is InputJsonDelta else b""

    def add_text(self, text: str) -> bytes:
        """Collects."""
        self._pieces.append(text)
        return b""

    def close(self) -> bytes:
        """The whole call."""
        text = custom_input("".join(self._pieces) or arguments_text(self._block.input))
        call = ToolCall(index=self._index, id=self._block.id, type="custom", custom=Custom(self._block.name, text))
        return self._writer.delta(ChunkDelta(tool_calls=[call]))


def tool_call(
    block: ToolUseBlock, writer: ChunkWriter, plan: ReplyPlan, progress: Progress
) -> FunctionToolCall | CustomToolCall:
    """The form in which the client wants a call of this tool."""
    if plan.function_call:
        return LegacyFunctionCall(block, writer, progress)
    if block.name in plan.custom_tools:
        return CustomToolCall(block, writer, progress)
    return FunctionToolCall(block, writer, progress)


class StructuredCall:
    """The one call that stands for a structured answer: the client forced a tool, and the model refuses forced tools.

    All text of the answer is the call's arguments (``ReplyPlan.structured_tool``).
    """

    __slots__ = ("_block", "_call", "_plan", "_progress", "_writer")

    def __init__(self, block: ToolUseBlock, writer: ChunkWriter, plan: ReplyPlan, progress: Progress) -> None:
        self._block = block
        self._writer = writer
        self._plan = plan
        self._progress = progress
        self._call: FunctionToolCall | CustomToolCall | None = None

    @property
    def has_begun(self) -> bool:
        """Whether there was any text."""
        return self._call is not None

    def add_text(self, text: str) -> bytes:
        """More of the answer."""
        if not text:
            return b""
        if self._call is not None:
            return self._call.add_text(text)
        self._call = tool_call(self._block, self._writer, self._plan, self._progress)
        return self._call.open() + self._call.add_text(text)

    def close(self) -> bytes:
        """The answer is complete."""
        return self._call.close() if self._call is not None else b""


class StructuredText:
    """A text block of a structured answer."""

    __slots__ = ("_call", "_start")

    def __init__(self, block: TextBlock, call: StructuredCall) -> None:
        self._start = block.text
        self._call = call

    def open(self) -> bytes:
        """The text that the block begins with."""
        return self._call.add_text(self._start)

    def add(self, delta: Delta) -> bytes:
        """More text."""
        return self._call.add_text(delta.text) if type(delta) is TextDelta else b""

    def close(self) -> bytes:
        """Nothing: another text block may follow."""
        return b""
