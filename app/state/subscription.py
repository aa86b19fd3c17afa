"""One subscription to some channels, from connecting until it is lost, over a connection of redis-py.

Not over our own wire: pub/sub turns a connection around, as the server speaks unasked. Silence is broken by a ``PING``,
so that a server that is dead or frozen is noticed within ``PING_AFTER_S + PATIENCE_S``. Importing this module imports
redis-py (50 ms of CPU and 6 MB on 2026-11-24), so it is imported by whoever listens, not at the start of a worker.
Source: redis.io, "Redis Pub/Sub"; redis-py 8.1, ``redis/asyncio/connection.py``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import NoPermissionError, RedisError

from app.errors import StateError
from app.state.dialing import failure_reason, tls_context
from app.state.error_replies import unavailable
from app.state.urls import Address

#: Silence after which the server is asked whether it is there.
PING_AFTER_S = 1.0
#: How long the server may owe a reply, and a connection may take to be made.
PATIENCE_S = 1.5


def server_connection(address: Address) -> AbstractConnection:
    """A connection to a server that connects when it is used; all databases of a server share their channels.

    Raises:
        OSError: a TLS file cannot be read.
        ValueError: the TLS files do not fit together.
    """
    options: dict[str, Any] = {
        "username": address.username,
        "password": address.password,
        "protocol": 2,
        "socket_timeout": PATIENCE_S,
        "socket_connect_timeout": PATIENCE_S,
    }
    if address.unix_path is not None:
        return UnixDomainSocketConnection(path=address.unix_path, **options)
    options |= {"host": address.host, "port": address.port}
    if address.tls is None:
        return Connection(**options)
    connection = SSLConnection(**options)
    # Not redis-py's own: that trusts the system's CAs also where the operator names another.
    connection.ssl_context.context = tls_context(address.tls)
    return connection


async def hear(
    connect: Callable[[], AbstractConnection],
    channels: Sequence[str],
    *,
    on_subscribed: Callable[[], None],
    on_message: Callable[[bytes], None],
) -> NoReturn:
    """Hears channels until the connection is lost; never returns.

    Args:
        connect: makes the connection, which is closed at the end.
        channels: their names, each once.
        on_subscribed: called when the server has confirmed them all: from now on nothing is missed.
        on_message: called with each message.

    Raises:
        StateUnavailable: there is no connection any more, or never was.
        StateError: the server does not let this user subscribe.
    """
    try:
        await _hear(connect(), channels, on_subscribed, on_message)
    except NoPermissionError:
        names = " and ".join(channels)
        raise StateError(f"The state store does not let its user subscribe to {names} (NOPERM).") from None
    except (OSError, ValueError) as exc:
        raise unavailable(failure_reason(exc)) from None
    except RedisError as exc:
        raise unavailable(f"the subscription was lost ({type(exc).__name__})") from None
    except RuntimeError:  # what uvloop says to a write after the other side has closed
        raise unavailable("the connection was lost") from None


async def _hear(
    connection: AbstractConnection,
    channels: Sequence[str],
    on_subscribed: Callable[[], None],
    on_message: Callable[[bytes], None],
) -> NoReturn:
    try:
        async with asyncio.timeout(PATIENCE_S):
            await connection.connect()  # type: ignore[no-untyped-call]
            await connection.send_command("SUBSCRIBE", *channels)
        missing, is_owed = len(channels), True
        while True:
            reply = await connection.read_response(timeout=PATIENCE_S if is_owed else PING_AFTER_S)
            _end_if_cancelled()
            if reply is None:
                if is_owed:
                    raise TimeoutError
                await connection.send_command("PING")
            elif reply[0] == b"subscribe":
                missing -= 1
                if not missing:
                    on_subscribed()
            elif reply[0] == b"message":
                on_message(reply[2])
            is_owed = reply is None or missing > 0
    finally:
        await connection.disconnect(nowait=True)
        _end_if_cancelled()


def _end_if_cancelled() -> None:
    """Ends a task whose cancellation got lost on the way.

    NOTE: ``asyncio.wait_for`` of Python 3.11, which redis-py and fakeredis await, drops a cancellation that comes
    together with a result or an error; whoever listens would go on for ever.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
