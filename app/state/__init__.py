"""The room that talks to Redis: one multiplexed connection, scripts, key names, and what is kept under them.

``connect`` opens the store a URL names; what it returns is a ``StateConnection`` (``connection.py``), which the other
modules of this room take as their first argument.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.domain.histograms import Histogram

if TYPE_CHECKING:
    from app.state.connection import StateConnection


def connect(
    url: str,
    *,
    timeout_s: float = 0.25,
    queue_limit: int = 10_000,
    client_name: str = "claude-wrapper",
    times: Histogram | None = None,
) -> StateConnection:
    """The store that a URL names; the first call connects, so the server need not be up.

    Only what the URL needs is imported: fakeredis and redis-py for ``memory://``, neither for a server.

    Args:
        url: ``redis://``, ``rediss://``, ``unix://`` or ``memory://``; ``auto`` has been resolved by the caller.
        timeout_s: deadline of one call.
        queue_limit: calls waiting or in flight before new ones fail at once.
        client_name: shown by ``CLIENT LIST`` on the server; no spaces.
        times: gets the time of every call that is answered, in seconds; ``None``: nobody wants to know.

    Raises:
        SettingError: the URL is not accepted; the text names the variable and never repeats the URL.
    """
    from app.state.urls import parse_address, scheme_of

    if scheme_of(url) == "memory":
        from app.state.memory import MemoryConnection

        return MemoryConnection(times=times)
    address = parse_address(url)
    from app.state.multiplexed import MultiplexedConnection

    return MultiplexedConnection(
        address,
        timeout_s=timeout_s,
        queue_limit=queue_limit,
        client_name=client_name,
        times=times if times is not None else Histogram(),
    )
