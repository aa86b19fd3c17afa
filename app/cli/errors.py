"""What ends a command: a sentence for a person, and an exit status; never a traceback."""

from __future__ import annotations

#: The gateway or a check failed.
FAILED = 1
#: The command was not understood, or a setting is wrong.
MISUSED = 2
#: ``status``: nothing runs there (the status that LSB init scripts use).
NOT_RUNNING = 3
#: Ctrl-C (128 and the number of the signal, as a shell says it).
INTERRUPTED = 130


class CommandFailed(Exception):
    """The command cannot do what it was asked.

    Args:
        message: what was wrong and what would help; a line or a few.
        status: exit status.
    """

    def __init__(self, message: str, *, status: int = FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
