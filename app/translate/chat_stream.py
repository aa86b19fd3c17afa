"""Anthropic's event stream as OpenAI's ``chat.completion.chunk`` frames: bytes in, bytes out, nothing held back.

``ChatStream`` knows the course of a message (start, blocks, end, pause, error); what a block becomes is in
``chat_blocks.py`` and ``chat_calls.py``, how a frame is written in ``chat_chunks.py``. Table:
spec/chat-completions.md section 5, "Stream".
"""

from __future__ import annotations

import msgspec
from msgspec import Raw

from app.domain.calls import ReplyPlan, Report, Usage
from app.domain.output_meter import DEFAULT_RATIOS, MessageUsage, OutputMeter, TokenRatios
from app.errors import BadUpstreamReply, UpstreamError
from app.schemas.anthropic_reply import (
    ContentBlockDelta,
    ContentBlockStart,
    ContentBlockStop,
    Ending,
    Event,
    Message,
    MessageDelta,
    MessageStart,
    Ping,
    RedactedThinkingBlock,
    TextBlock,
    ThinkingBlock,
    ToolUseBlock,
    UsageFields,
    decode_block,
)
from app.schemas.openai_chat_reply import ChunkDelta
from app.schemas.sse import DONE, PING
from app.translate.answer_content import content_to_keep
from app.translate.chat_blocks import Block, ContentText, HiddenBlock, KeptBlock, Progress, Reasoning
from app.translate.chat_calls import StructuredCall, StructuredText, tool_call
from app.translate.chat_chunks import ChunkWriter, TextFrame
from app.translate.content_accumulator import ContentAccumulator
from app.translate.reply_report import reply_report
from app.translate.stop_reasons import PAUSE_TURN, finish_reason, refusal_text
from app.translate.tool_calls import completion_id, structured_call_id
from app.translate.upstream_events import UpstreamEvents
from app.translate.usage import chat_usage, service_tier, usage_of

_MESSAGE = msgspec.json.Decoder(Message)
_ENDING = msgspec.json.Decoder(Ending)
_USAGE = msgspec.json.Decoder(UsageFields)
_encode = msgspec.json.encode


class _OpenBlocks(dict[int, Block]):
    """The content blocks that have begun and not ended, by index."""

    def __missing__(self, index: int) -> Block:
        raise BadUpstreamReply(f"The upstream continued content block {index}, which it had not begun.")


class ChatStream:
    """One choice of a streamed chat completion.

    Feed it the upstream's bytes, cut anywhere, and send on what it returns. It never raises for what the upstream does:
    after any call look at ``error``.

    Args:
        plan: how the client wants the answer.
        created: Unix seconds, for every chunk.
        index: of the choice.
        id: of the completion, where several choices share one; by default it comes from the message.
        continue_pauses: an answer that ends with ``pause_turn`` waits for ``resume`` or ``give_up_pause``.
        keep_content: ``content`` will be asked for.

    Attributes:
        started: a data frame was returned, so an error can only be told in band. Comments do not count.
        has_content: a frame with a part of the answer was returned.
        stopped: the answer is complete; only ``closing`` is left.
        paused: the upstream's message is complete, the answer is not.
        finish_reason: OpenAI's, once it was sent.
        id: of the completion; empty until the message has begun.
        model: as Anthropic named it.
    """

    def __init__(
        self,
        plan: ReplyPlan,
        *,
        created: int,
        index: int = 0,
        id: str | None = None,  # noqa: A002 - the name on the wire
        continue_pauses: bool = False,
        keep_content: bool = False,
    ) -> None:
        self._plan = plan
        self._created = created
        self._index = index
        self._continue_pauses = continue_pauses
        self._keeps_blocks = continue_pauses or keep_content
        self._events = UpstreamEvents()
        self._blocks = _OpenBlocks()
        self._progress = Progress()
        self._content = ContentAccumulator()
        self._earlier_content: list[Raw] = []
        self._structured: StructuredCall | None = None
        self._structured_id = ""
        self._ending = Ending()
        self._usage_before = Usage()
        self._meter = OutputMeter()
        self._earlier_meters: tuple[OutputMeter, ...] = ()
        self._held = b""
        self._writer: ChunkWriter
        self._text_frame: TextFrame
        self.started = False
        self.has_content = False
        self.stopped = False
        self.paused = False
        self.finish_reason: str | None = None
        self.id = id or ""
        self.model = ""

    @property
    def error(self) -> UpstreamError | None:
        """Why the stream failed, once it has.

        The frames before the failure were returned, no more will come. An error event is an ``UpstreamStatus`` with the
        status that its type has over plain HTTP.
        """
        return self._events.error

    @property
    def stop_reason(self) -> str | None:
        """Why Claude stopped, in Anthropic's words."""
        return self._ending.stop_reason

    @property
    def usage(self) -> Usage:
        """Tokens reported so far, those of paused messages included."""
        return self._usage_before + self._meter.usage

    @property
    def meters(self) -> tuple[OutputMeter, ...]:
        """What was measured of each upstream message that has begun: one, or the chain that ``pause_turn`` made."""
        return (*self._earlier_meters, self._meter) if self._meter.begun else self._earlier_meters

    def usages(self, ratios: TokenRatios = DEFAULT_RATIOS) -> list[MessageUsage]:
        """The tokens of each upstream message that has begun; estimated where it broke off."""
        return [meter.usage_so_far(ratios) for meter in self.meters]

    @property
    def report(self) -> Report:
        """What only the answer could tell; complete once ``stopped``."""
        return reply_report(self._plan, calls=[self._progress.tool_calls])

    @property
    def content(self) -> list[Raw]:
        """The blocks of the answer so far, those of paused messages included, see ``content_to_keep``.

        Only with ``keep_content`` or ``continue_pauses``.

        Raises:
            BadUpstreamReply: parts of a block do not fit together.
        """
        try:
            blocks = [*self._earlier_content, *self._content.blocks()]
            return content_to_keep(blocks, self._plan, call_id=self._structured_id)
        except (ValueError, RecursionError) as exc:
            raise BadUpstreamReply("The upstream sent an event that is not part of its protocol.") from exc

    def feed(self, data: bytes) -> bytes:
        """The frames that ``data`` completes, in order; empty when there are none."""
        if self._held:
            return self._take_held()
        frames: list[bytes] = []
        blocks, meter = self._blocks, self._meter
        try:
            for event in self._events.feed(data):
                if type(event) is ContentBlockDelta:
                    frame = blocks[event.index].add(event.delta)
                    if frame:
                        frames.append(frame)
                        self.has_content = True
                    meter.add(event.delta)
                else:
                    frames.append(self._follow(event))
        except UpstreamError as error:
            self._events.error = error
        except (msgspec.DecodeError, RecursionError):
            self._events.error = BadUpstreamReply("The upstream sent an event that is not part of its protocol.")
        return b"".join(frames)

    def end(self) -> bytes:
        """The upstream's body is over; sets ``error`` if the message is not complete."""
        self._events.end()
        return self._take_held()

    def closing(self, usage: Usage | None = None, *, mark: str = "") -> bytes:
        """The last frames of the client's stream: the usage chunk, if it was asked for, and ``[DONE]``.

        Args:
            usage: of all choices; by default that of this one.
            mark: where an answer comes from that was made for another request, see ``ChatUsage``.
        """
        if not self._plan.include_usage:
            return DONE
        return self._writer.usage(chat_usage(self.usage if usage is None else usage, mark=mark)) + DONE

    def continuation(self) -> bytes:
        """The content of the paused message, for the next request: a JSON array of its blocks as they were received."""
        return _encode(self._content.sendable_blocks())

    def resume(self) -> None:
        """The next upstream reply, to the continued request, follows."""
        self._usage_before = self.usage
        self._earlier_meters = self.meters
        self._meter = OutputMeter()
        self._events = UpstreamEvents()
        self._earlier_content += self._content.blocks()
        self._content = ContentAccumulator()
        self._ending = Ending()
        self.paused = False

    def give_up_pause(self) -> None:
        """No further continuation: the answer ends as it is. Its last frames come with the next ``feed`` or ``end``."""
        self.paused = False
        self._held = self._finish()
        self.stopped = True

    def _take_held(self) -> bytes:
        held, self._held = self._held, b""
        return held

    # One method per event.

    def _follow(self, event: Event) -> bytes:
        match event:
            case ContentBlockStart():
                return self._open_block(event)
            case ContentBlockStop():
                return self._close_block(event)
            case Ping():
                return PING
            case MessageStart():
                return self._start(event)
            case MessageDelta():
                return self._note_ending(event)
            case _:  # MessageStop; UpstreamEvents has raised what an ErrorEvent means
                return self._stop()

    def _start(self, event: MessageStart) -> bytes:
        message = _MESSAGE.decode(event.message)
        self._meter.begin(usage_of(message.usage))
        if self.started:
            return b""
        self.started = True
        self.model = message.model
        self.id = self.id or completion_id(message.id)
        self._writer = writer = ChunkWriter(
            id=self.id,
            created=self._created,
            model=self.model,
            index=self._index,
            with_usage=self._plan.include_usage,
        )
        self._text_frame = writer.text_frame(b'{"content":', b"}")
        if self._plan.structured_tool:
            self._structured_id = structured_call_id(message.id)
            call = ToolUseBlock(self._structured_id, self._plan.structured_tool)
            self._structured = StructuredCall(call, writer, self._plan, self._progress)
        return writer.first(service_tier=service_tier(self._meter.usage))

    def _open_block(self, event: ContentBlockStart) -> bytes:
        block = self._block(event.content_block)
        if self._keeps_blocks:
            block = KeptBlock(block, self._content.start(event))
        self._blocks[event.index] = block
        return block.open()

    def _block(self, content_block: Raw) -> Block:
        block = decode_block(content_block)
        self._meter.open_block(block)
        match block:
            case TextBlock() if self._structured is not None:
                return StructuredText(block, self._structured)
            case TextBlock():
                return ContentText(block, self._writer, self._text_frame, self._progress)
            case ThinkingBlock() | RedactedThinkingBlock() if self._plan.include_reasoning:
                start = block.thinking if isinstance(block, ThinkingBlock) else ""
                details = self._plan.reasoning_details
                return Reasoning(content_block, start, self._writer, self._progress, with_details=details)
            case ToolUseBlock() if not (self._plan.function_call and self._progress.tool_calls):
                return tool_call(block, self._writer, self._plan, self._progress)
            case ToolUseBlock():
                self._progress.tool_calls += 1  # NOTE: function_call has room for one; the report tells of the others
        return HiddenBlock()

    def _close_block(self, event: ContentBlockStop) -> bytes:
        block = self._blocks.pop(event.index, None)
        return block.close() if block is not None else b""

    def _note_ending(self, event: MessageDelta) -> bytes:
        ending = _ENDING.decode(event.delta)
        told = _USAGE.decode(event.usage)
        self._meter.finish(usage_of(told, self._meter.usage), complete=told.output_tokens is not None)
        if ending.stop_reason is None or self.finish_reason is not None:
            return b""
        self._ending = ending
        return b"" if self._is_pause else self._finish()

    @property
    def _is_pause(self) -> bool:
        return self._continue_pauses and self._ending.stop_reason == PAUSE_TURN

    def _stop(self) -> bytes:
        if self._is_pause:
            self.paused = True
            return b""
        self.stopped = True
        return self._finish() if self.finish_reason is None else b""

    def _finish(self) -> bytes:
        frames = [block.close() for block in self._blocks.values()]
        self._blocks.clear()
        answered_as_call = False
        if self._structured is not None:
            frames.append(self._structured.close())
            answered_as_call = self._structured.has_begun
        if refusal := refusal_text(self._ending):
            frames.append(self._writer.delta(ChunkDelta(refusal=refusal)))
        self.finish_reason = finish_reason(
            self._ending.stop_reason, function_call=self._plan.function_call, answered_as_call=answered_as_call
        )
        frames.append(self._writer.finish(self.finish_reason))
        return b"".join(frames)
