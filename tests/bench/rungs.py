"""Our processes around more and more of the gateway, for ``tests/bench/steps.py``: what a rung adds is what it costs.

Run as a script with the name of a rung and a JSON file: the answers of ``tests/bench/control.py``, and Anthropic's own
as ``upstream_plain`` and ``upstream_events``. Rungs: ``server`` (the control), ``middleware`` (``GatewayApp`` around
it), ``litestar`` (a route of the chat route's shape between the two), ``memory`` (the whole gateway, with an upstream
that answers from memory). Prints ``ready PORT``.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
from litestar import Litestar, Request, post
from litestar.types import ASGIApp

from app.api.errors import EXCEPTION_HANDLERS
from app.api.middleware import GatewayApp
from app.config import Config
from app.domain.upstream import UpstreamReply, UpstreamRequest
from app.main import create_app
from app.upstream.deferred import DeferredUpstream
from tests.bench.control import Control
from tests.support.services import make_services
from workers.gateway import run_gateway
from workers.listener import bind

#: Headers that the simulator sends and the gateway reads.
_HEADERS = {
    "request-id": "req_sim0123456789abcdef0123",
    "anthropic-ratelimit-requests-limit": "50000",
    "anthropic-ratelimit-requests-remaining": "49999",
    "anthropic-ratelimit-requests-reset": "2026-11-23T12:00:01Z",
    "anthropic-ratelimit-tokens-limit": "20000000",
    "anthropic-ratelimit-tokens-remaining": "19999000",
    "anthropic-ratelimit-tokens-reset": "2026-11-23T12:00:01Z",
}


class MemoryReply:
    """Anthropic's answer, from memory; events at their rate."""

    status = 200
    headers = _HEADERS
    attempts = 1

    def __init__(self, plain: bytes, events: list[bytes], rate: float) -> None:
        self._plain = plain
        self._events = events
        self._rate = rate

    async def read(self) -> bytes:
        """The plain body."""
        return self._plain

    async def chunks(self) -> AsyncIterator[bytes]:
        """The events."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        for number, event in enumerate(self._events):
            await asyncio.sleep(max(0.0, began + number / self._rate - loop.time()))
            yield event

    async def close(self) -> None:
        """Nothing is held."""


class MemoryUpstream:
    """Anthropic, from memory."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self._plain = answers["upstream_plain"].encode()
        self._events = [event.encode() for event in answers["upstream_events"]]
        self._rate = answers["rate"]

    async def send(self, request: UpstreamRequest) -> UpstreamReply:
        """The same answer to everything."""
        request.watch.sending()
        return MemoryReply(self._plain, self._events, self._rate)

    async def close(self) -> None:
        """Nothing is held."""


def _litestar(inner: ASGIApp) -> Litestar:
    @post("/v1/chat/completions", status_code=200)
    async def create(request: Request) -> ASGIApp:  # type: ignore[type-arg]
        return inner

    return Litestar([create], exception_handlers=EXCEPTION_HANDLERS, logging_config=None, openapi_config=None)


def application(rung: str, config: Config, answers: dict[str, Any]) -> Any:
    """The ASGI application of a rung."""
    match rung:
        case "server":
            return Control(answers)
        case "middleware":
            return GatewayApp(Control(answers), make_services(config=config))
        case "litestar":
            return GatewayApp(_litestar(Control(answers)), make_services(config=config))
    return create_app(config, upstream=DeferredUpstream(lambda: MemoryUpstream(answers)))


def _main() -> int:
    rung, answers = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
    config = Config(port=0, redis_url="memory://")
    listener = bind(config.host, config.port, shared=False)
    config = msgspec.structs.replace(config, port=listener.getsockname()[1])
    return run_gateway(
        config,
        listener,
        create_app=lambda config: application(rung, config, answers),
        on_ready=lambda: print(f"ready {config.port}", flush=True),
    )


if __name__ == "__main__":
    sys.exit(_main())
