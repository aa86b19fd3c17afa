"""``GET /``: what this is and where to go on. Needs the key like every route that is not listed as open."""

from __future__ import annotations

from litestar import get
from msgspec import Struct

from app.api.operation import operation
from app.observability.version import VERSION


class About(Struct, frozen=True, kw_only=True):
    """What answers here.

    Args:
        name: the product.
        version: its release.
        openai_base_url: path to append to this server's address for an OpenAI client.
        docs: interactive documentation.
        openapi: the same for machines.
        health: state of the gateway.
        dashboard: what all replicas do, as a page.
        metrics: the same for Prometheus, of this gateway.
        logs: the latest requests of all replicas; for the operator.
    """

    name: str = "claude-wrapper"
    version: str = VERSION
    openai_base_url: str = "/v1"
    docs: str = "/docs"
    openapi: str = "/openapi.json"
    health: str = "/health"
    dashboard: str = "/dashboard"
    metrics: str = "/metrics"
    logs: str = "/logs"


_ABOUT = About()


@get(
    "/",
    operation_class=operation(
        "getRoot",
        tag="operations",
        summary="What this is",
        replies={200: ("Name, release and links.", About)},
    ),
)
async def root() -> About:
    """Name, release and links."""
    return _ABOUT
