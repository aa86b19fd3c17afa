"""What prompts turned out to be, against what was expected of them; pure.

A plain call that breaks off has told nothing, not even its prompt, which Anthropic charges for all the same. The bytes
of a prompt tell its tokens only roughly (the tokenizers of models differ by a third), and not at all how much of it was
read from the prompt cache at a tenth of the price. Both are learned from the calls that did tell, of each model, apart
for prompts that use the cache. Learned by each worker.
"""

from __future__ import annotations

from typing import Final

from app.domain.calls import Usage
from app.domain.prompt_size import PromptSize

#: Tokens that are believed to be as expected before anything was seen.
_PRIOR_TOKENS: Final = 200.0
#: When so many expected tokens were seen, all of them count half from then on.
_MOST_TOKENS: Final = 1_000_000.0
#: How many kinds of prompts are remembered.
_REMEMBERED: Final = 128


class _Kind:
    """Prompts of one kind: what was expected of them together, and what they were, by class."""

    __slots__ = ("expected", "read", "uncached", "written", "written_1h")

    def __init__(self) -> None:
        self.expected = self.uncached = _PRIOR_TOKENS
        self.written = self.written_1h = self.read = 0.0

    def learn(self, expected_tokens: int, usage: Usage) -> None:
        self.expected += expected_tokens
        self.uncached += usage.input_tokens
        self.written += usage.cache_creation_input_tokens
        self.written_1h += usage.cache_write_1h_tokens
        self.read += usage.cache_read_input_tokens
        if self.expected > _MOST_TOKENS:
            for name in self.__slots__:
                setattr(self, name, getattr(self, name) / 2)


class LearnedPrompts:
    """What this worker has learned about prompts."""

    def __init__(self) -> None:
        self._of: dict[tuple[str, str], _Kind] = {}

    def learn(self, model: str, size: PromptSize, usage: Usage) -> None:
        """A prompt of this size had these tokens."""
        kind = (model, size.cache_lifetime)
        if len(self._of) >= _REMEMBERED and kind not in self._of:
            self._of.clear()
        self._of.setdefault(kind, _Kind()).learn(size.expected_tokens, usage)

    def expected(self, model: str, size: PromptSize) -> Usage:
        """What a prompt of this size most likely has used: right for many of them together, hardly for one."""
        kind = self._of.get((model, size.cache_lifetime))
        if kind is None:
            return Usage(input_tokens=size.expected_tokens)
        share = size.expected_tokens / kind.expected
        return Usage(
            input_tokens=round(kind.uncached * share),
            cache_creation_input_tokens=round(kind.written * share),
            cache_write_1h_tokens=round(kind.written_1h * share),
            cache_read_input_tokens=round(kind.read * share),
        )
