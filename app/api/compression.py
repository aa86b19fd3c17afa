"""Compression of plain replies, for clients that accept it; streams never are (DESIGN.md section 5).

The head of a reply that may be compressed is held back until its body is there, since both decide on it together. All
others pass at the cost of one look at their headers. Codings and their weights: RFC 9110 sections 8.4 and 12.5; zstd in
HTTP: RFC 8878, RFC 9659.

Levels by measurement (2026-11-24, one core, chat replies of prose; CPU per reply and what is left of it):

    body       zstd 1           zstd 3           gzip 1           gzip 6
    2 KB       8 us, 58 %       10 us, 57 %      28 us, 58 %      31 us, 56 %
    10 KB      27 us, 46 %      36 us, 46 %      51 us, 47 %      89 us, 44 %
    100 KB     143 us, 28 %     186 us, 25 %     771 us, 34 %     2803 us, 27 %
    1 MB       0.8 ms, 7 %      0.8 ms, 6 %      7.6 ms, 32 %     30 ms, 24 %
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final, Literal

import zstandard
from litestar.types import HTTPResponseStartEvent, Message, Send

from app.config import Config

Coding = Literal["zstd", "gzip"]
Headers = Iterable[tuple[bytes, bytes]]

_LEVEL: Final = 1
_GZIP_FRAMING: Final = 31

#: Larger bodies are compressed in a thread: they would keep the event loop for longer than a millisecond.
IN_THREAD_FROM_BYTES: Final = 128 * 1024

#: A longer list of codings is nobody's.
_LONGEST_LIST: Final = 1000

#: A reply that could have been compressed differs by what its client accepts: caches have to know.
VARY: Final = b"accept-encoding"

_CODINGS: Final[dict[str, tuple[Coding, ...]]] = {"auto": ("zstd", "gzip"), "zstd": ("zstd",), "gzip": ("gzip",)}

_TEXTS: Final = (b"application/json", b"application/javascript", b"application/xml", b"image/svg+xml")
_EVENT_STREAM: Final = b"text/event-stream"

#: Replies without a body, and parts of a body.
_LEFT_ALONE: Final = frozenset({204, 205, 206, 304})


class Compression:
    """What a gateway compresses. None is needed with ``compression=off``: see ``of``.

    Args:
        codings: in the order of preference.
        min_bytes: smaller replies are sent as they are.
    """

    def __init__(self, codings: tuple[Coding, ...], min_bytes: int) -> None:
        self.codings = codings
        self.min_bytes = min_bytes
        self._zstd = zstandard.ZstdCompressor(level=_LEVEL)

    @classmethod
    def of(cls, config: Config) -> Compression | None:
        """What the settings ask for; ``None`` for nothing."""
        codings = _CODINGS.get(config.compression)
        return cls(codings, config.compression_min_bytes) if codings is not None else None

    def sender(self, request_headers: Mapping[bytes, bytes], send: Send) -> Send:
        """A ``send`` for one reply, before the given one."""
        return _Reply(self, request_headers, send).send

    async def compress(self, coding: Coding, body: bytes) -> bytes:
        """A whole body in a coding; a large one without keeping the event loop."""
        if len(body) >= IN_THREAD_FROM_BYTES:
            return await asyncio.to_thread(_IN_THREAD[coding], body)
        return self._zstd.compress(body) if coding == "zstd" else _gzip(body)


class _Reply:
    """One reply on its way to the client."""

    __slots__ = ("_compression", "_head", "_request_headers", "_send")

    def __init__(self, compression: Compression, request_headers: Mapping[bytes, bytes], send: Send) -> None:
        self._compression = compression
        self._request_headers = request_headers
        self._send = send
        self._head: HTTPResponseStartEvent | None = None

    def send(self, message: Message) -> Awaitable[None]:
        """Passes a message on; not a coroutine itself, which would cost every event of a stream."""
        if message["type"] == "http.response.start":
            if is_candidate(message["status"], message["headers"], self._compression.min_bytes):
                self._head = message
                return _later()
        elif self._head is not None and message["type"] == "http.response.body":
            return self._both(self._head, message["body"], more=message["more_body"])
        return self._send(message)

    async def _both(self, head: HTTPResponseStartEvent, body: bytes, *, more: bool) -> None:
        """The head that was held back, and the body, which is whole unless more is to come."""
        self._head = None
        headers = list(head["headers"])
        if not more and len(body) >= self._compression.min_bytes:
            coding = choose(self._request_headers.get(b"accept-encoding", b""), self._compression.codings)
            if coding is not None:
                compressed = await self._compression.compress(coding, body)
                if len(compressed) < len(body):
                    body = compressed
                    headers = encoded_headers(headers, coding, len(body))
            headers = varying(headers)
        await self._send({**head, "headers": headers})
        await self._send({"type": "http.response.body", "body": body, "more_body": more})


def is_candidate(status: int, headers: Headers, min_bytes: int) -> bool:
    """Whether a reply may be compressed, by its head: a text, large enough or of unknown size, not encoded yet.

    Args:
        status: of the reply.
        headers: of the reply, names in lower case.
        min_bytes: smaller replies are sent as they are.
    """
    is_text = False
    for name, value in headers:
        if name == b"content-length":
            if value.isdigit() and int(value) < min_bytes:
                return False
        elif name == b"content-type":
            is_text = is_compressible(value)
        elif name in (b"content-encoding", b"content-range") or (name == b"cache-control" and b"no-transform" in value):
            return False
    return is_text and status not in _LEFT_ALONE


def is_compressible(content_type: bytes) -> bool:
    """Whether a body of this media type is a text, and no stream."""
    media_type = content_type.partition(b";")[0].strip().lower()
    if media_type.startswith(b"text/"):
        return media_type != _EVENT_STREAM
    return media_type in _TEXTS or media_type.endswith(b"+json")


def choose(accept_encoding: bytes, offered: Sequence[Coding]) -> Coding | None:
    """The coding that a client likes best; of those that it likes alike, the first that is offered.

    Args:
        accept_encoding: the request's header; empty where it is absent.
        offered: in the order of preference.

    Returns:
        ``None`` where it accepts none of them, or rather takes the body as it is.
    """
    weights = accepted(accept_encoding)
    others = weights.get("*", 0.0)
    best = max(offered, key=lambda coding: weights.get(coding, others))
    weight = weights.get(best, others)
    return best if weight > 0 and weight >= weights.get("identity", 0.0) else None


def accepted(accept_encoding: bytes) -> dict[str, float]:
    """``coding -> weight`` of an ``Accept-Encoding``; entries that are not of its form are left out."""
    if len(accept_encoding) > _LONGEST_LIST:
        return {}
    weights: dict[str, float] = {}
    for entry in accept_encoding.decode("latin-1").lower().split(","):
        coding, _, parameter = entry.partition(";")
        weight = _weight(parameter)
        if weight is not None and coding.strip():
            weights[coding.strip().removeprefix("x-")] = weight
    return weights


def _weight(parameter: str) -> float | None:
    """The number of ``q=0.5``; 1 where there is none, ``None`` where it is no weight."""
    if not parameter.strip():
        return 1.0
    name, _, value = parameter.partition("=")
    try:
        weight = float(value)
    except ValueError:
        return None
    return weight if name.strip() == "q" and 0 <= weight <= 1 else None


def encoded_headers(headers: Headers, coding: Coding, size_bytes: int) -> list[tuple[bytes, bytes]]:
    """The headers of a reply whose body has been encoded."""
    kept = [(name, value) for name, value in headers if name != b"content-length"]
    return [*kept, (b"content-encoding", coding.encode()), (b"content-length", str(size_bytes).encode())]


async def _later() -> None:
    """What becomes of a head that is held back."""


def varying(headers: Headers) -> list[tuple[bytes, bytes]]:
    """The headers of a reply that could have been encoded otherwise."""
    told = [value for name, value in headers if name == b"vary"]
    return [*((name, value) for name, value in headers if name != b"vary"), (b"vary", b", ".join([*told, VARY]))]


def _gzip(body: bytes) -> bytes:
    return zlib.compress(body, _LEVEL, _GZIP_FRAMING)


def _zstd(body: bytes) -> bytes:
    """With a compressor of its own: they must not be used by two threads."""
    return zstandard.ZstdCompressor(level=_LEVEL).compress(body)


_IN_THREAD: Final[dict[Coding, Callable[[bytes], bytes]]] = {"zstd": _zstd, "gzip": _gzip}
