"""The listening socket: bound by the master, so that a port that cannot be had is said before anything is started."""

from __future__ import annotations

import errno
import os
import socket

#: What the kernel takes over for a slow reader before the worker's own bounded buffer fills; by default it takes MBs.
UNSENT_IN_KERNEL_BYTES = 128 * 1024


class CannotListen(OSError):
    """The address cannot be listened on; the text says why, in one sentence."""

    def __init__(self, message: str, *, taken: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.taken = taken
        """True when somebody else listens there."""


def bind(host: str, port: int, *, shared: bool) -> socket.socket:
    """Binds the gateway's address.

    Args:
        host: address or name; a name is resolved and its first address taken.
        port: TCP port; 0 takes a free one.
        shared: every worker will listen on a socket of its own (``bind_again``), so that the kernel spreads
            connections evenly. The socket returned then only keeps the port and must never listen itself: what the
            kernel hands to a socket that nobody accepts from is lost.

    Raises:
        CannotListen: the port is taken, needs privileges, or the host is no address of this machine.
    """
    family, address = _resolve(host, port)
    exclusive = _bound(family, address, reuse_port=False)
    if not shared:
        return exclusive
    # NOTE: SO_REUSEPORT alone would let a second gateway of the same user take the port silently; the exclusive socket
    # above has shown that nobody listens.
    address = exclusive.getsockname()
    exclusive.close()
    return _bound(family, address, reuse_port=True)


def bind_again(keeper: socket.socket) -> socket.socket:
    """One more socket on the address of ``keeper``, for one worker; it takes connections once it listens."""
    return _bound(keeper.family, keeper.getsockname(), reuse_port=True)


def _resolve(host: str, port: int) -> tuple[socket.AddressFamily, tuple[object, ...]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise CannotListen(f"{host!r} is neither an address nor a name that this machine can resolve.") from None
    family, _, _, _, address = found[0]
    return family, address


def _bound(family: socket.AddressFamily, address: tuple[object, ...], *, reuse_port: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Connections inherit both.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_IN_KERNEL_BYTES)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(address)
    except OSError as exc:
        sock.close()
        raise _explained(exc, address) from exc
    sock.setblocking(False)
    return sock


def _explained(exc: OSError, address: tuple[object, ...]) -> CannotListen:
    host, port = address[0], address[1]
    match exc.errno:
        case errno.EADDRINUSE:
            return CannotListen(f"Port {port} on {host} is taken.", taken=True)
        case errno.EACCES:
            return CannotListen(f"Port {port} needs privileges that this user does not have.")
        case errno.EADDRNOTAVAIL:
            return CannotListen(f"{host} is not an address of this machine.")
    return CannotListen(f"Cannot listen on {host}:{port}: {os.strerror(exc.errno or 0)}.")
