"""How the command is called: by itself, as a process of its own, and by the user, who is told what to type next."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

import app


def own_command(*args: str) -> list[str]:
    """The arguments of a process that runs this very installation.

    By the path of our own file, and with ``-P``: ``python -m app`` would take an ``app`` package of the working
    directory for ours.
    """
    return [sys.executable, "-P", str(Path(app.__path__[0]) / "__main__.py"), *args]


def as_called(*args: str) -> str:
    """A command line for the user, who may have no ``claude-wrapper`` on the PATH.

    Args:
        args: what stands behind the command; needs no quotes.
    """
    called = Path(sys.argv[0])
    if called.name == "__main__.py":  # python -m app
        command = shlex.join([sys.executable, "-P", sys.argv[0]])
    elif "/" not in sys.argv[0] or shutil.which(called.name) == sys.argv[0]:
        command = called.name
    else:
        command = shlex.quote(sys.argv[0])
    return " ".join([command, *args])
