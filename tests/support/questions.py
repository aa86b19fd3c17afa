"""What contract tests ask, and the model that they ask by default."""

from __future__ import annotations

from typing import Any, Final

#: A current model: it always thinks, cannot be forced to call a tool and takes no sampling parameters.
MODEL: Final = "claude-sonnet-5-5"


def ask(text: str) -> list[Any]:
    """The ``messages`` of one question."""
    return [{"role": "user", "content": text}]
