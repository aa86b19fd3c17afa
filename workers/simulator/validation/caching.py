"""Cache breakpoints: how many, and in which order of time to live."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from msgspec import UNSET

from workers.simulator.errors import Invalid
from workers.simulator.wire import CacheControl, CountTokensRequest, ToolResultBlock

MAX_BREAKPOINTS: Final = 4


def check_breakpoints(request: CountTokensRequest) -> None:
    """Checks every ``cache_control``, the automatic one at the top included.

    Raises:
        Invalid: too many, or an hour after five minutes.
    """
    marks = list(_marks(request))
    count = len(marks) + (request.cache_control is not None)
    if count > MAX_BREAKPOINTS:
        raise Invalid(f"A maximum of {MAX_BREAKPOINTS} blocks with cache_control may be provided. Found {count}.")
    if request.cache_control is not None:
        marks.append(("cache_control", request.cache_control))
    short = False
    for path, mark in marks:
        if mark.ttl == "1h" and short:
            raise Invalid(
                "a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block. Note that blocks"
                " are processed in the following order: `tools`, `system`, `messages`.",
                f"{path}.ttl",
            )
        short = short or mark.ttl == "5m"


def _marks(request: CountTokensRequest) -> Iterator[tuple[str, CacheControl]]:
    for index, tool in enumerate(request.tools or ()):
        if tool.cache_control is not None:
            yield f"tools.{index}.cache_control.ephemeral", tool.cache_control
    if request.system is not UNSET and not isinstance(request.system, str):
        for index, block in enumerate(request.system):
            if block.cache_control is not None:
                yield f"system.{index}.cache_control.ephemeral", block.cache_control
    for index, message in enumerate(request.messages):
        if isinstance(message.content, str):
            continue
        for number, item in enumerate(message.content):
            path = f"messages.{index}.content.{number}"
            if isinstance(item, ToolResultBlock) and item.content is not UNSET and not isinstance(item.content, str):
                for inner, part in enumerate(item.content):
                    if part.cache_control is not None:
                        yield f"{path}.tool_result.content.{inner}.cache_control.ephemeral", part.cache_control
            mark: CacheControl | None = getattr(item, "cache_control", None)
            if mark is not None:
                yield f"{path}.cache_control.ephemeral", mark
