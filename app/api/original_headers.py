"""The ``X-Claude-*`` headers of the original wrapper: one has a meaning here, the others are reported as ignored."""

from __future__ import annotations

from collections.abc import Iterable

PREFIX = b"x-claude-"

#: Sets the thinking budget (spec/chat-completions.md section 6).
MAX_THINKING_TOKENS = b"x-claude-max-thinking-tokens"

#: Our own headers.
OURS = b"x-claude-wrapper-"


def ignored_claude_headers(headers: Iterable[tuple[bytes, bytes]]) -> tuple[str, ...]:
    """The ``X-Claude-*`` headers of a request that have no effect, in their order, each once.

    They steer a Claude Code process (``X-Claude-Max-Turns``, ``X-Claude-Allowed-Tools``, ``X-Claude-Permission-Mode``,
    ...), which this gateway does not run.

    Args:
        headers: ASGI request headers, names in lower case.

    Returns:
        Paths such as ``header.x-claude-max-turns``, for ``Report.ignored``.
    """
    names = [
        name
        for name, _ in headers
        if name.startswith(PREFIX) and name != MAX_THINKING_TOKENS and not name.startswith(OURS)
    ]
    return tuple(dict.fromkeys(f"header.{name.decode('latin-1')}" for name in names))
