"""The Litestar app: every route, and how its errors are answered."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

from litestar import Litestar
from litestar.datastructures import State
from litestar.di import Provide

from app.api.auth import AuthController
from app.api.chat import ChatController
from app.api.dashboard import dashboard, dashboard_data
from app.api.debug import DebugController
from app.api.docs import docs, docs_file, openapi_json
from app.api.errors import EXCEPTION_HANDLERS
from app.api.health import HealthController
from app.api.keys import KeysController, audit
from app.api.logs import logs
from app.api.metrics import metrics
from app.api.models import ModelsController
from app.api.root import root
from app.api.sessions import SessionsController
from app.api.usage import usage
from app.gateway.dashboard import DashboardBook
from app.gateway.services import Services

ROUTES = (
    ChatController,
    ModelsController,
    AuthController,
    usage,
    SessionsController,
    KeysController,
    audit,
    HealthController,
    metrics,
    dashboard,
    dashboard_data,
    logs,
    DebugController,
    root,
    docs,
    docs_file,
    openapi_json,
)


def create_litestar(
    services: Services,
    *,
    lifespan: Sequence[Callable[[Litestar], AbstractAsyncContextManager[None]]] = (),
) -> Litestar:
    """The app that ``GatewayApp`` wraps.

    Handlers get the services by name (``services: NamedDependency[Services]``); the hot routes take them from
    ``app.state.services``, which is cheaper.

    Args:
        services: what the routes need.
        lifespan: what runs as long as the app does.
    """
    board = DashboardBook(services, services.cluster, host=socket.gethostname())

    def provide_services() -> Services:
        return services

    def provide_board() -> DashboardBook:
        return board

    return Litestar(
        route_handlers=list(ROUTES),
        dependencies={
            "services": Provide(provide_services, sync_to_thread=False),
            "board": Provide(provide_board, sync_to_thread=False),
        },
        exception_handlers=EXCEPTION_HANDLERS,
        lifespan=list(lifespan),
        logging_config=None,  # app.observability.log does it
        openapi_config=None,  # app.api.openapi does it
        request_max_body_size=services.config.max_body_bytes,
        state=State({"services": services}),
        debug=False,
        pdb_on_exception=False,
    )
