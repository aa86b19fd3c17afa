"""One HTTP request to a gateway on this machine."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec


def ask(
    url: str,
    path: str,
    *,
    timeout_s: float,
    method: str = "GET",
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, Any]:
    """Status and decoded body of the reply; ``None`` for a body that is no JSON.

    Raises:
        OSError: nobody answers there, or not in time.
    """
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port, timeout=timeout_s)
    try:
        connection.request(method, path, body=body, headers=dict(headers or {}))
        reply = connection.getresponse()
        try:
            return reply.status, msgspec.json.decode(reply.read())
        except msgspec.DecodeError:
            return reply.status, None
    except http.client.HTTPException as exc:
        raise OSError(f"what answers there does not speak HTTP ({type(exc).__name__})") from exc
    finally:
        connection.close()
