"""A Redis server of our own for a test, and the ``state`` fixture over both implementations.

Servers run on a private unix socket, without persistence unless asked for. ``CLAUDE_WRAPPER_TEST_REDIS_SERVER`` names
another server program, to run the suite on another version.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import hiredis
import pytest

from app.state import connect
from app.state.connection import StateConnection
from workers.embedded_state import find_server_binary


class RedisServer:
    """A server process that can be killed, frozen and started again on the same socket.

    Args:
        directory: for its socket and files; short, as a socket's path is limited.
        options: words added to the command line, such as ``"--requirepass", "secret"``.
    """

    def __init__(self, directory: Path, *options: str) -> None:
        self.directory = directory
        self.socket_file = directory / "s"
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.socket_file}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        binary = os.environ.get("CLAUDE_WRAPPER_TEST_REDIS_SERVER") or find_server_binary()
        if binary is None:
            pytest.skip("no valkey-server or redis-server on this machine")
        self._process = subprocess.Popen(
            [
                *(str(binary), "--port", "0", "--unixsocket", str(self.socket_file), "--dir", str(self.directory)),
                *("--save", "", "--appendonly", "no", "--logfile", "log", "--enable-debug-command", "local"),
                *self._options,
            ],
            stdin=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 10
        while not self._answers():
            assert self._process.poll() is None, (self.directory / "log").read_text()
            assert time.monotonic() < deadline, "the test's Redis server does not come up"
            time.sleep(0.005)

    def _answers(self) -> bool:
        try:
            self.ask("PING")
        except OSError:
            return False
        return True

    def ask(self, *words: str | bytes | int, password: str = "") -> object:
        """One command over a connection of its own, blocking; an error reply is a value."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(str(self.socket_file))
            log_in = [("AUTH", password)] if password else []
            connection.sendall(b"".join(hiredis.pack_command(command) for command in (*log_in, words)))
            reader, replies = hiredis.Reader(), []
            while len(replies) <= len(log_in):
                if (reply := reader.gets()) is not False:
                    replies.append(reply)
                    continue
                data = connection.recv(65536)
                if not data:
                    raise ConnectionResetError
                reader.feed(data)
            return replies[-1]

    def kill(self) -> None:
        """``kill -9``."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def freeze(self) -> None:
        """``SIGSTOP``: it stays connected and says nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """``SIGCONT``."""
        os.kill(self.pid, signal.SIGCONT)


class RedisServers:
    """Starts servers for a test and ends them after it."""

    def __init__(self) -> None:
        self._started: list[RedisServer] = []

    def __call__(self, *options: str) -> RedisServer:
        server = RedisServer(Path(tempfile.mkdtemp(prefix="cw-", dir="/tmp")), *options)
        self._started.append(server)
        server.start()
        return server

    def end(self) -> None:
        for server in self._started:
            server.kill()
            shutil.rmtree(server.directory)


@pytest.fixture
def redis_servers() -> Iterator[RedisServers]:
    """``redis_servers("--option", "value")`` starts a server that is the test's own."""
    servers = RedisServers()
    yield servers
    servers.end()


@pytest.fixture
def server(redis_servers: RedisServers) -> RedisServer:
    """A server that is the test's own."""
    return redis_servers()


@pytest.fixture(scope="session")
def shared_server() -> Iterator[RedisServer]:
    """A server for tests that only read and write."""
    servers = RedisServers()
    yield servers()
    servers.end()


@pytest.fixture(params=["memory", "redis"])
async def state(request: pytest.FixtureRequest) -> AsyncIterator[StateConnection]:
    """An empty store: in process, and on a real server."""
    if request.param == "memory":
        url = "memory://"
    else:
        shared: RedisServer = request.getfixturevalue("shared_server")
        shared.ask("FLUSHALL")
        url = shared.url
    connection = connect(url, timeout_s=5.0)
    yield connection
    await connection.close()
