"""Requests to a simulator object in this process, without a socket: what it would answer, and the parts to be sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from workers.simulator.exchange import Request
from workers.simulator.journal import Entry
from workers.simulator.schedule import Reply
from workers.simulator.service import Simulator

HEADERS = {"x-api-key": "test-key", "anthropic-version": "2026-10-21", "content-type": "application/json"}


def body(*messages: Any, model: str = "claude-opus-5", max_tokens: int = 1000, **fields: Any) -> dict[str, Any]:
    """A Messages request; a message given as text is the user's."""
    turns = [{"role": "user", "content": turn} if isinstance(turn, str) else turn for turn in messages or ("Hello",)]
    return {"model": model, "max_tokens": max_tokens, "messages": turns, **fields}


def tool(name: str, schema: Mapping[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """A client tool."""
    return {"name": name, "input_schema": dict(schema or {"type": "object", "properties": {}}), **fields}


def send(
    simulator: Simulator,
    payload: Any = None,
    *,
    path: str = "/v1/messages",
    method: str = "POST",
    headers: Mapping[str, str | None] | None = None,
    entry: Entry | None = None,
) -> Reply:
    """The reply to a request; a header given as None is left out, bytes are sent as they are."""
    sent = {name: value for name, value in {**HEADERS, **(headers or {})}.items() if value is not None}
    data = payload if isinstance(payload, bytes) else b"" if payload is None else msgspec.json.encode(payload)
    path, _, query = path.partition("?")
    return simulator.answer(Request(method, path, query, sent, data), entry)


def content(reply: Reply) -> bytes:
    """The whole body of a reply."""
    return b"".join(part.data for part in reply.parts)


def json_of(reply: Reply) -> Any:
    """The body of a reply, decoded."""
    return msgspec.json.decode(content(reply))


def message(simulator: Simulator, payload: Any, **options: Any) -> Any:
    """The Message that answers a request."""
    reply = send(simulator, payload, **options)
    assert reply.status == 200, content(reply)
    return json_of(reply)


def refusal(simulator: Simulator, payload: Any, **options: Any) -> str:
    """The text of the 400 that answers a request."""
    reply = send(simulator, payload, **options)
    assert reply.status == 400, content(reply)
    error = json_of(reply)["error"]
    assert error["type"] == "invalid_request_error"
    return str(error["message"])


def events(reply: Reply) -> list[tuple[str, Any]]:
    """Name and data of every event of a streamed reply."""
    found = []
    for frame in content(reply).decode().split("\n\n")[:-1]:
        name, data = frame.split("\n")
        found.append((name.removeprefix("event: "), msgspec.json.decode(data.removeprefix("data: "))))
    return found


def text_of(reply_message: Any) -> str:
    """The text blocks of a Message."""
    return "".join(block["text"] for block in reply_message["content"] if block["type"] == "text")


def blocks(reply_message: Any, kind: str) -> list[Any]:
    """The blocks of one type."""
    return [block for block in reply_message["content"] if block["type"] == kind]
