"""A client of sessions on several replicas: turns, plain and streamed, and the routes; each request to the next one.

async with session_client(replicas.port, key.text) as client:
    said = await client.say("Hello", session="s", stream=True)
    assert said.is_whole
    assert exchanges(await client.messages("s")) == [("Hello", said.text)]
"""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
import pytest
from msgspec import Struct

from tests.support.chat_frames import frames
from tests.support.replicas import MODEL, Key, Replicas
from workers.simulator.answers.text import opening

#: A client that the gateway cannot lose.
_PATIENCE_S: Final = 120.0


class Said(Struct, frozen=True, kw_only=True):
    """What came of a turn.

    Args:
        status: of the reply.
        headers: of the reply, names in lower case.
        text: of the answer.
        calls: ids of the tools that it calls; of plain answers only.
        error: the error object, whether it came as the reply or within the stream.
        is_whole: the answer came to its end.
    """

    status: int
    headers: Mapping[str, str]
    text: str = ""
    calls: Sequence[str] = ()
    error: Mapping[str, Any] | None = None
    is_whole: bool = False

    @property
    def messages_before(self) -> int:
        """Messages of the session that came before the turn, as the reply tells."""
        return int(self.headers["x-claude-wrapper-session-messages"])


class SessionClient:
    """A client.

    Args:
        http: its connections.
        port: where the next request goes.
        key: its API key; empty for a gateway that asks for none.
    """

    def __init__(self, http: aiohttp.ClientSession, port: Callable[[], int], key: str) -> None:
        self._http, self._port = http, port
        self._authorization = {"authorization": f"Bearer {key}"} if key else {}

    async def say(
        self,
        said: str | Sequence[Mapping[str, Any]],
        *,
        session: str,
        stream: bool = False,
        port: int | None = None,
        headers: Mapping[str, str] | None = None,
        **fields: Any,
    ) -> Said:
        """One turn, read to its end.

        Args:
            said: what the user says, or the new messages.
            session: its id.
            stream: the answer is streamed.
            port: of the replica; without it the next one.
            headers: further ones.
            fields: of the request.

        Raises:
            aiohttp.ClientError: the connection broke.
        """
        async with self.open(said, session=session, stream=stream, port=port, headers=headers, **fields) as reply:
            return read_said(reply, await reply.read())

    @asynccontextmanager
    async def open(
        self,
        said: str | Sequence[Mapping[str, Any]],
        *,
        session: str,
        stream: bool = True,
        port: int | None = None,
        headers: Mapping[str, str] | None = None,
        **fields: Any,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One turn whose answer is left to be read; what is unread at the end is cut off. Arguments as of ``say``."""
        messages = [user(said)] if isinstance(said, str) else list(said)
        body = {"model": MODEL, "messages": messages, "session_id": session, "stream": stream, **fields}
        url = f"http://127.0.0.1:{port or self._port()}/v1/chat/completions"
        async with self._http.post(url, json=body, headers=self._authorization | dict(headers or {})) as reply:
            try:
                yield reply
            finally:
                if reply.connection is not None:
                    reply.close()

    async def ask(
        self, method: str, path: str = "", body: Any = None, *, status: int = 200, port: int | None = None
    ) -> Any:
        """A request to ``/v1/sessions``; its answer, decoded."""
        url = f"http://127.0.0.1:{port or self._port()}/v1/sessions{path}"
        async with self._http.request(method, url, json=body, headers=self._authorization) as reply:
            answer = await reply.json()
            assert reply.status == status, answer
            return answer

    async def append(self, session: str, *texts: str, port: int | None = None) -> Any:
        """Adds messages of the user to a session; how it is then."""
        body = {"messages": [user(text) for text in texts]}
        return await self.ask("POST", f"/{session}/messages", body, port=port)

    async def messages(self, session: str, *, port: int | None = None) -> list[dict[str, Any]]:
        """The messages of a session; none where there is no such session."""
        url = f"http://127.0.0.1:{port or self._port()}/v1/sessions/{session}"
        async with self._http.get(url, headers=self._authorization) as reply:
            answer = await reply.json()
            if reply.status == 404:
                assert answer["error"]["code"] == "session_not_found"
                return []
            assert reply.status == 200, answer
            assert answer["message_count"] == len(answer["messages"])
            messages: list[dict[str, Any]] = answer["messages"]
            return messages


@asynccontextmanager
async def session_client(port: Callable[[], int], key: str = "") -> AsyncIterator[SessionClient]:
    """A client that waits long, with as many connections as it takes."""
    timeout = aiohttp.ClientTimeout(total=_PATIENCE_S)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as http:
        yield SessionClient(http, port, key)


def user(text: str) -> dict[str, Any]:
    """A message of the user."""
    return {"role": "user", "content": text}


def read_said(reply: aiohttp.ClientResponse, body: bytes) -> Said:
    """What came of a turn, from all bytes of its reply."""
    headers = {name.lower(): value for name, value in reply.headers.items()}
    if reply.content_type != "text/event-stream":
        answer = json.loads(body)
        if reply.status != 200:
            return Said(status=reply.status, headers=headers, error=answer["error"])
        message = answer["choices"][0]["message"]
        calls = [call["id"] for call in message.get("tool_calls") or ()]
        return Said(status=200, headers=headers, text=message["content"] or "", calls=calls, is_whole=True)
    sent = [frame for frame in frames(body) if not (isinstance(frame, str) and frame.startswith(":"))]
    chunks = [frame for frame in sent if isinstance(frame, dict)]
    text = "".join(
        choice["delta"].get("content") or "" for chunk in chunks if "error" not in chunk for choice in chunk["choices"]
    )
    error = next((chunk["error"] for chunk in chunks if "error" in chunk), None)
    return Said(
        status=reply.status, headers=headers, text=text, error=error, is_whole=error is None and sent[-1:] == ["[DONE]"]
    )


def exchanges(messages: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Questions and answers of a session in which every question has its answer right behind it."""
    roles = [message["role"] for message in messages]
    assert roles == ["user", "assistant"] * (len(roles) // 2)
    texts = [message["content"] for message in messages]
    return list(zip(texts[::2], texts[1::2], strict=True))


def answers_in_place(said: Sequence[tuple[str, str]]) -> bool:
    """Whether each answer tells, as those of the simulator do, what was asked and how many questions came before it.

    That is so if the prompt of each was the session as it stood before it.
    """
    return all(answer.startswith(opening(question, turn)) for turn, (question, answer) in enumerate(said, 1))


_tenants = (f"tenant-{number}" for number in itertools.count())


@pytest.fixture
def key(replicas: Replicas) -> Key:
    """Of a tenant that nobody else has; used by importing it, as ``client`` is."""
    return replicas.create_key(next(_tenants))


@pytest.fixture
async def client(replicas: Replicas, key: Key) -> AsyncIterator[SessionClient]:
    """Of the replicas of a test's module."""
    async with session_client(replicas.port, key.text) as client:
        yield client
