"""Requests that failed lately, of all replicas, as the dashboard shows them."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from app.domain.bounded import Count
from app.schemas import dashboard as wire
from app.state.connection import StateConnection
from app.state.request_log import RecordFilter, StoredRecord, read_records
from app.state.unreadable import UNREADABLE

#: They are searched for among thousands of records, so they are looked for less often than other figures.
ERRORS_EVERY_S: Final = 10.0
#: So many are read: enough to count those that are alike.
MOST_READ: Final = 100


class _Failure(Struct, frozen=True):
    """What is read of a record in the request log; ``app.observability.request_line`` writes it."""

    timestamp: Annotated[dt.datetime, Meta(tz=True)]
    request_id: str = ""
    path: str = ""
    status: Count = 0
    broken: bool = False
    error_code: str = ""
    model: str = ""
    tenant: str = ""


_failure = msgspec.json.Decoder(_Failure).decode


class RecentErrors:
    """Keeps the latest failures for whoever shows them.

    Args:
        state: the store.
        monotonic: a clock in seconds that never goes back.

    Attributes:
        latest: those that were read last, newest first.
    """

    def __init__(self, state: StateConnection, *, monotonic: Callable[[], float]) -> None:
        self._state = state
        self._monotonic = monotonic
        self._read_at = float("-inf")
        self.latest: Sequence[wire.RequestFailure] = ()

    async def read(self) -> Sequence[wire.RequestFailure]:
        """Requests that failed on our side or Anthropic's, newest first, at most ``ERRORS_EVERY_S`` old.

        Raises:
            StateError: the store did not answer.
        """
        if self._monotonic() - self._read_at >= ERRORS_EVERY_S:
            failures = [_shown(record.json) async for record in _failed(self._state)]
            # Workers hand their records over every few seconds, so those of several do not stand in order.
            self.latest = sorted(failures, key=lambda failure: failure.at, reverse=True)
            self._read_at = self._monotonic()
        return self.latest


async def _failed(state: StateConnection) -> AsyncIterator[StoredRecord]:
    """Records of failed requests, the newest first: as far back as the log goes, a page after the other."""
    left, before_id = MOST_READ, None
    while left:
        page = await read_records(state, RecordFilter(level="WARNING"), limit=left, before_id=before_id)
        for record in page.records:
            yield record
        left -= len(page.records)
        if (before_id := page.next) is None:
            return


def _shown(json: msgspec.Raw) -> wire.RequestFailure:
    """A record of the request log; its level and time have been read before, what else is damaged is left out."""
    try:
        failure = _failure(json)
    except UNREADABLE:
        return wire.RequestFailure(
            at=0.0, request_id="", status=0, broken=False, code="unreadable", path="", model="", tenant=""
        )
    return wire.RequestFailure(
        at=failure.timestamp.timestamp(),
        request_id=failure.request_id,
        status=failure.status,
        broken=failure.broken,
        code=failure.error_code,
        path=failure.path,
        model=failure.model,
        tenant=failure.tenant,
    )
