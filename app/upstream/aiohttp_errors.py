"""What aiohttp's errors mean: one of ours for every one of its own, most specific first.

The message is for a client of the gateway: it names no address, no proxy and nothing that came over the wire; aiohttp's
own error stays the cause, for the log.
"""

from __future__ import annotations

import asyncio

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from app.errors import BadUpstreamReply, GatewayError, InternalError, UpstreamTimeout, UpstreamUnreachable
from app.upstream.connections import KeptConnectionBroke

#: What an exchange fails with: the connection, the framing of a reply, or a compression nobody asked for. aiohttp says
#: ``RuntimeError`` when it is asked to send or read over what is closed.
EXCHANGE_ERRORS = (aiohttp.ClientError, HttpProcessingError, OSError, RuntimeError)


def sending_error(exc: BaseException, *, connect_timeout_s: float) -> GatewayError:
    """Why there is no reply: no connection, a connection that broke, or something that is not HTTP.

    Args:
        exc: aiohttp's error.
        connect_timeout_s: the deadline it may have missed.
    """
    match exc:
        case aiohttp.ConnectionTimeoutError():
            return UpstreamTimeout(f"No connection to Anthropic within {connect_timeout_s:g} s.", phase="connect")
        case aiohttp.ClientConnectorDNSError():
            return UpstreamUnreachable("Could not connect to Anthropic: its host name cannot be resolved.")
        case aiohttp.ClientConnectorCertificateError():
            return UpstreamUnreachable(
                "Could not connect to Anthropic: its certificate is not trusted; "
                "CLAUDE_WRAPPER_UPSTREAM_CA_BUNDLE names further authorities."
            )
        case aiohttp.ClientSSLError():
            return UpstreamUnreachable("Could not connect to Anthropic: no TLS connection could be agreed on.")
        case aiohttp.ClientProxyConnectionError():
            return UpstreamUnreachable("Could not connect to Anthropic: the HTTP proxy cannot be reached.")
        case aiohttp.ClientHttpProxyError():
            return UpstreamUnreachable(
                f"Could not connect to Anthropic: the HTTP proxy refused with status {exc.status}."
            )
        case aiohttp.ClientConnectorError():
            return UpstreamUnreachable("Could not connect to Anthropic: the connection was refused or failed.")
        case aiohttp.ClientResponseError() | HttpProcessingError():
            return BadUpstreamReply("Anthropic's reply is not HTTP, or its headers are larger than any of Anthropic's.")
        case aiohttp.ClientError() | OSError():
            kept = isinstance(exc, KeptConnectionBroke)
            return UpstreamUnreachable("The connection to Anthropic broke before it answered.", sent=True, kept=kept)
        case _:
            return InternalError("The request to Anthropic could not be made.")


def reading_error(exc: BaseException, *, idle_timeout_s: float) -> GatewayError:
    """Why a body did not come to its end; ``exc`` is one of ``EXCHANGE_ERRORS``."""
    match exc:
        case asyncio.TimeoutError():
            return UpstreamTimeout(f"Anthropic was silent for {idle_timeout_s:g} s inside its answer.", phase="idle")
        case HttpProcessingError():
            return BadUpstreamReply("Anthropic's reply is not HTTP: its body is framed wrongly.")
        case _:
            return UpstreamUnreachable("The connection to Anthropic broke before its answer was complete.", sent=True)
