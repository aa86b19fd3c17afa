"""``GET /logs``: the latest requests of all replicas, newest first, for callers with the scope ``admin``.

They are the lines of the log (``observability/request_line.py``), handed over by every worker every few seconds. While
the state store is away, the worker that answers tells its own; ``scope`` says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Final, Literal

import msgspec
from litestar import Request, Response, get
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromQuery, QueryParameter
from msgspec import Struct

from app.api.auth import require_scope
from app.api.negotiation import accepted, preferred
from app.api.operation import Parameter, operation
from app.domain.closed_wire import invalid
from app.errors import StateUnavailable
from app.gateway.services import Services
from app.observability.request_line import Kind, RequestLine, as_text
from app.state.key_audit import ENTRY_ID
from app.state.request_log import RecordFilter, read_records
from app.state.unreadable import UNREADABLE

LogsRequest = Request[None, None, State]

#: Requests of a page.
Limit = Annotated[int, QueryParameter(ge=1, le=500)]

_PARAMETERS = (
    Parameter(
        name="level",
        place="query",
        description="`warning`: only requests that failed on the gateway's or Anthropic's side.",
        schema={"type": "string", "enum": ["info", "warning"]},
    ),
    Parameter(
        name="type",
        place="query",
        description="Only requests of this kind.",
        schema={"type": "string", "enum": ["chat", "sessions", "keys", "admin", "operations", "other"]},
    ),
    Parameter(name="tenant", place="query", description="Only of this tenant.", schema={"type": "string"}),
    Parameter(
        name="since",
        place="query",
        description="Not before this moment: RFC 3339, Unix seconds, or how long ago, such as `15m` or `1h`.",
        schema={"type": "string"},
    ),
    Parameter(name="until", place="query", description="Before this moment; likewise.", schema={"type": "string"}),
    Parameter(
        name="limit",
        place="query",
        description="Requests of a page; 100 without it.",
        schema={"type": "integer", "minimum": 1, "maximum": 500},
    ),
    Parameter(
        name="before",
        place="query",
        description="The page after this one: its `last_id`.",
        schema={"type": "string"},
    ),
)

#: How long ago something was.
_AGO: Final = re.compile(r"([0-9]{1,6})([smhd])")
_UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

_decode = msgspec.json.Decoder(RequestLine).decode


class LogPage(Struct, frozen=True, kw_only=True):
    """A page of requests.

    Args:
        data: newest first.
        scope: ``cluster``, or ``process`` while only the worker that answers can be asked.
        has_more: whether there is a next page; also one with little on it may have one, as only so many requests are
            looked at for each.
        last_id: ``before`` of the next page.
    """

    data: list[RequestLine]
    scope: Literal["cluster", "process"] = "cluster"
    has_more: bool = False
    last_id: str | None = None


@get(
    "/logs",
    response_headers={"cache-control": "no-store"},
    operation_class=operation(
        "listRequests",
        tag="operations",
        summary="The latest requests of all replicas",
        description="What the log says of each request; never a prompt, never a key. Some 5,000 are kept for 48 hours; "
        "with `Accept: text/plain` they come as lines, oldest first. On a protected gateway it needs the scope "
        "`admin`.",
        parameters=_PARAMETERS,
        replies={200: ("The requests.", LogPage)},
        errors=(400, 401, 403, 503),
    ),
)
async def logs(
    request: LogsRequest,
    services: NamedDependency[Services],
    level: FromQuery[Literal["info", "warning", "INFO", "WARNING"] | None] = None,
    type: FromQuery[Kind | None] = None,  # noqa: A002 - the name of the parameter
    tenant: FromQuery[str | None] = None,
    since: FromQuery[str | None] = None,
    until: FromQuery[str | None] = None,
    limit: Limit = 100,
    before: FromQuery[str | None] = None,
) -> Response[LogPage] | Response[str]:
    """A page of requests."""
    if services.gate.guards_operators:
        require_scope(request, "admin")
    if before is not None and not ENTRY_ID.fullmatch(before):
        raise invalid("before", "expected the last_id of the page before")
    asked = RecordFilter(
        level=level,
        type=type,
        tenant=tenant,
        since=None if since is None else moment(since, param="since", now=services.now()),
        until=None if until is None else moment(until, param="until", now=services.now()),
    )
    page = await _page(services, asked, limit=limit, before=before)
    if preferred(accepted(request.scope), ("application/json", "text/plain")) == "text/plain":
        return Response(_lines(page.data), media_type="text/plain")
    return Response(page)


def moment(text: str, *, param: str, now: float) -> float:
    """A moment in Unix seconds, from RFC 3339, Unix seconds, or how long ago it was (``90s``, ``15m``, ``1h``, ``2d``).

    Args:
        text: as it was sent; a ``+`` that was not escaped has become a space.
        param: what to call it.
        now: Unix seconds.

    Raises:
        InvalidRequest: it is none of them.
    """
    if ago := _AGO.fullmatch(text):
        return now - int(ago[1]) * _UNITS_S[ago[2]]
    try:
        seconds = float(text)
    except ValueError:
        seconds = _from_rfc3339(text.replace(" ", "+"))
    if not 0 <= seconds < 1e11:  # also NaN
        raise invalid(
            param, "expected a moment such as 2026-11-23T21:00:00Z, Unix seconds, or how long ago, such as 1h"
        )
    return seconds


def _from_rfc3339(text: str) -> float:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return -1.0
    return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()


async def _page(services: Services, asked: RecordFilter, *, limit: int, before: str | None) -> LogPage:
    try:
        page = await read_records(services.state, asked, limit=limit, before_id=before)
    except StateUnavailable:
        own = reversed(_read(services.request_log.latest()))
        asked_for = [
            line
            for line in own
            if asked.lets_pass(level=line.level, type=line.type, tenant=line.tenant, at=_from_rfc3339(line.timestamp))
        ]
        return LogPage(data=asked_for[:limit], scope="process")
    return LogPage(
        data=_read(record.json for record in page.records), has_more=page.next is not None, last_id=page.next
    )


def _read(records: Iterable[bytes | msgspec.Raw]) -> list[RequestLine]:
    """What can be read: another release may write other fields."""
    lines = []
    for record in records:
        try:
            lines.append(_decode(record))
        except UNREADABLE:
            continue
    return lines


def _lines(page: Sequence[RequestLine]) -> str:
    return "".join(f"{as_text(line, is_coloured=False)}\n" for line in reversed(page))
