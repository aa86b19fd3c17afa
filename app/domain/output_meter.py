"""How many tokens Claude has generated so far, where it has not said so; pure.

Anthropic counts output at the end of a message. When a stream breaks off before (the client left, the connection was
cut), what has come is measured and turned into tokens by ratios that were learned from messages that did end: the
tokenizers of models differ by a third, so no constant would do.

Thinking that is not shown comes as a signature only. The signature carries the thinking encrypted (``thinking
encryption`` page of Anthropic's documentation), so its length tells about that of the thinking; how closely is learned
as well.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec
from msgspec import Struct

from app.domain.calls import Usage
from app.schemas.anthropic_reply import (
    Block,
    Delta,
    InputJsonDelta,
    RedactedThinkingBlock,
    ServerToolUseBlock,
    SignatureDelta,
    TextBlock,
    TextDelta,
    ThinkingBlock,
    ThinkingDelta,
    ToolUseBlock,
)

#: How many models' ratios are remembered.
_REMEMBERED: Final = 64


class TokenRatios(Struct, frozen=True, kw_only=True):
    """How many tokens there are in what a stream shows.

    Args:
        said: tokens in a byte of text or of a tool's input.
        shown: tokens of thinking in a byte of thinking; above its own size where only a summary is shown.
        hidden: tokens of thinking in a character of the signature of a block that shows nothing.
        hidden_block: tokens of such a block, on average; 0 while not known.
    """

    said: float = 1 / 4
    shown: float = 1 / 4
    hidden: float = 3 / 16  # base64 holds 3 bytes in 4 characters
    hidden_block: float = 0.0


DEFAULT_RATIOS: Final = TokenRatios()


class MessageUsage(Struct, frozen=True, kw_only=True):
    """The tokens of one upstream message; ``estimated`` where Anthropic has not told all of them."""

    usage: Usage
    estimated: bool


class OutputMeter:
    """Measures one streamed message.

    Attributes:
        begun: Anthropic has begun the message; before, it has told nothing.
        complete: it has told the tokens of the whole message.
        usage: as Anthropic told it so far.
        said_bytes: UTF-8 of text, of tools' names and of their inputs.
        shown_bytes: UTF-8 of thinking.
        hidden_chars: of the signatures of thinking that was not shown.
        hidden_blocks: how many blocks those were.
        web_searches: searches that were begun.
    """

    __slots__ = (
        "_in_hidden",
        "begun",
        "complete",
        "hidden_blocks",
        "hidden_chars",
        "said_bytes",
        "shown_bytes",
        "usage",
        "web_searches",
    )

    def __init__(self) -> None:
        self.begun = False
        self.complete = False
        self.usage = Usage()
        self.said_bytes = 0
        self.shown_bytes = 0
        self.hidden_chars = 0
        self.hidden_blocks = 0
        self.web_searches = 0
        self._in_hidden = False

    def begin(self, usage: Usage) -> None:
        """The message begins."""
        self.begun = True
        self.usage = usage

    def finish(self, usage: Usage, *, complete: bool) -> None:
        """The message ends, or tells something about its end.

        Args:
            usage: as it is now known.
            complete: the output was counted.
        """
        self.usage = usage
        self.complete = self.complete or complete

    def open_block(self, block: Block | None) -> None:
        """A content block begins; None for a kind that is not known here."""
        self._in_hidden = False
        match block:
            case TextBlock():
                self.said_bytes += _size(block.text)
            case ToolUseBlock():
                self.said_bytes += len(block.name)
            case ServerToolUseBlock():
                self.said_bytes += len(block.name)
                self.web_searches += block.name == "web_search"
            case ThinkingBlock():
                self.shown_bytes += _size(block.thinking)
                self._in_hidden = not block.thinking
            case RedactedThinkingBlock():
                self._add_hidden(block.data)
            case _:
                pass

    def add(self, delta: Delta) -> None:
        """A content block goes on."""
        if type(delta) is TextDelta:  # of every stream most deltas: without a further call
            text = delta.text
            self.said_bytes += len(text) if text.isascii() else len(text.encode())
        elif type(delta) is InputJsonDelta:
            self.said_bytes += _size(delta.partial_json)
        elif type(delta) is ThinkingDelta:
            self.shown_bytes += _size(delta.thinking)
            self._in_hidden = self._in_hidden and not delta.thinking
        elif type(delta) is SignatureDelta and self._in_hidden:
            self._add_hidden(delta.signature)

    def _add_hidden(self, seal: str) -> None:
        self._in_hidden = False
        self.hidden_blocks += 1
        self.hidden_chars += len(seal)

    def usage_so_far(self, ratios: TokenRatios = DEFAULT_RATIOS) -> MessageUsage:
        """The tokens of the message: as Anthropic told them where it is complete, else its output by ``ratios``.

        A block of hidden thinking that goes on is taken to be half done.
        """
        if self.complete:
            return MessageUsage(usage=self.usage, estimated=False)
        thinking = (
            self.shown_bytes * ratios.shown
            + self.hidden_chars * ratios.hidden
            + (ratios.hidden_block / 2 if self._in_hidden else 0)
        )
        told = self.usage
        usage = msgspec.structs.replace(
            told,
            output_tokens=max(told.output_tokens, math.ceil(self.said_bytes * ratios.said + thinking)),
            thinking_tokens=max(told.thinking_tokens, math.ceil(thinking)),
            web_search_requests=max(told.web_search_requests, self.web_searches),
        )
        return MessageUsage(usage=usage, estimated=True)


class _Ratio:
    """Tokens per unit, over the messages seen; old ones fade once there are many.

    Args:
        tokens, units: what is believed before anything was seen, and how firmly.
        most_units: when so many were seen, all of them count half from then on.
    """

    __slots__ = ("_most_units", "tokens", "units")

    def __init__(self, tokens: float, units: float, most_units: int) -> None:
        self.tokens = tokens
        self.units = units
        self._most_units = most_units

    @property
    def value(self) -> float:
        return self.tokens / self.units if self.units else 0.0

    def learn(self, tokens: int, units: int) -> None:
        self.tokens += tokens
        self.units += units
        if self.units > self._most_units:
            self.tokens /= 2
            self.units /= 2


class _Learned:
    """The ratios of one model."""

    __slots__ = ("hidden", "hidden_block", "said", "shown")

    def __init__(self) -> None:
        self.said = _Ratio(1000, 4000, 1_000_000)
        self.shown = _Ratio(250, 1000, 1_000_000)
        self.hidden = _Ratio(15, 80, 1_000_000)
        self.hidden_block = _Ratio(0, 0, 200)

    def ratios(self) -> TokenRatios:
        return TokenRatios(
            said=self.said.value,
            shown=self.shown.value,
            hidden=self.hidden.value,
            hidden_block=self.hidden_block.value,
        )


class LearnedRatios:
    """What this worker has learned about the ratios of each model."""

    def __init__(self) -> None:
        self._of: dict[str, _Learned] = {}

    def of(self, model: str) -> TokenRatios:
        """The ratios of a model; the defaults where nothing was learned."""
        learned = self._of.get(model)
        return DEFAULT_RATIOS if learned is None else learned.ratios()

    def learn(self, model: str, meter: OutputMeter) -> None:
        """Learns from a complete message; one that is not, or that does not tell its thinking apart, is left out."""
        usage = meter.usage
        has_thought = bool(meter.shown_bytes or meter.hidden_blocks)
        if not meter.complete or has_thought != bool(usage.thinking_tokens):
            return
        if len(self._of) >= _REMEMBERED and model not in self._of:
            self._of.clear()
        learned = self._of.setdefault(model, _Learned())
        learned.said.learn(usage.output_tokens - usage.thinking_tokens, meter.said_bytes)
        if has_thought and not meter.hidden_blocks:
            learned.shown.learn(usage.thinking_tokens, meter.shown_bytes)
        elif has_thought and not meter.shown_bytes:
            learned.hidden.learn(usage.thinking_tokens, meter.hidden_chars)
            learned.hidden_block.learn(usage.thinking_tokens, meter.hidden_blocks)


def _size(text: str) -> int:
    """Bytes of UTF-8."""
    return len(text) if text.isascii() else len(text.encode())
