"""Reads a request body under its bounds: by Content-Length before a byte is read, by a running total, by time."""

from __future__ import annotations

import asyncio

from litestar.types import Receive, Scope

from app.api.headers import header
from app.errors import BodyTooLarge, ClientDisconnected, InvalidRequest, RequestTimeout

#: A body that comes more slowly than this on average, over its first pause and more, is given up: byte after byte, each
#: in time, it would hold a place among the requests in flight for years. Apache's ``RequestReadTimeout`` has 500.
MIN_BYTES_PER_S = 1024.0


async def read_body(scope: Scope, receive: Receive, *, max_bytes: int, pause_s: float) -> bytes:
    """The whole body.

    Args:
        scope: the request.
        receive: its ASGI channel.
        max_bytes: bound of the body.
        pause_s: the client may pause this long between two parts, and all its pauses together may exceed this only
            by what its body takes at ``MIN_BYTES_PER_S``.

    Raises:
        BodyTooLarge: over the bound; nothing more was read.
        RequestTimeout: the client paused for too long, or sends too slowly.
        InvalidRequest: the Content-Length is not a number, or the body is compressed.
        ClientDisconnected: the client left before the end.
    """
    encoding = header(scope, b"content-encoding")
    if encoding is not None and encoding.strip().lower() not in ("", "identity"):
        raise InvalidRequest(
            "Compressed request bodies are not accepted: send the body as it is, without a Content-Encoding header.",
            param="header.content-encoding",
            code="invalid_value",
        )
    declared = header(scope, b"content-length")
    if declared is not None:
        if not declared.isdecimal():
            raise InvalidRequest("The Content-Length header is not a number.")
        if int(declared) > max_bytes:
            raise _too_large(max_bytes)
    parts: list[bytes] = []
    size = 0
    loop = asyncio.get_running_loop()
    began_at = loop.time()
    while True:
        spared_s = size / MIN_BYTES_PER_S - (loop.time() - began_at)
        try:
            async with asyncio.timeout(pause_s + min(0.0, spared_s)):
                message = await receive()
        except TimeoutError:
            raise RequestTimeout(
                f"The request body was not complete: nothing arrived for {pause_s:g} s, or it came too slowly "
                f"(fewer than {MIN_BYTES_PER_S:g} bytes a second)."
            ) from None
        if message["type"] == "http.disconnect":
            raise ClientDisconnected("The client left while it sent its request.")
        part: bytes = message.get("body", b"")  # type: ignore[assignment]  # an http.request message
        size += len(part)
        if size > max_bytes:
            raise _too_large(max_bytes)
        if not message.get("more_body", False):
            return b"".join([*parts, part]) if parts else part
        parts.append(part)


def _too_large(max_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"The request body is larger than this gateway accepts ({max_bytes} bytes).")
