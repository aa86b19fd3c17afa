"""``GET /metrics``: the figures of all workers of this gateway in the text formats of Prometheus."""

from __future__ import annotations

from litestar import Request, Response, get
from litestar.datastructures import State
from litestar.di import NamedDependency

from app.api.auth import identify, require_scope
from app.api.operation import operation
from app.errors import NotFound
from app.gateway.services import Services

_OFF = "Metrics are switched off on this gateway: CLAUDE_WRAPPER_METRICS=open or =admin shows them."


@get(
    "/metrics",
    operation_class=operation(
        "getMetrics",
        tag="operations",
        summary="Metrics for Prometheus",
        description="Counters, histograms and gauges of all workers of this gateway process, and gauges of the shared "
        "state store. `Accept: application/openmetrics-text` gets that format. `CLAUDE_WRAPPER_METRICS` says who may "
        "read them: everybody (`open`, also on a protected gateway), the scope `admin`, or nobody (`off`).",
        replies={200: ("The metrics.", None)},
        errors=(401, 403, 404),
        media_type="text/plain",
        protected=False,
    ),
)
async def metrics(request: Request[None, None, State], services: NamedDependency[Services]) -> Response[bytes]:
    """The page; made anew for every request."""
    shown_to = services.config.metrics
    if shown_to == "off":
        raise NotFound(_OFF)
    if shown_to == "admin":
        await identify(request, services.gate)
        require_scope(request, "admin")
    page = await services.scrape.page(request.headers.get("accept", ""))
    return Response(page.body, headers={"content-type": page.media_type, "cache-control": "no-store"})
