"""``/dashboard``: one page that shows what all replicas do; the same as JSON for machines.

The page itself holds no figure and is open; it asks for a key where the gateway is protected, and reads
``/dashboard/data`` with it. Whoever asks ``/dashboard`` for JSON gets that at once.
"""

from __future__ import annotations

from typing import Final

from litestar import MediaType, Request, Response, get
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromQuery

from app.api.auth import identify, require_scope
from app.api.dashboard_page.assembly import dashboard_document
from app.api.negotiation import accepted, preferred
from app.api.operation import Parameter, operation
from app.api.page_headers import page_headers
from app.gateway.dashboard import DashboardBook
from app.gateway.services import Services
from app.schemas.dashboard import Dashboard, WindowName

DashboardRequest = Request[None, None, State]

_HTML: Final = "text/html"
_JSON: Final = "application/json"

#: Of JSON that is shown to one person, now.
_DATA_HEADERS: Final = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}

_WINDOW: Final = Parameter(
    name="window",
    place="query",
    description="The time that is shown, and compared with as much before it; without it the last hour.",
    schema={"type": "string", "enum": ["15m", "1h", "24h", "48h"], "default": "1h"},
)


@get(
    "/dashboard",
    operation_class=operation(
        "getDashboard",
        tag="operations",
        summary="What all replicas do, as a page",
        description="For a browser a page that updates itself. With `Accept: application/json` the same as "
        "`/dashboard/data`, with the same key.",
        parameters=(_WINDOW,),
        replies={200: ("The page.", None)},
        errors=(400, 401, 403),
        media_type=_HTML,
        protected=False,
    ),
)
async def dashboard(
    request: DashboardRequest,
    services: NamedDependency[Services],
    board: NamedDependency[DashboardBook],
    window: FromQuery[WindowName] = "1h",
) -> Response[bytes]:
    """The page, or its figures for who would rather have JSON."""
    if preferred(accepted(request.scope), (_HTML, _JSON)) == _JSON:
        await identify(request, services.gate)
        reply = await _data(request, services, board, window)
    else:
        page = dashboard_document(protected=services.gate.guards_operators)
        reply = Response(page.html, media_type=MediaType.HTML, headers=page_headers(page.policy))
    reply.headers["vary"] = "accept"
    return reply


@get(
    "/dashboard/data",
    operation_class=operation(
        "getDashboardData",
        tag="operations",
        summary="What all replicas do, as JSON",
        description="Requests, tokens, times, errors, spend, resources, alerts, of all replicas that share the state "
        "store; at most two seconds old, and what a worker counts is reported every five. While the store is away: "
        "this worker's own figures, with `degraded: true`. Needs the scope `admin` on a protected gateway.",
        parameters=(_WINDOW,),
        replies={200: ("The figures.", Dashboard)},
        errors=(400, 401, 403),
    ),
)
async def dashboard_data(
    request: DashboardRequest,
    services: NamedDependency[Services],
    board: NamedDependency[DashboardBook],
    window: FromQuery[WindowName] = "1h",
) -> Response[bytes]:
    """The figures."""
    return await _data(request, services, board, window)


async def _data(
    request: DashboardRequest, services: Services, board: DashboardBook, window: WindowName
) -> Response[bytes]:
    if services.gate.guards_operators:
        require_scope(request, "admin")
    return Response(await board.read(window), media_type=MediaType.JSON, headers=dict(_DATA_HEADERS))
