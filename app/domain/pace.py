"""How fast Claude answers: what a plain call that was given up has most likely generated until then; pure.

A plain reply shows nothing before its end, and Anthropic charges for what it generated until the call was closed. The
time of an answer is a wait and then so much per token, so a line through the answers that did end tells the tokens of
one that did not. Learned by each worker for each model.
"""

from __future__ import annotations

from typing import Final

#: Until something was learned: a second of waiting, then 50 tokens a second.
_USUAL_WAIT_S: Final = 1.0
_USUAL_S_PER_TOKEN: Final = 1 / 50

#: Answers that count; older ones fade.
_MEMORY: Final = 200.0
#: How many models are remembered.
_REMEMBERED: Final = 64


class _Line:
    """A least-squares line of seconds over tokens, in which older answers fade."""

    __slots__ = ("count", "seconds", "tokens", "tokens_seconds", "tokens_squared")

    def __init__(self) -> None:
        self.count = self.tokens = self.seconds = self.tokens_seconds = self.tokens_squared = 0.0

    def learn(self, tokens: int, seconds: float) -> None:
        fade = 1 - 1 / _MEMORY
        self.count = self.count * fade + 1
        self.tokens = self.tokens * fade + tokens
        self.seconds = self.seconds * fade + seconds
        self.tokens_seconds = self.tokens_seconds * fade + tokens * seconds
        self.tokens_squared = self.tokens_squared * fade + tokens * tokens

    def wait_and_pace(self) -> tuple[float, float]:
        """Seconds before the first token, and for each one."""
        spread = self.count * self.tokens_squared - self.tokens * self.tokens
        if spread > 1e-6 * self.count * self.tokens_squared:
            pace = (self.count * self.tokens_seconds - self.tokens * self.seconds) / spread
            wait = (self.seconds - pace * self.tokens) / self.count
            if pace > 0:
                return max(0.0, wait), pace
        mean_tokens, mean_s = self.tokens / self.count, self.seconds / self.count  # all of one length, or no line
        return 0.0, mean_s / max(1.0, mean_tokens)


class LearnedPace:
    """What this worker has learned of each model's pace."""

    def __init__(self) -> None:
        self._of: dict[str, _Line] = {}

    def learn(self, model: str, tokens: int, seconds: float) -> None:
        """A plain answer of so many tokens was complete after so many seconds."""
        if len(self._of) >= _REMEMBERED and model not in self._of:
            self._of.clear()
        self._of.setdefault(model, _Line()).learn(tokens, seconds)

    def tokens_after(self, model: str, seconds: float, *, at_most: int) -> int:
        """How many tokens a plain answer most likely has after so many seconds, up to its bound."""
        line = self._of.get(model)
        wait_s, s_per_token = (_USUAL_WAIT_S, _USUAL_S_PER_TOKEN) if line is None else line.wait_and_pace()
        made_s = max(0.0, seconds - wait_s)
        if made_s >= at_most * s_per_token:  # also where a token takes no time that could be divided by
            return at_most if s_per_token > 0 else 0
        return round(made_s / s_per_token)
