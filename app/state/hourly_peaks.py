"""The gauges of the last hours, for forecasts: a few fields of each hour, not all that was counted in it.

The hours themselves are written by ``app.state.minutes``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from app.errors import StateError
from app.state import keys
from app.state.connection import StateConnection
from app.state.error_replies import WrongType

_SECONDS_AN_HOUR: Final = 3600
_PEAK: Final = re.compile(rb"[0-9]{1,16}")


async def read_hourly_peaks(state: StateConnection, names: Sequence[str], *, last: int) -> dict[int, dict[str, int]]:
    """The highest values of gauges in each of the last hours, the running one among them, by hour since 1970.

    Two round trips, some 100 bytes an hour. Hours and gauges without a value, or with one that cannot be read, are
    left out.

    Args:
        state: the store.
        names: of the gauges, as ``app.domain.minutes`` has them.
        last: how many hours.

    Raises:
        StateError: the store did not answer.
    """
    running = int((await state.call("TIME"))[0]) // _SECONDS_AN_HOUR
    hours = range(running - last + 1, running + 1)
    replies = await state.pipeline([("HMGET", f"{keys.HOURS}{hour}", *names) for hour in hours])
    peaks = {}
    for hour, reply in zip(hours, replies, strict=True):
        if isinstance(reply, WrongType):
            continue
        if isinstance(reply, StateError):
            raise reply
        found = {name: int(value) for name, value in zip(names, reply, strict=True) if value and _PEAK.fullmatch(value)}
        if found:
            peaks[hour] = found
    return peaks
