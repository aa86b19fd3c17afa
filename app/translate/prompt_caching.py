"""Prompt caching: OpenAI's breakpoints and LiteLLM's ``cache_control`` onto Anthropic's markers.

Rules of ``spec/chat-completions.md`` section 7: at most four markers in a request including the automatic one, the
latest stay; a longer lifetime than five minutes is one hour.
"""

from __future__ import annotations

from typing import Final, Literal

from msgspec import UNSET, UnsetType

from app.schemas import anthropic
from app.schemas import openai_chat as openai
from app.translate.notes import Notes

#: Anthropic's bound on markers, the automatic one included.
MAX_MARKERS: Final = 4

_AT_MOST_AN_HOUR: Final = "Anthropic keeps a prompt for at most an hour"

Ttl = Literal["5m", "1h"]
Marked = anthropic.MarkableBlock | anthropic.Tool
Source = openai.TextPart | openai.RefusalPart | openai.ImagePart | openai.AudioPart | openai.FilePart


class CacheMarkers:
    """The cache markers of one request, as they are met in it."""

    def __init__(self, request: openai.ChatRequest, notes: Notes) -> None:
        self._notes = notes
        self._set: list[tuple[Marked, str]] = []
        options = request.prompt_cache_options
        self._explicit_only = options is not None and options.mode == "explicit"
        self._ttl: Ttl | UnsetType = UNSET
        if options is not None and options.ttl is not None:
            self._ttl = "1h"
            if options.ttl != "30m":
                notes.adjust("prompt_cache_options.ttl", "1h", _AT_MOST_AN_HOUR)
        if request.prompt_cache_retention == "24h":
            self._ttl = "1h"
        self._request_marker = request.cache_control

    def mark_part(self, part: Source, block: anthropic.MarkableBlock | None, path: str) -> None:
        """Carries the marker of a part over to its block.

        Args:
            part: one that has a marker.
            block: what became of it; None when nothing did.
            path: the part's.
        """
        field = "cache_control" if part.cache_control is not None else "prompt_cache_breakpoint"
        if block is None:
            self._notes.ignore(f"{path}.{field}", "nothing is left of the part to mark")
        elif part.cache_control is not None:
            self._mark(block, self._passed(part.cache_control), f"{path}.{field}")
        else:
            self._mark(block, self._breakpoint(part.prompt_cache_breakpoint, path), f"{path}.{field}")

    def mark_last(self, control: openai.CacheControl, blocks: list[anthropic.Block], path: str) -> None:
        """Carries the marker of a whole message over to its last block; thinking cannot be marked."""
        last = blocks[-1] if blocks else None
        if last is None or isinstance(last, anthropic.ThinkingBlock | anthropic.RedactedThinkingBlock):
            self._notes.ignore(f"{path}.cache_control", "the message has no block that can be marked")
        else:
            self._mark(last, self._passed(control), f"{path}.cache_control")

    def mark_tool(self, control: openai.CacheControl, tool: anthropic.Tool, path: str) -> None:
        """Carries the marker of a tool over."""
        self._mark(tool, self._passed(control), f"{path}.cache_control")

    def automatic(
        self, mode: Literal["off", "auto", "always"], *, several_turns: bool, tools: bool
    ) -> anthropic.CacheControl | UnsetType:
        """The marker of the whole request, which follows the end of the prompt from turn to turn.

        Args:
            mode: the setting ``auto_cache``.
            several_turns: the conversation has more than one message.
            tools: the request has tools.
        """
        if self._request_marker is not None:
            return self._passed(self._request_marker)
        if self._explicit_only or mode == "off" or (mode == "auto" and not (several_turns or tools)):
            return UNSET
        return anthropic.CacheControl(ttl=self._ttl)

    def keep_latest(self, *, automatic: bool) -> None:
        """Takes markers off again, the earliest first, until Anthropic accepts their number."""
        surplus = len(self._set) + automatic - MAX_MARKERS
        for block, path in self._set[: max(surplus, 0)]:
            block.cache_control = UNSET
            self._notes.ignore(path, "a request has at most four cache markers, and the latest are kept")

    def _mark(self, block: Marked, marker: anthropic.CacheControl, path: str) -> None:
        if block.cache_control is not UNSET:
            self._set = [(marked, of) for marked, of in self._set if marked is not block]
        block.cache_control = marker
        self._set.append((block, path))

    def _passed(self, control: openai.CacheControl) -> anthropic.CacheControl:
        return anthropic.CacheControl(ttl=control.ttl if control.ttl is not None else self._ttl)

    def _breakpoint(self, breakpoint_: openai.PromptCacheBreakpoint | None, path: str) -> anthropic.CacheControl:
        ttl = None if breakpoint_ is None else breakpoint_.ttl
        if ttl == "12h":
            self._notes.adjust(f"{path}.prompt_cache_breakpoint.ttl", "1h", _AT_MOST_AN_HOUR)
        return anthropic.CacheControl(ttl=self._ttl if ttl is None else "1h")
