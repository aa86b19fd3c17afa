"""How the command starts itself again, as a process of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import app


def own_command(*args: str) -> list[str]:
    """The arguments of a process that runs this very installation.

    By the path of our own file, and with ``-P``: ``python -m app`` would take an ``app`` package of the working
    directory for ours.
    """
    return [sys.executable, "-P", str(Path(app.__path__[0]) / "__main__.py"), *args]
