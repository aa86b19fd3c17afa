"""``/health``: the truth for people and monitors, and the two probes for orchestrators.

Every figure says whether it is of this process or of the cluster (all workers that share the state store). Without the
store the gateway serves on: the body says ``degraded``, the status stays 200, and only figures of this process are
shown. The probes never look at Redis (DESIGN.md section 4): a blip of it must not restart or unready every pod.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from typing import Annotated, Literal

from litestar import Controller, Request, Response, get
from litestar.datastructures import State
from litestar.di import NamedDependency
from msgspec import UNSET, Meta, Struct, UnsetType

from app.api.auth import require_scope
from app.api.operation import operation
from app.config import Config, settings_of
from app.errors import StateError
from app.gateway.services import Services
from app.observability.memory import own_limit_bytes
from app.observability.process import ProcessFigures, ProcessSnapshot
from app.observability.version import VERSION
from app.state.connection import StateConnection, StoreStatus
from app.state.figures import WorkerFigures, read_all

#: A loop that was this late within the last ten seconds is stalled: its worker should get no new connections.
STALLED_LOOP_S = 5.0

Scope = Annotated[
    Literal["process", "cluster"],
    Meta(
        description="whose figure it is: this worker process's, or the sum over all workers that share the state store"
    ),
]


class Memory(Struct, frozen=True, kw_only=True):
    """Memory of this process in bytes; ``limit`` is the container's or the machine's, ``percent`` the share of it."""

    scope: Scope = "process"
    rss: int
    limit: int
    percent: float


class Cpu(Struct, frozen=True, kw_only=True):
    """CPU of this process: ``percent`` of one core over the last ten seconds, ``seconds`` used since its start."""

    scope: Scope = "process"
    percent: float
    seconds: float


class Sessions(Struct, frozen=True, kw_only=True):
    """Server-side conversations. How many there are is known by tenant: ``GET /v1/sessions/stats``.

    Args:
        available: the state store takes them; without it their turns are refused with 503.
        max: live sessions that a tenant may have.
        ttl_s: seconds that an unused session is kept.
    """

    scope: Scope = "process"
    available: bool
    max: int
    ttl_s: int


class Performance(Struct, frozen=True, kw_only=True, rename="camel"):
    """Requests of the last minute; health checks are not among them.

    Args:
        avg_response_time: milliseconds until a reply began, on average.
        request_rate: requests a second.
        in_flight: requests being answered now.
        requests: since the start.
        errors: since the start: failed on the gateway's or Anthropic's side.
    """

    scope: Scope
    avg_response_time: float
    request_rate: float
    in_flight: int
    requests: int
    errors: int


class Health(Struct, frozen=True, kw_only=True):
    """State of the gateway.

    Args:
        status: ``degraded`` while the state store cannot be reached or does not take writes, ``draining`` once this
            worker is stopping.
        version: release of this process.
        timestamp: now, RFC 3339.
        uptime: seconds since this process started.
        workers: workers that share the state store; 1 where it cannot be asked.
        scope: whose the figures are that are plain numbers or texts.
    """

    status: Literal["healthy", "degraded", "draining"]
    version: str
    timestamp: str
    uptime: float
    workers: int
    memory: Memory
    cpu: Cpu
    sessions: Sessions
    performance: Performance
    scope: dict[str, Scope]


class Probe(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Answer of a probe; ``reason`` says why not."""

    status: Literal["ok", "not_ready"]
    reason: str | UnsetType = UNSET


class UpstreamHealth(Struct, frozen=True, kw_only=True):
    """Where requests go; nothing is sent there to find out."""

    base_url: str
    mock: bool
    credential: bool


class Runtime(Struct, frozen=True, kw_only=True):
    """What this process runs on."""

    python: str
    platform: str
    packages: dict[str, str]


#: A setting in JSON: as it is, lists as such, pairs as an object.
SettingValue = bool | int | float | str | list[str] | dict[str, str]


class DetailedHealth(Health, frozen=True, kw_only=True):
    """``Health`` and the inside: the state store, every worker, the settings that shape behaviour, the software.

    Args:
        process: figures of the process that answers.
        state: the connection to the state store.
        upstream: where requests go.
        worker_figures: what every worker last said about itself.
        settings: every setting; of a secret only ``set`` or ``not set``.
        runtime: software versions.
    """

    process: ProcessSnapshot
    state: StoreStatus
    upstream: UpstreamHealth
    worker_figures: list[WorkerFigures]
    settings: dict[str, SettingValue]
    runtime: Runtime


#: Packages whose version matters when somebody reports a fault.
_PACKAGES = ("anthropic", "gunicorn", "hiredis", "litestar", "msgspec", "redis", "uvicorn", "uvloop")


class HealthController(Controller):
    """The health routes. All but ``/health/detailed`` are open also on a protected gateway."""

    path = "/health"

    @get(
        "/",
        operation_class=operation(
            "getHealth",
            tag="operations",
            summary="State of the gateway",
            description="Answers 200 also while the state store is away; read `status`.",
            replies={200: ("The gateway serves.", Health)},
            protected=False,
        ),
    )
    async def health(self, services: NamedDependency[Services]) -> Health:
        """Status and figures; asks the state store once, under its deadline."""
        return _health(services, await _workers(services.state))

    @get(
        "/live",
        operation_class=operation(
            "getLiveness",
            tag="operations",
            summary="Liveness probe",
            description="Says that the process answers. Never looks at anything else.",
            replies={200: ("The process is alive.", Probe)},
            protected=False,
        ),
    )
    async def live(self) -> Probe:
        """The process answers."""
        return Probe(status="ok")

    @get(
        "/ready",
        operation_class=operation(
            "getReadiness",
            tag="operations",
            summary="Readiness probe",
            description="Local: started, not draining, event loop not stalled. Never looks at Redis.",
            replies={
                200: ("The worker takes requests.", Probe),
                503: ("The worker should get no new requests; `reason` says why.", Probe),
            },
            protected=False,
        ),
    )
    async def ready(self, services: NamedDependency[Services]) -> Response[Probe]:
        """Whether this worker should get requests."""
        reason = not_ready_because(services.process)
        if reason is None:
            return Response(Probe(status="ok"))
        return Response(Probe(status="not_ready", reason=reason), status_code=503)

    @get(
        "/detailed",
        operation_class=operation(
            "getHealthDetailed",
            tag="operations",
            summary="State of the gateway, with the inside",
            description="Adds the state store, every worker, settings, versions. Unlike the other health routes it "
            "needs the scope `admin` on a protected gateway: it shows settings and topology.",
            replies={200: ("The gateway serves.", DetailedHealth)},
            errors=(403,),
        ),
    )
    async def detailed(
        self, request: Request[None, None, State], services: NamedDependency[Services]
    ) -> DetailedHealth:
        """Everything a person who looks for a fault wants to know, and no secret."""
        if services.gate.guards_operators:
            require_scope(request, "admin")
        config = services.config
        workers = await _workers(services.state)
        health = _health(services, workers)
        return DetailedHealth(
            **{field: getattr(health, field) for field in Health.__struct_fields__},
            process=services.process.snapshot(),
            state=services.state.status,
            upstream=UpstreamHealth(
                base_url=_without_credentials(config.anthropic_base_url),
                mock=config.mock,
                credential=bool(config.anthropic_keys or config.anthropic_auth_token),
            ),
            worker_figures=list(workers or ()),
            settings=shown_settings(config),
            runtime=_runtime(),
        )


def not_ready_because(process: ProcessFigures) -> str | None:
    """Why a worker should get no new requests; ``None`` when it may.

    Args:
        process: figures of the worker.
    """
    if not process.started:
        return "starting"
    if process.draining:
        return "draining"
    if process.loop_lag_s > STALLED_LOOP_S:
        return "event loop stalled"
    return None


def shown_settings(config: Config) -> dict[str, SettingValue]:
    """Every setting in its type; of a secret only whether it is set.

    Args:
        config: the settings.
    """
    shown: dict[str, SettingValue] = {}
    for field, (help_, _type, _default) in settings_of(Config).items():
        value = getattr(config, field)
        if help_.secret:
            shown[field] = "set" if value else "not set"
        elif isinstance(value, tuple):
            shown[field] = dict(value) if help_.kind == "pairs" else list(value)
        else:
            shown[field] = _without_credentials(value) if isinstance(value, str) else value
    return shown


async def _workers(state: StateConnection) -> Sequence[WorkerFigures] | None:
    """What every worker said; ``None`` when the store does not answer in time."""
    try:
        return await read_all(state)
    except StateError:
        return None


def _health(services: Services, workers: Sequence[WorkerFigures] | None) -> Health:
    snapshot = services.process.snapshot()
    has_store = workers is not None and not services.admission.is_alone_lately
    status: Literal["healthy", "degraded", "draining"] = "healthy" if has_store else "degraded"
    if services.process.draining:
        status = "draining"
    limit = own_limit_bytes()
    return Health(
        status=status,
        version=VERSION,
        timestamp=datetime.fromtimestamp(services.now(), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        uptime=round(snapshot.uptime_s, 3),
        workers=max(len(workers or ()), 1),
        memory=Memory(rss=snapshot.rss_bytes, limit=limit, percent=round(100 * snapshot.rss_bytes / limit, 2)),
        cpu=Cpu(percent=round(snapshot.cpu_percent, 2), seconds=round(time.process_time(), 3)),
        sessions=Sessions(
            available=has_store,
            max=services.session_rules.max_sessions,
            ttl_s=services.session_rules.ttl_s,
        ),
        performance=_of_cluster(workers) if workers else _of_process(snapshot),
        scope={
            "status": "process",
            "version": "process",
            "uptime": "process",
            "workers": "cluster" if workers else "process",
        },
    )


def _of_process(snapshot: ProcessSnapshot) -> Performance:
    return Performance(
        scope="process",
        avg_response_time=round(snapshot.mean_response_ms, 2),
        request_rate=round(snapshot.requests_per_s, 3),
        in_flight=snapshot.in_flight,
        requests=snapshot.requests,
        errors=snapshot.errors,
    )


def _of_cluster(workers: Sequence[WorkerFigures]) -> Performance:
    per_minute = sum(worker.requests_per_minute for worker in workers)
    weighted_ms = sum(worker.mean_response_ms * worker.requests_per_minute for worker in workers)
    return Performance(
        scope="cluster",
        avg_response_time=round(weighted_ms / per_minute, 2) if per_minute else 0.0,
        request_rate=round(per_minute / 60, 3),
        in_flight=sum(worker.in_flight for worker in workers),
        requests=sum(worker.requests for worker in workers),
        errors=sum(worker.errors for worker in workers),
    )


def _without_credentials(url: str) -> str:
    """A URL without ``user:password@``."""
    scheme, separator, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}{separator}{authority.rpartition('@')[2]}{slash}{path}"


def _runtime() -> Runtime:
    return Runtime(
        python=platform.python_version(),
        platform=platform.platform(),
        packages={name: metadata.version(name) for name in _PACKAGES},
    )
