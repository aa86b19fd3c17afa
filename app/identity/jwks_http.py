"""A JWKS over HTTP: one short-lived session a fetch, bounded in time and size, and to the host that was configured.

Imports aiohttp, so only ``open_jwt`` imports this module, and only where a URL is configured.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

from app.identity.jwks import FetchFailed
from app.identity.settings import is_loopback

#: For all of a fetch, redirects included.
FETCH_S: Final = 5.0

MAX_DOCUMENT_BYTES: Final = 1024**2

_MAX_REDIRECTS: Final = 3
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_HEADERS: Final = {"accept": "application/jwk-set+json, application/json", "accept-encoding": "identity"}


async def fetch_jwks(url: str) -> bytes:
    """The document at a URL.

    Certificates are verified by what the system or ``SSL_CERT_FILE`` trusts; ``HTTPS_PROXY`` and its family are
    honoured, except towards this machine.

    Raises:
        FetchFailed: no answer in time, another one than 200, too large, or a redirect to another place.
    """
    timeout = aiohttp.ClientTimeout(total=FETCH_S)
    try:
        async with aiohttp.ClientSession(
            timeout=timeout, cookie_jar=aiohttp.DummyCookieJar(), headers=_HEADERS
        ) as session:
            return await _follow(session, URL(url), _proxy(url))
    except TimeoutError:
        raise FetchFailed(f"did not answer within {FETCH_S:g} s") from None
    except (aiohttp.ClientError, OSError, ValueError) as exc:
        raise FetchFailed(f"cannot be reached, or broke off ({type(exc).__name__})") from exc


async def _follow(session: aiohttp.ClientSession, url: URL, proxy: str | None) -> bytes:
    """The document at a URL, or where its own host says it is."""
    at = url
    for _ in range(1 + _MAX_REDIRECTS):
        async with session.get(at, allow_redirects=False, proxy=proxy) as reply:
            if reply.status == 200:
                return await _body(reply)
            if reply.status not in _REDIRECTS:
                raise FetchFailed(f"answered with status {reply.status}")
            at = _redirected(at, reply.headers.get("location", ""))
            if at.origin() != url.origin():
                raise FetchFailed("redirects to another host, which is not followed")
    raise FetchFailed("redirects too often")


def _redirected(url: URL, location: str) -> URL:
    """Where a redirect leads.

    Raises:
        FetchFailed: to no http or https URL.
    """
    try:
        target = url.join(URL(location))
        target.origin()
    except ValueError:
        raise FetchFailed("redirects to what is no URL") from None
    return target


async def _body(reply: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for data in reply.content.iter_any():
        body += data
        if len(body) > MAX_DOCUMENT_BYTES:
            raise FetchFailed(f"is larger than {MAX_DOCUMENT_BYTES} bytes")
    return bytes(body)


def _proxy(url: str) -> str | None:
    """The HTTP proxy that the environment names for a URL."""
    parts = urlsplit(url)
    if is_loopback(parts.hostname or "") or proxy_bypass(parts.netloc):
        return None
    proxies = getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")
