"""Tables and lists of things in words, for people."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime

from rich.cells import cell_len, set_cell_size


def in_a_table(rows: Sequence[Mapping[str, str]], *, optional: Collection[str] = ()) -> str:
    """A line for each row under one of headings, in columns.

    Args:
        rows: at least one; heading -> cell, all with the same headings.
        optional: headings of columns that are left out where no row fills them.
    """
    columns = [name for name in rows[0] if name not in optional or any(row[name] for row in rows)]
    table = [columns, *([row[name] or "-" for name in columns] for row in rows)]
    widths = [max(cell_len(line[column]) for line in table) for column in range(len(columns))]
    return "\n".join(
        "  ".join(set_cell_size(cell, width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in table
    )


def in_lines(rows: Mapping[str, str]) -> str:
    """A line for each thing that there is something to say of."""
    return "\n".join(f"  {name:<15}{value}" for name, value in rows.items() if value)


def cut(text: str, cells: int) -> str:
    """A text that is no wider than that; CJK characters are two cells wide."""
    return text if cell_len(text) <= cells else set_cell_size(text, cells - 3).rstrip() + "..."


def day_and_time(at: float) -> str:
    """Unix seconds in UTC, to the second."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
