"""How the bodies of a request and its reply begin; only for debugging, since they hold prompts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, TypeAlias

#: What is shown of a body.
SHOWN_BYTES: Final = 2048

#: What is kept of it, so that a secret is masked that goes on behind what is shown.
_KEPT_BYTES: Final = 2 * SHOWN_BYTES

_Message: TypeAlias = MutableMapping[str, Any]
_Receive: TypeAlias = Callable[[], Awaitable[Any]]
_Send: TypeAlias = Callable[[Any], Awaitable[None]]


class BodyExcerpts:
    """The beginnings of the bodies of one request; listens on both of its ASGI channels."""

    __slots__ = ("_reply", "_request")

    def __init__(self) -> None:
        self._request = bytearray()
        self._reply = bytearray()

    def hearing(self, receive: _Receive) -> _Receive:
        """The request's channel, listened to."""

        async def heard() -> _Message:
            message: _Message = await receive()
            _add(self._request, message)
            return message

        return heard

    def telling(self, send: _Send) -> _Send:
        """The reply's channel, listened to."""

        async def told(message: _Message) -> None:
            _add(self._reply, message)
            await send(message)

        return told

    def request_text(self, redact: Callable[[str], str]) -> str:
        """How the request begins, without secrets."""
        return _shown(self._request, redact)

    def reply_text(self, redact: Callable[[str], str]) -> str:
        """How the reply begins, without secrets."""
        return _shown(self._reply, redact)


def _add(excerpt: bytearray, message: _Message) -> None:
    excerpt += message.get("body", b"")[: _KEPT_BYTES - len(excerpt)]


def _shown(excerpt: bytearray, redact: Callable[[str], str]) -> str:
    return redact(excerpt.decode("utf-8", "replace"))[:SHOWN_BYTES]
