"""What a chat stream sends, read back."""

from __future__ import annotations

import json
from typing import Any


def frames(sent: bytes) -> list[Any]:
    """The frames of a stream: parsed chunks, the text of comments, ``[DONE]``."""
    parts = sent.split(b"\n\n")
    assert parts.pop() == b"", "the last frame is not complete"
    return [_frame(part) for part in parts]


def _frame(part: bytes) -> Any:
    assert b"\n" not in part, part
    if part.startswith(b": "):
        return part.decode()
    data = part.removeprefix(b"data: ")
    assert data != part, part
    return "[DONE]" if data == b"[DONE]" else json.loads(data)


def deltas(sent: bytes) -> list[dict[str, Any]]:
    """The deltas of all chunks that have a choice."""
    return [frame["choices"][0]["delta"] for frame in frames(sent) if isinstance(frame, dict) and frame["choices"]]
