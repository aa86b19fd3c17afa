"""How much memory this process may use: the container's limit where there is one, else the machine's."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import psutil

#: Limits of the container, by version of cgroups. Their text is ``max`` or a huge number where there is none.
_LIMIT_FILES = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def limit_bytes(limit_files: tuple[Path, ...] = _LIMIT_FILES) -> int:
    """Memory in bytes that this process and its neighbours in the container share.

    Args:
        limit_files: where the kernel tells the container's limit; the first that can be read counts.
    """
    total: int = psutil.virtual_memory().total
    for path in limit_files:
        try:
            text = path.read_text().strip()
        except OSError:
            continue
        return min(total, int(text)) if text.isdecimal() else total
    return total


@cache
def own_limit_bytes() -> int:
    """``limit_bytes`` of this process; it does not change while it runs."""
    return limit_bytes()
