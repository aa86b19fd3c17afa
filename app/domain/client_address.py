"""Which client a request comes from: its peer, or what trusted proxies say of it in ``X-Forwarded-For``; pure.

Every proxy appends the address it was asked from, so only the right end of the list is known to be true: it was written
by a proxy that we trust, as was what stands before a trusted address, and so on. Whatever stands further left may be
made up by the client. Source: MDN, "X-Forwarded-For", section "Selecting an IP address"; DESIGN.md section 3.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Final, Literal

from msgspec import Struct

#: Stands for clients of a unix socket, as a peer and among the trusted proxies.
UNIX: Final = "unix"

#: Hops of X-Forwarded-For that are looked at, from the right; no deployment has as many proxies.
MAX_HOPS: Final = 32

#: The longest text that is read as an address: IPv6 with an IPv4 tail, a zone, brackets and a port.
_MAX_CHARS: Final = 80
#: Addresses that are remembered as read.
_REMEMBERED: Final = 4096
#: A /64 is what one IPv6 subscriber has at least (RFC 6177), so that its 2^64 addresses count as one.
_IPV6_GROUP_BITS: Final = 64

_WITH_PORT = re.compile(r"\[(?P<bracketed>[^\]]*)\](?::[0-9]{1,5})?|(?P<plain>[^:]*):[0-9]{1,5}")


class _Address(Struct, frozen=True):
    """An address as it was read: its usual text, its throttle group, and its number for comparison."""

    text: str
    group: str
    version: Literal[4, 6]
    number: int


class _Network(Struct, frozen=True):
    version: Literal[4, 6]
    first: int
    mask: int


class TrustedProxies(Struct, frozen=True):
    """The proxies whose ``X-Forwarded-For`` is believed.

    Args:
        networks: of their addresses.
        unix: peers on a unix socket are among them.
    """

    networks: tuple[_Network, ...] = ()
    unix: bool = False

    def has(self, address: _Address) -> bool:
        """Whether an address is one of them."""
        return bool(self.networks) and any(
            network.version == address.version and address.number & network.mask == network.first
            for network in self.networks
        )


NO_PROXIES: Final = TrustedProxies()


def trusted_networks(texts: Iterable[str]) -> TrustedProxies:
    """Trusted proxies from a setting.

    Args:
        texts: addresses, networks such as ``10.0.0.0/8``, or ``unix`` for the peers of a unix socket.

    Raises:
        ValueError: its message is a sentence that begins with the offending text and says what would be accepted.
    """
    given = [text.strip() for text in texts]
    return TrustedProxies(
        networks=tuple(_network(text) for text in given if text != UNIX),
        unix=UNIX in given,
    )


def _network(text: str) -> _Network:
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(f"{error}; it takes addresses, networks such as 10.0.0.0/8, and {UNIX!r}.") from None
    first, bits = network.network_address, network.prefixlen
    if isinstance(first, ipaddress.IPv6Address) and first.ipv4_mapped is not None and bits >= 96:
        network = ipaddress.ip_network((first.ipv4_mapped, bits - 96))
    return _Network(network.version, int(network.network_address), int(network.netmask))


def client_address(peer: str | None, forwarded_for: Sequence[bytes], trusted: TrustedProxies) -> str:
    """The address of the client. Never raises.

    It is the peer, unless that is a trusted proxy; then it is the right-most address of ``X-Forwarded-For`` that is not
    one. What is no address ends the search, and the last address before it counts. Costs less than a microsecond
    where no proxy is trusted.

    Args:
        peer: address of the connection's other side; ``None`` or empty for a unix socket.
        forwarded_for: all ``X-Forwarded-For`` headers, in their order.
        trusted: see ``trusted_networks``.

    Returns:
        The address in its usual form, IPv4 also for an IPv6-mapped one; ``unix`` for a peer of a unix socket.
    """
    if peer:
        address = _read(peer)
        if address is None:
            return peer
        client, believed = address.text, trusted.has(address)
    else:
        client, believed = UNIX, trusted.unix
    if not believed:
        return client
    for hop in _hops(forwarded_for):
        address = _read(hop.strip())
        if address is None:
            break
        client = address.text
        if not trusted.has(address):
            break
    return client


def throttle_group(address: str) -> str:
    """Who is slowed together with an address: nobody for IPv4, its /64 for IPv6.

    Args:
        address: as ``client_address`` gave it; what is no address is a group of its own.
    """
    read = _read(address)
    return address if read is None else read.group


def _hops(forwarded_for: Sequence[bytes]) -> Iterator[str]:
    """The elements of the headers, from the last to the first, at most ``MAX_HOPS``."""
    left = MAX_HOPS
    for header in reversed(forwarded_for):
        parts = header.decode("latin-1").rsplit(",", left)
        yield from parts[: -left - 1 : -1]
        left -= len(parts)
        if left <= 0:
            return


def _read(text: str) -> _Address | None:
    """An address from text, with or without brackets and port; ``None`` for anything else."""
    return _parsed(text) if len(text) <= _MAX_CHARS else None


@lru_cache(maxsize=_REMEMBERED)
def _parsed(text: str) -> _Address | None:
    found = _WITH_PORT.fullmatch(text)
    bare = text if found is None else found["bracketed"] or found["plain"] or ""
    try:
        address = ipaddress.ip_address(bare.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            group = ipaddress.ip_network((address, _IPV6_GROUP_BITS), strict=False)
            return _Address(str(address), str(group), 6, int(address))
        address = address.ipv4_mapped
    return _Address(str(address), str(address), 4, int(address))
