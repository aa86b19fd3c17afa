"""HAProxy with the configuration that ships, in front of gateways on loopback."""

from __future__ import annotations

import csv
import io
import shutil
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.processes import PROJECT, ChildProcess, child_process, eventually

CONFIGURATION = PROJECT / "deploy" / "haproxy.cfg"


def free_ports(count: int) -> list[int]:
    """Ports of loopback on which nobody listens now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for probe in sockets:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in sockets]
    finally:
        for probe in sockets:
            probe.close()


class HAProxy:
    """A proxy that runs.

    Attributes:
        port: where clients connect.
    """

    def __init__(self, port: int, socket_file: Path, process: ChildProcess) -> None:
        self.port = port
        self._socket_file = socket_file
        self._process = process

    @property
    def logs(self) -> str:
        """What it has complained about."""
        return self._process.logs

    def statistics(self) -> dict[str, dict[str, str]]:
        """HAProxy's figures of each place for a gateway, by its name; ``BACKEND`` is all of them."""
        table = self._ask("show stat").removeprefix("# ")
        return {row["svname"]: row for row in csv.DictReader(io.StringIO(table)) if row["pxname"] == "gateways"}

    def in_service(self) -> list[str]:
        """Names of the places whose gateway gets requests."""
        return [name for name, row in self.statistics().items() if row["status"] == "UP" and name != "BACKEND"]

    def wait_for(self, *names: str) -> None:
        """Returns when just these places get requests."""
        eventually(lambda: self.in_service() == list(names), within_s=30, message=f"{self.in_service()}, not {names}")

    def _ask(self, command: str) -> str:
        with closing(socket.socket(socket.AF_UNIX)) as connection:
            connection.settimeout(10)
            connection.connect(str(self._socket_file))
            connection.sendall(f"{command}\n".encode())
            return connection.makefile(encoding="utf-8").read()


@contextmanager
def running_haproxy(places: Sequence[int]) -> Iterator[HAProxy]:
    """Runs HAProxy until the block ends.

    Args:
        places: ports of gateways, running or not; as many as the configuration has places, or fewer.
    """
    program = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    if program is None:
        pytest.skip("haproxy is not installed (apt-get install haproxy)")
    port, *nobody = free_ports(7)
    with tempfile.TemporaryDirectory(prefix="cw-", dir="/tmp") as temporary:
        socket_file = Path(temporary) / "s"
        environment = {"HAPROXY_BIND": f"127.0.0.1:{port}", "HAPROXY_SOCKET": str(socket_file)}
        for number, place in enumerate([*places, *nobody][:6], start=1):
            environment[f"GATEWAY_{number}"] = f"127.0.0.1:{place}"
        command = [program, "-db", "-f", str(CONFIGURATION)]
        with child_process(command, env=environment, output=Path(temporary) / "output") as process:
            eventually(lambda: _listens(port), within_s=30)
            yield HAProxy(port, socket_file, process)


def _listens(port: int) -> bool:
    with suppress(OSError), closing(socket.create_connection(("127.0.0.1", port), timeout=1)):
        return True
    return False
