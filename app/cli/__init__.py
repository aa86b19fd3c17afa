"""The command line. One module per sub-command; it prints, asks and starts processes, and decides nothing else.

Kept light: ``--help`` and ``--version`` import click and nothing of the gateway; every sub-command is imported when it
is called. Only this package knows ``workers``.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress


def main() -> None:
    """Entry point of ``claude-wrapper`` and ``wrapper``."""
    from app.cli.commands import command_line

    status = command_line(sys.argv[1:])
    _give_up_broken_output()
    sys.exit(status)


def _give_up_broken_output() -> None:
    """What nobody can read any more is dropped; the interpreter would try again, complain and exit with 120."""
    for stream in (sys.stdout, sys.stderr):
        if stream is None:
            continue
        try:
            stream.flush()
        except OSError:
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
