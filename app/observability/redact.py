"""Keeps secrets and prompts out of the log, whatever a caller or a library puts into a record.

The rule is that nobody logs them (STYLE.md section 7). This is the net below it: what looks like a secret is masked in
every finished line, and an exception is described by its type and its place in the code. The text of a foreign
exception is left out, because it may quote what a user sent; our own errors never do.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterable

from app.errors import GatewayError

MASK = "***"

#: Shorter settings are not masked literally: masking ``a`` or ``key`` would make the log unreadable.
_SHORTEST_LITERAL = 6

_SECRETS = (
    # API keys of Anthropic, OpenAI and this gateway
    (re.compile(r"\bsk-[A-Za-z0-9_-]{6,}"), f"sk-{MASK}"),
    (re.compile(r"(?i)\b(bearer|basic)\s+(?!token\b)[A-Za-z0-9._~+/=-]{4,}"), rf"\1 {MASK}"),
    # JSON web tokens
    (re.compile(r"\beyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"), MASK),
    # redis://user:password@host
    (re.compile(r"(?<=://)[^/\s:@\"']*:[^/\s@\"']+(?=@)"), MASK),
    # name: value, name=value and "name": "value" of what is secret by its name
    (
        re.compile(
            r"(?i)((?:x-api-key|api[_-]?key|auth[_-]?token|access[_-]?token|password|passwd|secret|set-cookie|cookie)"
            r"\\?[\"']?\s*[:=]\s*\\?[\"']?)(?!\*\*\*)[^\s\"'\\,;&}]+"
        ),
        rf"\1{MASK}",
    ),
)


def redactor(secrets: Iterable[str] = ()) -> Callable[[str], str]:
    """A function that masks secrets in a line of text.

    Args:
        secrets: values that are secret whatever they look like, such as the configured API key.
    """
    literals = sorted({secret for secret in secrets if len(secret) >= _SHORTEST_LITERAL}, key=len, reverse=True)
    known = re.compile("|".join(map(re.escape, literals))) if literals else None

    def redact(text: str) -> str:
        if known is not None:
            text = known.sub(MASK, text)
        for pattern, replacement in _SECRETS:
            text = pattern.sub(replacement, text)
        return text

    return redact


def describe(error: BaseException) -> str:
    """An exception as text for the log: places in the code and types, without the text of foreign exceptions."""
    parts: list[str] = []
    _describe(error, parts, seen=set())
    return "\n".join(parts)


def _describe(error: BaseException, parts: list[str], seen: set[int]) -> None:
    seen.add(id(error))
    origin = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if origin is not None and id(origin) not in seen:
        _describe(origin, parts, seen)
        parts.append("which led to:")
    frames = traceback.extract_tb(error.__traceback__)
    parts.extend(f"  {frame.filename}:{frame.lineno} in {frame.name}: {frame.line}" for frame in frames)
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    parts.append(f"{name}: {error.message}" if isinstance(error, GatewayError) else name)
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            if id(member) not in seen:
                parts.append("of which one is:")
                _describe(member, parts, seen)
