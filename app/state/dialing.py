"""Opening a connection: TCP, TLS or a unix socket, then who we are and which database.

The handshake is one write: ``AUTH``, ``SELECT``, ``CLIENT SETNAME`` and a probe, so that a connection counts as
established only when the server can be written to. ``CLIENT SETNAME`` is for the operator's eyes and may be refused.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from functools import lru_cache

from app.errors import StateError
from app.state.error_replies import WritesRefused
from app.state.urls import Address, TlsOptions
from app.state.wire import Batch, Wire, pack

_NEVER = float("inf")


async def dial(address: Address, wire: Wire, loop: asyncio.AbstractEventLoop) -> None:
    """Connects ``wire`` to the server.

    Raises:
        OSError: no connection, ``ssl.SSLError`` and a name that does not resolve included.
        ValueError: the TLS files do not fit together.
    """
    if address.unix_path is not None:
        await loop.create_unix_connection(lambda: wire, address.unix_path)
        return
    context = tls_context(address.tls) if address.tls is not None else None
    transport, _ = await loop.create_connection(lambda: wire, address.host, address.port, ssl=context)
    raw: socket.socket | None = transport.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


async def handshake(address: Address, wire: Wire, client_name: str, probe: bytes) -> None:
    """Logs in, selects the database and proves that the server takes a write.

    Raises:
        StateError: the server refused; a write it refuses for want of memory or disk is not a reason.
    """
    commands = []
    if address.password is not None:
        user = (address.username,) if address.username is not None else ()
        commands.append(pack(("AUTH", *user, address.password)))
    if address.database:
        commands.append(pack(("SELECT", address.database)))
    commands.append(probe)
    required = len(commands)
    commands.append(pack(("CLIENT", "SETNAME", client_name)))
    batch = Batch(asyncio.get_running_loop().create_future(), len(commands))
    wire.pending.extend((batch.future, _NEVER, None, batch, index, False) for index in range(len(commands)))
    wire.write(b"".join(commands))
    for reply in (await batch.future)[:required]:
        if isinstance(reply, StateError) and not isinstance(reply, WritesRefused):
            raise reply


def failure_reason(exc: Exception) -> str:
    """Why a connection could not be made, in words that name no address and no secret."""
    match exc:
        case StateError():
            text = exc.message.removeprefix("The state store is not available: ").rstrip(".")
            return text.replace("The state store", "it", 1)
        case TimeoutError():
            return "it cannot be reached in time"
        case ssl.SSLCertVerificationError():
            return "its TLS certificate cannot be verified"
        case ssl.SSLError():
            return "the TLS handshake failed"
        case socket.gaierror():
            return "its host name does not resolve"
        case ConnectionRefusedError():
            return "the connection is refused"
        case FileNotFoundError():
            return "its socket or a TLS file does not exist"
        case _:
            return f"it cannot be reached ({type(exc).__name__})"


@lru_cache(maxsize=4)
def tls_context(options: TlsOptions) -> ssl.SSLContext:
    """Made once: reading the system's CAs takes tens of milliseconds, and a lost server is dialed every second."""
    context = ssl.create_default_context(cafile=options.ca_file)
    context.check_hostname = options.check_hostname
    context.verify_mode = ssl.CERT_REQUIRED if options.verify else ssl.CERT_NONE
    if options.cert_file is not None:
        context.load_cert_chain(options.cert_file, options.key_file)
    return context
