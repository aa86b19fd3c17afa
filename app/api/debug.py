"""``/admin/debug``: a profile, or a picture of the memory, of the worker that answers; for the scope ``admin``.

What is watched, and where the files go, is in ``observability/profiling.py``.
"""

from __future__ import annotations

import asyncio
from typing import Annotated

from litestar import Controller, Request, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from msgspec import Struct

from app.api.auth import require_scope
from app.api.operation import Parameter, operation
from app.gateway.services import Services
from app.observability.profiling import MOST_SECONDS, DebugFile, DebugReport

DebugRequest = Request[None, None, State]

#: How long to watch.
Seconds = Annotated[float, QueryParameter(gt=0, le=MOST_SECONDS)]

_SECONDS = (
    Parameter(
        name="seconds",
        place="query",
        description="How long to watch; 10 without it.",
        schema={"type": "number", "minimum": 0, "exclusiveMinimum": True, "maximum": MOST_SECONDS},
    ),
)
_ERRORS = (400, 401, 403, 409)
_NO_STORE = {"cache-control": "no-store"}


class DebugFiles(Struct, frozen=True, kw_only=True):
    """The files there are.

    Args:
        data: of all workers on this machine, newest first.
    """

    data: list[DebugFile]


class DebugController(Controller):
    """The routes for whoever looks for a fault."""

    path = "/admin/debug"
    response_headers = _NO_STORE

    @get(
        "/",
        operation_class=operation(
            "listDebugFiles",
            tag="admin",
            summary="Profiles and pictures of the memory that were written",
            replies={200: ("The files.", DebugFiles)},
            errors=(401, 403),
        ),
    )
    async def files(self, request: DebugRequest, services: NamedDependency[Services]) -> DebugFiles:
        """The files on this machine."""
        require_scope(request, "admin")
        return DebugFiles(data=await asyncio.to_thread(services.profiling.files))

    @post(
        "/profile",
        status_code=200,
        operation_class=operation(
            "profileWorker",
            tag="admin",
            summary="Where the time of a worker goes",
            description="Watches the worker that answers, which is slower meanwhile, and writes two files into "
            "`CLAUDE_WRAPPER_DATA_DIR`: one for `python -m pstats`, one to read.",
            parameters=_SECONDS,
            replies={200: ("What was found.", DebugReport)},
            errors=_ERRORS,
        ),
    )
    async def profile(
        self, request: DebugRequest, services: NamedDependency[Services], seconds: Seconds = 10.0
    ) -> DebugReport:
        """A profile of this worker."""
        require_scope(request, "admin")
        return await services.profiling.profile(seconds)

    @post(
        "/memory",
        status_code=200,
        operation_class=operation(
            "traceMemory",
            tag="admin",
            summary="Where the memory of a worker goes",
            description="By line of code, and what has grown meanwhile. A gateway that was started with "
            "`PYTHONTRACEMALLOC=1` knows everything that was allocated, any other only what was since the request.",
            parameters=_SECONDS,
            replies={200: ("What was found.", DebugReport)},
            errors=_ERRORS,
        ),
    )
    async def memory(
        self, request: DebugRequest, services: NamedDependency[Services], seconds: Seconds = 10.0
    ) -> DebugReport:
        """The memory of this worker."""
        require_scope(request, "admin")
        return await services.profiling.memory(seconds)
