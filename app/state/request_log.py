"""The latest request records of all replicas: a capped stream of JSON objects, read from its newest end.

What a record holds is decided by ``app.observability.request_log``; only the fields that can be asked for are looked at
here. A worker hands over its records every few seconds, so the order of records of several workers is right to that
many seconds. About ``MOST_RECORDS`` are kept, some 3 MB. Source: DESIGN.md section 9.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from app.state import keys
from app.state.connection import Command, StateConnection
from app.state.unreadable import UNREADABLE

#: Records that are kept, about.
MOST_RECORDS: Final = 5000
#: Records that a worker hands over at a time.
MOST_AT_ONCE: Final = 200
#: Records that are looked at for one page; where the filters let few of them through, the next page goes on from there.
MOST_WALKED: Final = 2500
#: Records that are read at once, some 600 bytes each.
_BATCH: Final = 500
#: A record is written after it was made, by the server's clock, from which the worker's may differ by so much.
_CLOCKS_DIFFER_S: Final = 60.0
#: The name of a record within its entry.
_FIELD: Final = "record"


class RecordFilter(Struct, frozen=True, kw_only=True):
    """Which records are asked for; ``None`` is any.

    Args:
        level: exactly this, in capitals or not.
        type: exactly this.
        tenant: exactly this.
        since: not before, Unix seconds.
        until: before this, Unix seconds.
    """

    level: str | None = None
    type: str | None = None
    tenant: str | None = None
    since: float | None = None
    until: float | None = None

    def lets_pass(self, *, level: str, type: str, tenant: str, at: float) -> bool:  # noqa: A002 - as in the record
        """Whether a record is asked for.

        Args:
            level: of the record, as the others.
            type: what kind of request it was.
            tenant: whose; empty where that was not known.
            at: Unix seconds.
        """
        return (
            (self.level is None or self.level.lower() == level.lower())
            and self.type in (None, type)
            and self.tenant in (None, tenant)
            and (self.since is None or at >= self.since)
            and (self.until is None or at < self.until)
        )


class StoredRecord(Struct, frozen=True):
    """A record as it was written.

    Args:
        id: where it stands, for ``before_id``.
        json: a JSON object.
    """

    id: str
    json: msgspec.Raw


class RecordPage(Struct, frozen=True):
    """A page of records.

    Args:
        records: the newest first.
        next: ``before_id`` of the next page; ``None`` when there is none. A page may have few records, or none, and
            still a next one.
    """

    records: tuple[StoredRecord, ...]
    next: str | None


class _Facts(Struct, frozen=True):
    """What is looked at of a record."""

    timestamp: Annotated[dt.datetime, Meta(tz=True)]
    level: str = ""
    type: str = ""
    tenant: str = ""


_facts = msgspec.json.Decoder(_Facts).decode


def add_records_commands(records: Sequence[bytes]) -> list[Command]:
    """What writes records, as a part of a pipeline.

    Args:
        records: JSON objects, oldest first; of more than ``MOST_AT_ONCE`` only the newest are written.
    """
    if not records:
        return []
    return [
        *(
            ("XADD", keys.REQUESTS, "MAXLEN", "~", MOST_RECORDS, "*", _FIELD, record)
            for record in records[-MOST_AT_ONCE:]
        ),
        ("EXPIRE", keys.REQUESTS, keys.REQUESTS_TTL_S),
    ]


async def read_records(
    state: StateConnection, asked: RecordFilter, *, limit: int, before_id: str | None = None
) -> RecordPage:
    """Records that are asked for, newest first; those that cannot be read are left out.

    Args:
        state: the store.
        asked: which.
        limit: records of a page.
        before_id: only what is older than the record of this id (``key_audit.ENTRY_ID``).

    Raises:
        StateError: the store did not answer.
    """
    found: list[StoredRecord] = []
    end = "+" if before_id is None else f"({before_id}"
    start = "-" if asked.since is None else max(0, round((asked.since - _CLOCKS_DIFFER_S) * 1000))
    for _ in range(MOST_WALKED // _BATCH):
        entries = await state.call("XREVRANGE", keys.REQUESTS, end, start, "COUNT", _BATCH, large=True)
        for raw_id, flat in entries:
            if len(found) == limit:
                return RecordPage(tuple(found), found[-1].id)
            if (json := _asked_for(flat, asked)) is not None:
                found.append(StoredRecord(raw_id.decode(), json))
        if len(entries) < _BATCH:
            return RecordPage(tuple(found), None)
        end = f"({entries[-1][0].decode()}"
    return RecordPage(tuple(found), end.removeprefix("("))


def _asked_for(flat: Sequence[bytes], asked: RecordFilter) -> msgspec.Raw | None:
    record = flat[1]
    try:
        facts = _facts(record)
    except UNREADABLE:
        return None
    at = facts.timestamp.timestamp()
    passes = asked.lets_pass(level=facts.level, type=facts.type, tenant=facts.tenant, at=at)
    return msgspec.Raw(record) if passes else None
