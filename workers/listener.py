"""The listening socket: bound by the master, so that a port that cannot be had is said before anything is started.

A socket that is bound and does not listen yet keeps nobody from the port, as all of ours allow its reuse. From ``bind``
until ``release_claims``, which the master calls when its workers listen, it has the port to itself by a claim: the name
of an abstract unix socket, which the kernel gives to one process only, in the same network namespace as the port, and
takes back when the process ends. Linux only; elsewhere two gateways that start within the same second may both go on.
"""

from __future__ import annotations

import errno
import os
import socket
import sys

#: What the kernel takes over for a slow reader before the worker's own bounded buffer fills; by default it takes MBs.
UNSENT_IN_KERNEL_BYTES = 128 * 1024


#: The claims this process holds.
_claims: set[socket.socket] = set()


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
    if port != 0:
        _claim(port)
    exclusive = _bound(family, address, reuse_port=False)
    if port == 0:
        _claim(exclusive.getsockname()[1])
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


def listen(sock: socket.socket, backlog: int) -> None:
    """Lets a socket take connections.

    Raises:
        CannotListen: another program was quicker.
    """
    try:
        sock.listen(backlog)
    except OSError as exc:
        raise _explained(exc, sock.getsockname()) from exc


def release_claims() -> None:
    """Ends the claim of ``bind``: somebody listens now, which keeps others away."""
    while _claims:
        _claims.pop().close()


# In a forked worker: the claim is the master's, and its end must be one.
os.register_at_fork(after_in_child=release_claims)


def _claim(port: int) -> None:
    """Has the port to ourselves until ``release_claims``.

    Raises:
        CannotListen: another gateway has claimed it.
    """
    if sys.platform != "linux":
        return
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0claude-wrapper-port-{port}")
    except OSError as exc:
        claim.close()
        if exc.errno == errno.EADDRINUSE:
            raise CannotListen(f"Port {port} is taken: another gateway is starting there.", taken=True) from None
        return  # a sandbox without such names: what listens is seen all the same
    _claims.add(claim)


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
