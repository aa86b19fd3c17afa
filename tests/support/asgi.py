"""Calls an ASGI app without a server: one request in, one collected reply out."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

Headers = dict[str, str]


class Reply:
    """What the app sent. ``complete`` is False when the reply was left unfinished."""

    def __init__(self) -> None:
        self.status = 0
        self.raw_headers: list[tuple[str, str]] = []
        self.body = b""
        self.complete = False

    @property
    def headers(self) -> Headers:
        return dict(self.raw_headers)

    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error object of OpenAI's shape."""
        error: dict[str, Any] = self.json()["error"]
        return error

    async def take(self, message: Any) -> None:
        """The ASGI ``send`` of this reply, as strict as a server."""
        if message["type"] == "http.response.start":
            assert not self.status, "the reply has begun twice"
            self.status = message["status"]
            self.raw_headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in message["headers"]]
            assert all(name == name.lower() for name, _ in self.raw_headers)
        else:
            assert self.status, "a body before the reply has begun"
            assert not self.complete, "a body after the end"
            self.body += message.get("body", b"")
            self.complete = not message.get("more_body", False)


def http_scope(method: str, path: str, headers: Headers | None = None, query: str = "") -> dict[str, Any]:
    """The scope that a server makes of a request."""
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in (headers or {}).items()],
        "client": ("127.0.0.1", 40000),
        "server": ("127.0.0.1", 8000),
        "state": {},
    }


async def call(
    app: Any, method: str, path: str, *, headers: Headers | None = None, body: bytes = b"", query: str = ""
) -> Reply:
    """Sends one request to an ASGI app and collects its reply; the client stays until the reply is complete."""
    reply = Reply()
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Any:
        if messages:
            return messages.pop()
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    await app(http_scope(method, path, headers, query), receive, reply.take)
    return reply
