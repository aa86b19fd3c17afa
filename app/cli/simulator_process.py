"""The simulator as a child of the gateway, for ``--mock``: on a loopback port of its own, gone when its parent is."""

from __future__ import annotations

import os
import socket
import subprocess
import time

from app.cli.again import own_command

_STARTS_WITHIN_S = 20.0
_REVIVE_INTERVAL_S = 2.0


class SimulatorProcess:
    """The gateway's own Anthropic.

    Attributes:
        base_url: for ``Config.anthropic_base_url``; the same after a revival.
    """

    def __init__(self) -> None:
        self._address = ("127.0.0.1", _free_port())
        self.base_url = f"http://127.0.0.1:{self._address[1]}"
        self._spawn()

    def _spawn(self) -> None:
        self._started_at = time.monotonic()
        host, port = self._address
        self._process = subprocess.Popen(  # noqa: S603 - our own command
            own_command("simulator", "--host", host, "--port", str(port), "--with-parent", str(os.getpid())),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the master, which stops it when the streams have ended
        )

    def revive(self) -> bool:
        """Starts it again if it has died; whether it was started."""
        if self._process.poll() is None or time.monotonic() - self._started_at < _REVIVE_INTERVAL_S:
            return False
        self._spawn()
        return True

    def stop(self) -> None:
        """Ends it; it holds nothing worth waiting for."""
        self._process.kill()
        self._process.wait()

    def is_answering(self) -> bool:
        """Waits until it accepts connections; False when it does not within a reasonable time."""
        deadline = time.monotonic() + _STARTS_WITHIN_S
        while time.monotonic() < deadline:
            try:
                socket.create_connection(self._address, timeout=1.0).close()
            except OSError:
                time.sleep(0.02)
            else:
                return True
        return False


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port
