"""The command line. One module per sub-command; it prints, asks and starts processes, and decides nothing else.

Kept light: ``--help`` and ``--version`` import click and nothing of the gateway; every sub-command is imported when it
is called. Only this package knows ``workers``.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of ``claude-wrapper`` and ``wrapper``."""
    from app.cli.commands import command_line

    sys.exit(command_line(sys.argv[1:]))
