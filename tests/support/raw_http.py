"""HTTP by hand, for what no client library would send."""

from __future__ import annotations

import json
import socket
from typing import Any


class RawConnection:
    """One connection to 127.0.0.1."""

    def __init__(self, port: int, *, timeout_s: float = 10.0, receive_buffer_bytes: int | None = None) -> None:
        self._socket = socket.socket()
        self._socket.settimeout(timeout_s)
        if receive_buffer_bytes is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        self._socket.connect(("127.0.0.1", port))
        self._buffer = b""

    def __enter__(self) -> RawConnection:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Sends bytes as they are."""
        self._socket.sendall(data)

    def read_to_end(self) -> bytes:
        """Everything until the other side closes."""
        data, self._buffer = self._buffer, b""
        while chunk := self._socket.recv(65536):
            data += chunk
        return data

    def read_until(self, marker: bytes) -> bytes:
        """Everything up to and with ``marker``."""
        while marker not in self._buffer:
            chunk = self._socket.recv(65536)
            assert chunk, f"closed before {marker!r}: {self._buffer!r}"
            self._buffer += chunk
        head, _, self._buffer = self._buffer.partition(marker)
        return head + marker

    def read_reply(self) -> tuple[int, dict[str, str], bytes]:
        """One reply with a ``content-length``: status, headers by lower-case name, body."""
        head = self.read_until(b"\r\n\r\n").decode()
        status_line, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", "0"))
        while len(self._buffer) < length:
            chunk = self._socket.recv(65536)
            assert chunk, "closed inside a body"
            self._buffer += chunk
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        return int(status_line.split()[1]), headers, body


def get(port: int, path: str, *, headers: str = "") -> dict[str, Any]:
    """One ``GET`` on a connection of its own; the JSON of the reply."""
    with RawConnection(port) as connection:
        connection.send(f"GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{headers}\r\n".encode())
        _, _, body = connection.read_reply()
        reply: dict[str, Any] = json.loads(body)
        return reply
