"""Prompt caching: OpenAI's breakpoints and LiteLLM's ``cache_control`` onto Anthropic's markers.

Rules of ``spec/chat-completions.md`` section 7: at most four markers in a request including the automatic one, the
latest stay; a longer lifetime than five minutes is one hour.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Literal, cast

from msgspec import UNSET, UnsetType

from app.domain.prompt_size import CacheLifetime
from app.schemas import anthropic
from app.schemas import openai_chat as openai
from app.translate.notes import Notes
from app.translate.received import is_thought

#: Anthropic's bound on markers, the automatic one included.
MAX_MARKERS: Final = 4

_AT_MOST_AN_HOUR: Final = "Anthropic keeps a prompt for at most an hour"

Ttl = Literal["5m", "1h"]
Marked = anthropic.MarkableBlock | anthropic.ReceivedBlock | anthropic.Tool
Source = openai.TextPart | openai.RefusalPart | openai.ImagePart | openai.AudioPart | openai.FilePart


class CacheMarkers:
    """The cache markers of one request, as they are met in it."""

    def __init__(self, request: openai.ChatRequest, notes: Notes) -> None:
        self._notes = notes
        self._set: dict[int, tuple[Marked, str]] = {}  # the path of what was reported before is empty
        options = request.prompt_cache_options
        self._explicit_only = options is not None and options.mode == "explicit"
        self._asked_ttl = "" if options is None else options.ttl or ""
        self._asks_for_a_day = request.prompt_cache_retention == "24h"
        self._ttl: Ttl | UnsetType = "1h" if self._asked_ttl or self._asks_for_a_day else UNSET
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
        if last is None or is_thought(last):
            self._notes.ignore(f"{path}.cache_control", "the message has no block that can be marked")
        else:
            self._mark(cast("Marked", last), self._passed(control), f"{path}.cache_control")

    def hand_on(self, gone: Iterable[anthropic.Block], block: anthropic.ReceivedBlock) -> None:
        """Moves the markers of blocks that are not sent to one that is sent instead; of several the last counts."""
        for one in gone:
            marked = self._set.pop(id(one), None)
            if marked is not None:
                _set_marker(block, _marker_of(marked[0]))
                self._set[id(block)] = (block, marked[1])

    def mark_tool(self, control: openai.CacheControl, tool: anthropic.Tool, path: str) -> None:
        """Carries the marker of a tool over."""
        self._mark(tool, self._passed(control), f"{path}.cache_control")

    def automatic(
        self, mode: Literal["off", "auto", "always"], *, is_conversation: bool, tools: bool
    ) -> anthropic.CacheControl | UnsetType:
        """The marker of the whole request, which follows the end of the prompt from turn to turn.

        Args:
            mode: the setting ``auto_cache``.
            is_conversation: there were several turns, or the client says that there will be.
            tools: the request has tools.
        """
        if self._request_marker is not None:
            return self._passed(self._request_marker)
        if self._explicit_only or mode == "off" or (mode == "auto" and not (is_conversation or tools)):
            return UNSET
        return anthropic.CacheControl(ttl=self._ttl)

    def settle(self, prompt: Iterable[object], automatic: anthropic.CacheControl | UnsetType) -> None:
        """Makes the markers a set that Anthropic accepts.

        Too many are taken off again, the earliest first; one that stands before a marker of an hour gets an hour too,
        since lifetimes may only become shorter along the prompt.

        Args:
            prompt: what can be marked, in the order of the prompt (``in_prompt_order``).
            automatic: the marker of the whole request, which counts and stands last.
        """
        self._report_lifetime(is_cached=bool(self._set) or automatic is not UNSET)
        if not self._set:
            return
        markers = [self._set[id(block)] for block in prompt if id(block) in self._set]
        surplus = max(len(markers) + (automatic is not UNSET) - MAX_MARKERS, 0)
        for block, path in markers[:surplus]:
            _set_marker(block, UNSET)
            if path:
                self._notes.ignore(path, "a request has at most four cache markers, and the latest are kept")
        hours = [at for at, (block, _) in enumerate(markers) if _is_hour(_marker_of(block))]
        last_hour = len(markers) if _is_hour(automatic) else hours[-1] if hours else 0
        for block, path in markers[surplus:last_hour]:
            if not _is_hour(_marker_of(block)):
                _set_marker(block, anthropic.CacheControl(ttl="1h"))
                if path:
                    self._notes.adjust(f"{path}.ttl", "1h", "a later marker has an hour, and lifetimes may not grow")

    def longest_lifetime(self, automatic: anthropic.CacheControl | UnsetType) -> CacheLifetime:
        """The longest lifetime of all markers, the automatic one included; empty where there is none."""
        if _is_hour(automatic) or any(_is_hour(_marker_of(block)) for block, _ in self._set.values()):
            return "1h"
        return "5m" if self._set or automatic is not UNSET else ""

    def _report_lifetime(self, *, is_cached: bool) -> None:
        """What became of the lifetime that the client wants for all markers."""
        if not is_cached:
            for path, asked in (
                ("prompt_cache_options" if not self._explicit_only else "prompt_cache_options.ttl", self._asked_ttl),
                ("prompt_cache_retention", self._asks_for_a_day),
            ):
                if asked:
                    self._notes.ignore(path, "nothing of this prompt is cached")
            return
        if self._asked_ttl not in ("", "30m"):
            self._notes.adjust("prompt_cache_options.ttl", "1h", _AT_MOST_AN_HOUR)
        if self._asks_for_a_day:
            self._notes.adjust("prompt_cache_retention", "1h", _AT_MOST_AN_HOUR)

    def _mark(self, block: Marked, marker: anthropic.CacheControl, path: str) -> None:
        _set_marker(block, marker)
        self._set[id(block)] = (block, "" if self._notes.muted else path)

    def _passed(self, control: openai.CacheControl) -> anthropic.CacheControl:
        return anthropic.CacheControl(ttl=control.ttl if control.ttl is not None else self._ttl)

    def _breakpoint(self, breakpoint_: openai.PromptCacheBreakpoint | None, path: str) -> anthropic.CacheControl:
        ttl = None if breakpoint_ is None else breakpoint_.ttl
        if ttl == "12h":
            self._notes.adjust(f"{path}.prompt_cache_breakpoint.ttl", "1h", _AT_MOST_AN_HOUR)
        return anthropic.CacheControl(ttl=self._ttl if ttl is None else "1h")


def in_prompt_order(
    tools: Iterable[object], system: Iterable[object], messages: Iterable[anthropic.Message]
) -> Iterator[object]:
    """Everything of a request that can carry a cache marker, as Anthropic reads it."""
    yield from tools
    yield from system
    for message in messages:
        for block in message.content:
            if isinstance(block, anthropic.ToolResultBlock) and isinstance(block.content, list):
                yield from block.content
            yield block


def _marker_of(block: Marked) -> anthropic.CacheControl | UnsetType:
    return block.get("cache_control", UNSET) if isinstance(block, dict) else block.cache_control


def _set_marker(block: Marked, marker: anthropic.CacheControl | UnsetType) -> None:
    if not isinstance(block, dict):
        block.cache_control = marker
    elif marker is UNSET:
        block.pop("cache_control", None)
    else:
        block["cache_control"] = marker


def _is_hour(marker: anthropic.CacheControl | UnsetType) -> bool:
    return marker is not UNSET and marker.ttl == "1h"
