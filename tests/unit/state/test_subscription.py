"""A subscription over a connection of redis-py that ends in ways of its own."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.errors import StateUnavailable
from app.state.subscription import hear


class Connection:
    """Is never there.

    Args:
        error: what connecting ends with, also when it is cancelled: ``asyncio.wait_for`` may lose that.
        after_s: when.
    """

    def __init__(self, error: Exception, after_s: float = 0.0) -> None:
        self._error = error
        self._after_s = after_s
        self.is_closed = False

    async def connect(self) -> None:
        try:
            await asyncio.sleep(self._after_s)
        except asyncio.CancelledError:
            raise self._error from None
        raise self._error

    async def disconnect(self, nowait: bool) -> None:
        assert nowait
        self.is_closed = True


def listening(connection: Connection) -> Any:
    return hear(lambda: connection, ["channel"], on_subscribed=lambda: None, on_message=lambda _: None)  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError(),
        ValueError("not a port"),
        RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed"),
    ],
)
async def test_a_connection_that_cannot_be_made_is_a_store_that_is_away(error: Exception) -> None:
    connection = Connection(error)
    with pytest.raises(StateUnavailable):
        await listening(connection)
    assert connection.is_closed


async def test_a_cancellation_that_meets_an_error_is_not_lost() -> None:
    task = asyncio.ensure_future(listening(Connection(ConnectionResetError(), after_s=60.0)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
