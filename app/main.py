"""create_app: the one place that builds and wires objects.

A worker calls it once. Everything that connects or imports slowly does so when the worker starts (``lifespan``), so
that the command line and the gunicorn master stay light.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

from app.api.middleware import GatewayApp
from app.api.routes import create_litestar
from app.config import Config
from app.domain.models import ModelTable
from app.domain.upstream import Upstream
from app.errors import StateError
from app.gateway.figures import worker_figures
from app.gateway.model_table import load_aliases, load_models
from app.gateway.services import Services
from app.observability.process import ProcessFigures
from app.state import connect
from app.state.connection import StateConnection
from app.state.figures import PUBLISH_INTERVAL_S, publish, withdraw
from app.state.secret import shared_secret
from app.translate.chat_to_messages import TranslationSettings
from app.upstream import check_upstream, open_upstream
from app.upstream.deferred import DeferredUpstream

if TYPE_CHECKING:
    from litestar import Litestar


def create_app(
    config: Config,
    *,
    upstream: Upstream | None = None,
    state: StateConnection | None = None,
    now: Callable[[], float] = time.time,
    open_first: bool = False,
) -> GatewayApp:
    """The gateway as an ASGI application.

    Args:
        config: the settings; ``redis_url`` names a server or ``memory://`` (``auto`` is resolved by the command line).
        upstream: a way to Anthropic instead of the configured one, for tests.
        state: a connection to Redis instead of the configured one, for tests.
        now: the wall clock.
        open_first: the lane to Anthropic is open before the application counts as started, so that no request waits
            for its library; otherwise it is opened beside the first requests.

    Raises:
        SettingError: a setting names something that cannot be used, such as a model table that cannot be read.
    """
    models = load_models(config)
    check_upstream(config, os.environ)
    process = ProcessFigures()
    services = Services(
        config=config,
        models=models,
        translation=translation_settings(config, models, salt=config.secret.encode() or secrets.token_bytes(32)),
        upstream=upstream or DeferredUpstream(partial(open_upstream, config, os.environ)),
        state=state
        or connect(
            config.redis_url,
            timeout_s=config.redis_timeout_s,
            queue_limit=config.redis_queue_limit,
            client_name="claude-wrapper",
        ),
        process=process,
        now=now,
    )

    return GatewayApp(create_litestar(services, lifespan=[partial(_running, services, open_first)]), services)


@asynccontextmanager
async def _running(services: Services, open_first: bool, _: Litestar) -> AsyncIterator[None]:
    """What runs beside the requests, from the start of the worker to its end; Redis closes last."""
    background = [asyncio.create_task(_publish_figures(services))]
    if not services.config.secret:
        background.append(asyncio.create_task(_adopt_shared_salt(services)))
    if isinstance(services.upstream, DeferredUpstream):
        opening = asyncio.create_task(services.upstream.start())
        background.append(opening)
        if open_first:
            await opening
    services.process.start()
    try:
        yield
    finally:
        services.process.stop()
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        await services.upstream.close()
        await services.state.close()


def translation_settings(config: Config, models: ModelTable, *, salt: bytes) -> TranslationSettings:
    """The translators' settings, from the settings of the same names."""
    return TranslationSettings(
        strict=config.strict,
        aliases=load_aliases(config, models),
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
            services.translation = translation_settings(services.config, services.models, salt=salt)
            return
        await asyncio.sleep(1.0)


async def _publish_figures(services: Services) -> None:
    """Tells all replicas how this worker is doing; Redis being away is no reason to stop."""
    worker_id, host = secrets.token_hex(8), socket.gethostname()
    try:
        while True:
            with suppress(StateError):
                await publish(services.state, worker_figures(services.process, worker_id=worker_id, host=host))
            await asyncio.sleep(PUBLISH_INTERVAL_S)
    finally:
        with suppress(StateError):
            await withdraw(services.state, worker_id)
