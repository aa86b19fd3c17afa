"""The figures of all workers by the minute and by the hour: added to by every worker, read by whoever shows them.

A worker hands over what it has counted every few seconds; the script adds it to the minute and the hour of the server's
clock. A minute or hour that is over does not change any more, so a ``BucketReader`` reads each of them once, and tells
only its dearest tenants apart. The names of the figures are in ``app.domain.minutes``, what they mean together in
``app.domain.buckets``. Source: DESIGN.md section 9.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Final

from app.domain import minutes
from app.domain.buckets import Bucket, bucket_from, condensed
from app.errors import StateError
from app.state import keys
from app.state.connection import Command, Reply, StateConnection
from app.state.error_replies import WrongType
from app.state.scripts import ScriptCall, load_script

ADD_MINUTE: Final = load_script("add_minute")

#: Figures of a minute and of an hour; once there are more, spend of a tenant that is new to it counts as that of
#: ``minutes.OTHER``. Everything but tenants comes to about 300 figures, so these are the 200 and the 2000 tenants that
#: spent first. It bounds the store's memory: 16 KB a minute for 48 hours are 46 MB, 80 KB an hour for 5 days are 10 MB.
MOST_OF_MINUTE: Final = 500
MOST_OF_HOUR: Final = 2300
#: Minutes and hours that are read at most: those that are kept.
MOST_MINUTES: Final = keys.MINUTE_TTL_S // 60
MOST_HOURS: Final = keys.HOUR_TTL_S // 3600
#: Buckets of one pipeline. An hour of 2,000 tenants is three milliseconds of work, and replies come in one piece.
_AT_ONCE: Final = 2

_COUNT: Final = re.compile(rb"[0-9]{1,19}")


def add_minute_command(figures: Mapping[str, int], peaks: Mapping[str, int]) -> Command:
    """What adds the counts of a worker to this minute and this hour; its reply is the minute.

    Args:
        figures: counts by the names of ``app.domain.minutes``; none below 0, and sums stay below 2^63.
        peaks: gauges by the names that begin with ``minutes.PEAK``, up to 2^53; the highest of the time is kept.
    """
    words: list[str | int] = [
        *(keys.MINUTE_TTL_S, keys.HOUR_TTL_S),
        *(MOST_OF_MINUTE, MOST_OF_HOUR),
        *(minutes.NANO_OF_TENANT, minutes.NANO_OF_TENANT + minutes.OTHER),
        *(len(figures), len(peaks)),
    ]
    for pair in (*figures.items(), *peaks.items()):
        words += pair
    return ScriptCall(ADD_MINUTE, (keys.MINUTES, keys.HOURS), words)


class BucketReader:
    """Reads buckets again and again, and those that are over only once.

    Args:
        state: the store.
    """

    def __init__(self, state: StateConnection) -> None:
        self._state = state
        self._past_minutes: dict[int, Bucket] = {}
        self._past_hours: dict[int, Bucket] = {}

    async def minutes(self, last: int) -> list[Bucket]:
        """The last minutes by the server's clock, oldest first, the running one among them; empty ones, too.

        Args:
            last: how many; at most ``MOST_MINUTES`` are kept.

        Raises:
            StateError: the store did not answer.
        """
        return await self._read(keys.MINUTES, last, length_s=60, kept=MOST_MINUTES, past=self._past_minutes)

    async def hours(self, last: int) -> list[Bucket]:
        """The last hours, likewise; at most ``MOST_HOURS`` are kept.

        Raises:
            StateError: the store did not answer.
        """
        return await self._read(keys.HOURS, last, length_s=3600, kept=MOST_HOURS, past=self._past_hours)

    async def _read(
        self, beginning: str, last: int, *, length_s: int, kept: int, past: dict[int, Bucket]
    ) -> list[Bucket]:
        now_s = int((await self._state.call("TIME"))[0])
        running = now_s // length_s
        wanted = range(running - min(last, kept) + 1, running + 1)
        buckets = {number: past[number] for number in wanted if number in past}
        missing = [number for number in wanted if number not in past]
        for first in range(0, len(missing), _AT_ONCE):
            numbers = missing[first : first + _AT_ONCE]
            commands = [("HGETALL", f"{beginning}{number}") for number in numbers]
            for number, reply in zip(numbers, await self._state.pipeline(commands, large=True), strict=True):
                start_at = number * length_s
                seconds = min(length_s, now_s - start_at + 1)
                bucket = bucket_from(_figures(reply), number=number, start_at=start_at, seconds=seconds)
                buckets[number] = bucket if number == running else condensed(bucket)
                await asyncio.sleep(0)
        past |= {number: bucket for number, bucket in buckets.items() if number != running}
        for number in [number for number in past if number <= running - kept]:
            del past[number]
        return [buckets[number] for number in wanted]


def _figures(reply: Reply | StateError) -> dict[str, int]:
    """Whole numbers by name; what cannot be read, such as a key that is no hash, is left out.

    Raises:
        StateError: the store refused to read it.
    """
    if isinstance(reply, WrongType):
        return {}
    if isinstance(reply, StateError):
        raise reply
    pairs = zip(reply[::2], reply[1::2], strict=True)
    return {name.decode(errors="replace"): int(value) for name, value in pairs if _COUNT.fullmatch(value)}
