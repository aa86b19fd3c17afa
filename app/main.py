"""create_app: the one place that builds and wires objects.

A worker calls it once. Everything that connects or imports slowly does so when the worker starts (``lifespan``), so
that the command line and the gunicorn master stay light.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import random
import secrets
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from app.api.middleware import GatewayApp
from app.api.routes import create_litestar
from app.config import Config, SettingError, data_root
from app.domain.key_file import KeyFile
from app.domain.local_limits import LocalBook
from app.domain.upstream import Upstream
from app.errors import StateError
from app.gateway.admission import Admission, AdmissionSettings
from app.gateway.cluster import ClusterBook
from app.gateway.gate import Gate, trusted_proxies
from app.gateway.kept_going import kept_going
from app.gateway.key_file import KeyFileWatcher, load_key_file
from app.gateway.ledger import Ledger
from app.gateway.model_table import ModelsWatcher, ServedModels, load_served_models, served_without_file
from app.gateway.monitor import run_monitor
from app.gateway.report import Reports
from app.gateway.scrape import Scrape, worker_gauges
from app.gateway.services import Services
from app.identity import open_jwt
from app.observability.handover import Handover
from app.observability.log import lines
from app.observability.metrics import WorkerMetrics
from app.observability.process import ProcessFigures
from app.observability.profiling import Profiling
from app.observability.redact import redactor
from app.observability.request_log import RequestLog, RequestLogSettings
from app.observability.seats import Seat, only_seat
from app.observability.telemetry import open_telemetry
from app.observability.totals import Gauges
from app.state import connect
from app.state.cache_room import CacheRoom
from app.state.connection import StateConnection
from app.state.guesses import GuessBook
from app.state.key_memory import KeyMemory
from app.state.key_pushes import KeyPushes
from app.state.pushes import PushListener
from app.state.secret import shared_secret
from app.state.session_index import prune_index
from app.state.wakes import Wakes
from app.translate.chat_to_messages import TranslationSettings
from app.upstream import check_upstream, open_upstream
from app.upstream.credentials import CredentialBook
from app.upstream.deferred import DeferredUpstream
from app.upstream.pool import own_credentials

if TYPE_CHECKING:
    from litestar import Litestar

log = logging.getLogger(__name__)


def create_app(
    config: Config,
    *,
    upstream: Upstream | None = None,
    state: StateConnection | None = None,
    now: Callable[[], float] = time.time,
    open_first: bool = False,
    seat: Seat | None = None,
) -> GatewayApp:
    """The gateway as an ASGI application.

    Args:
        config: the settings; ``redis_url`` names a server or ``memory://`` (``auto`` is resolved by the command line).
        upstream: a way to Anthropic instead of the configured one, for tests.
        state: a connection to Redis instead of the configured one, for tests.
        now: the wall clock.
        open_first: the lane to Anthropic is open before the application counts as started, so that no request waits
            for its library; otherwise it is opened beside the first requests.
        seat: the worker's place among those of its gateway, for ``/metrics``; without one it has its own.

    Raises:
        SettingError: a setting names something that cannot be used, such as a model table that cannot be read.
    """
    metrics = WorkerMetrics()
    state = state or connect(
        config.redis_url,
        timeout_s=config.redis_timeout_s,
        queue_limit=config.redis_queue_limit,
        client_name="claude-wrapper",
        times=metrics.redis,
    )
    check_upstream(config, os.environ)
    credentials = CredentialBook(own_credentials(config), now=now)
    upstream = upstream or DeferredUpstream(partial(open_upstream, config, os.environ, credentials))
    models = _models_at_start(config)
    services = create_services(
        config,
        models=models,
        upstream=upstream,
        state=state,
        credentials=credentials,
        metrics=metrics,
        seat=seat or only_seat(),
        now=now,
    )
    pushes = KeyPushes(state, services.memory, now=now)
    beside: list[Callable[[], Awaitable[None]]] = [
        services.ledger.keep_leases,
        services.ledger.repeat_settlements,
        pushes.keep_valid,
        PushListener(state, pushes.ear, services.wakes.ear).run,
        partial(_prune_sessions, services),
        services.scrape.handover.run,
        Reports(services, worker_id=secrets.token_hex(8), host=socket.gethostname()).run,
    ]
    if config.health_monitoring:
        beside.append(partial(run_monitor, services))
    if config.models_file:
        beside.append(ModelsWatcher(config, models, services.take_up_models).run)
    if config.keys_file:
        loaded = _keys_at_start(config.keys_file)
        services.take_up_keys(loaded)
        beside.append(KeyFileWatcher(config.keys_file, loaded, services.take_up_keys).run)
    if not config.secret:
        beside.append(partial(_adopt_shared_salt, services))
    lifespan = partial(_running, services, beside, open_first)
    app = create_litestar(services, lifespan=[lifespan])
    return GatewayApp(app, services, paths={route.path for route in app.routes if "{" not in route.path})


def _keys_at_start(path: str) -> KeyFile:
    """The keys file; none where it is broken by now, as when a worker is replaced: the others must not end for that.

    The command line has refused a file that was broken when the gateway started.
    """
    try:
        return load_key_file(path)
    except SettingError as exc:
        log.error("This worker begins without the keys of the file, until it is mended. %s", exc)  # noqa: TRY400
        return KeyFile()


def _models_at_start(config: Config) -> ServedModels:
    """The models; those of the package where the operator's file is broken by now, as with the keys file.

    Raises:
        SettingError: an alias leads to no model.
    """
    try:
        return load_served_models(config)
    except SettingError as exc:
        if not config.models_file:
            raise
        log.error("This worker begins without the models of the file, until it is mended. %s", exc)  # noqa: TRY400
        return served_without_file(config)


def create_services(
    config: Config,
    *,
    models: ServedModels,
    upstream: Upstream,
    state: StateConnection,
    credentials: CredentialBook,
    metrics: WorkerMetrics,
    seat: Seat,
    now: Callable[[], float],
) -> Services:
    """The rooms, wired; nothing connects or runs yet.

    Raises:
        SettingError: a setting names something that cannot be used.
    """
    memory, local = KeyMemory(now=now), LocalBook()
    ledger = Ledger(state, local, new_id=lease_ids(), monotonic=time.monotonic)
    process = ProcessFigures()
    cluster = ClusterBook(state, max_sessions=config.max_sessions, monotonic=time.monotonic)

    def gauges() -> Gauges:
        return worker_gauges(
            process,
            breaker_open=state.status.breaker == "open",
            unsettled=ledger.unsettled,
            worker=seat.label,
        )

    handover = Handover(metrics, seat, gauges=gauges, credentials=credentials.states)
    admission = Admission(
        state,
        AdmissionSettings.of(config),
        ledger=ledger,
        memory=memory,
        local=local,
        now=now,
        monotonic=time.monotonic,
    )
    return Services(
        config=config,
        models=models.table,
        translation=translation_settings(config, models, salt=config.secret.encode() or secrets.token_bytes(32)),
        upstream=upstream,
        credentials=credentials,
        state=state,
        gate=Gate(
            config,
            state,
            admission=admission,
            memory=memory,
            guesses=GuessBook(state, per_minute=config.guesses_per_minute),
            tokens=open_jwt(config, now=now),
            proxies=trusted_proxies(config),
            now=now,
            monotonic=time.monotonic,
        ),
        admission=admission,
        ledger=ledger,
        memory=memory,
        wakes=Wakes(secrets.token_hex(8)),
        cache_room=CacheRoom(state, monotonic=time.monotonic),
        process=process,
        metrics=metrics,
        request_log=_request_log(config, metrics, now=now),
        cluster=cluster,
        scrape=Scrape(handover, state=state, cluster=cluster, now=now, monotonic=time.monotonic),
        telemetry=open_telemetry(config, os.environ, metrics=metrics, gauges=gauges),
        profiling=Profiling(data_root(config.data_dir, os.environ) / str(config.port) / "debug", now=now),
        new_session_id=lambda: f"sess_{secrets.token_hex(12)}",
        now=now,
        monotonic=time.monotonic,
    )


@asynccontextmanager
async def _running(
    services: Services,
    beside: Sequence[Callable[[], Awaitable[None]]],
    open_first: bool,
    _: Litestar,
) -> AsyncIterator[None]:
    """What runs beside the requests, from the start of the worker to its end; Redis closes last."""
    background = [asyncio.create_task(kept_going(run, what="What runs beside the requests")) for run in beside]
    if isinstance(services.upstream, DeferredUpstream):
        opening = asyncio.create_task(services.upstream.start())
        background.append(opening)
        if open_first:
            await opening
    services.process.start()
    services.request_log.start()
    if services.telemetry is not None:
        services.telemetry.start()
    try:
        yield
    finally:
        services.process.stop()
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        await services.flights.end_all()
        await services.upstream.close()
        await services.gate.close()
        await services.close()
        await services.ledger.close()
        services.scrape.handover.hand_over()
        if services.telemetry is not None:
            await services.telemetry.close()
        await services.state.close()
        services.scrape.handover.hand_over()
        services.request_log.close()


def _request_log(config: Config, metrics: WorkerMetrics, *, now: Callable[[], float]) -> RequestLog:
    return RequestLog(
        RequestLogSettings.of(config, is_coloured=lines().is_terminal and not os.environ.get("NO_COLOR")),
        lines=lines(),
        metrics=metrics,
        redact=redactor(config.secrets),
        now=now,
        dice=random.random,
        host=socket.gethostname(),
    )


def lease_ids() -> Callable[[], str]:
    """Makes ids that no other worker makes, and no client knows."""
    beginning, numbers = secrets.token_hex(8), itertools.count()
    return lambda: f"{beginning}-{next(numbers):x}"


def translation_settings(config: Config, models: ServedModels, *, salt: bytes) -> TranslationSettings:
    """The translators' settings, from the settings of the same names."""
    return TranslationSettings(
        strict=config.strict,
        aliases=models.aliases,
        default_max_tokens=config.default_max_tokens,
        default_max_tokens_stream=config.default_max_tokens_stream,
        auto_cache=config.auto_cache,
        forced_tool_fallback=config.forced_tool_fallback,
        allowed_tools=config.allowed_tools,
        later_system=config.later_system,
        last_assistant=config.last_assistant,
        input_audio=config.input_audio,
        include_reasoning=config.include_reasoning,
        allowed_betas=config.allowed_betas,
        fast_mode=config.fast_mode,
        anthropic_extension=config.anthropic_extension,
        user_salt=salt,
    )


async def _adopt_shared_salt(services: Services) -> None:
    """Pseudonyms must be the same on every replica; until Redis answers, this worker's own random salt serves."""
    while True:
        with suppress(StateError):
            salt = await shared_secret(services.state)
            services.translation = msgspec.structs.replace(services.translation, user_salt=salt)
            return
        await asyncio.sleep(1.0)


async def _prune_sessions(services: Services) -> None:
    """Takes expired sessions out of the indexes of the tenants that this worker served; they themselves are gone."""
    while True:
        await asyncio.sleep(services.config.cleanup_interval)
        with suppress(StateError):
            for tag in services.take_to_prune():
                await prune_index(services.state, tag)
