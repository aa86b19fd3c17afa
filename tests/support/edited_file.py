"""A file that somebody edits while a gateway watches it."""

from __future__ import annotations

from pathlib import Path


def write_as_an_editor(path: Path, text: str) -> None:
    """A new file takes the place of the old one."""
    unfinished = path.with_suffix(".new")
    unfinished.write_text(text)
    unfinished.replace(path)
