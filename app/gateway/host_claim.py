"""One of all processes of a host, or of a container, without anything that is kept anywhere: an abstract socket.

The kernel knows its holder and frees it with the process (Linux, ``unix(7)``). Where there are no such sockets,
everybody has the claim.
"""

from __future__ import annotations

import errno
import hashlib
import socket


class HostClaim:
    """A claim that one process has at a time.

    Args:
        purpose: whoever has the same one competes for the claim; it may be secret, as only a hash is shown.
    """

    def __init__(self, purpose: str) -> None:
        self._address = b"\0claude-wrapper-" + hashlib.sha256(purpose.encode()).hexdigest()[:32].encode()
        self._held: socket.socket | None = None

    def take(self) -> bool:
        """Whether this process has it, from now on or already."""
        if self._held is not None:
            return True
        held = socket.socket(socket.AF_UNIX)
        try:
            held.bind(self._address)
        except OSError as exc:
            held.close()
            return exc.errno != errno.EADDRINUSE
        self._held = held
        return True

    def give_back(self) -> None:
        """Lets somebody else have it."""
        if self._held is not None:
            self._held.close()
            self._held = None
