"""A gateway in the test's own event loop: the real application, connections and lane, without processes.

It starts in milliseconds, so that a test can choose its settings, and what it leaves behind can be counted.

async with gateway_here(upstream.base_url, stream_keepalive_s=0.2) as gateway: ... gateway.port
"""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from uvicorn.config import Config as UvicornConfig
from uvicorn.server import ServerState

from app.api.request_ids import RequestIds
from app.config import Config
from app.main import create_app
from app.upstream.direct import DirectUpstream
from app.upstream.retries import RetryingUpstream
from app.upstream.settings import LaneSettings
from tests.support.chat_wire import Reply, Wire, post, until
from workers.http_protocol import ConnectionLimits, GatewayProtocol

#: What may stand in no reply and in no log.
UPSTREAM_KEY = "sk-ant-canary-0123456789abcdef"

#: Everything ends within this time, however busy the machine is.
SETTLES_WITHIN_S = 5.0

_DEFAULTS: dict[str, Any] = {
    "redis_url": "memory://",
    "secret": "salt",
    "anthropic_api_key": UPSTREAM_KEY,
    "upstream_retries": 0,
    "upstream_connect_timeout_s": 2.0,
    "upstream_first_byte_timeout_s": 10.0,
    "upstream_idle_timeout_s": 10.0,
}


class GatewayHere:
    """A gateway that is ready."""

    def __init__(self, port: int, config: Config, server_state: ServerState, lane: DirectUpstream, app: Any) -> None:
        self.port = port
        self.config = config
        self.app = app
        self._server_state = server_state
        self._lane = lane
        self._wires: list[Wire] = []

    async def wire(self, *, receive_buffer_bytes: int | None = None) -> Wire:
        """A client's connection, which ends with the gateway if not before."""
        self._wires.append(await Wire.open(self.port, receive_buffer_bytes=receive_buffer_bytes))
        return self._wires[-1]

    async def ask(self, body: bytes, **request: Any) -> Reply:
        """One request on a connection of its own; arguments as of ``post``."""
        wire = await self.wire()
        wire.send(post(body, **request))
        reply = await wire.reply()
        wire.close()
        return reply

    def hang_up(self) -> None:
        """Ends every client's connection that is still open."""
        for wire in self._wires:
            wire.writer.transport.abort()

    @property
    def url(self) -> str:
        """What ``OPENAI_BASE_URL`` would be."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def root(self) -> str:
        """The same without ``/v1``."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def requests_in_flight(self) -> int:
        """Requests that are being answered."""
        return len(self._server_state.tasks)

    @property
    def connections(self) -> int:
        """Connections of clients."""
        return len(self._server_state.connections)

    @property
    def upstream_calls(self) -> int:
        """Calls of Anthropic that hold a slot."""
        return self.config.upstream_max_connections - self._lane._slots.free

    async def settled(self) -> None:
        """Returns once no request and no upstream call is left; fails when that takes too long."""
        try:
            await until(
                lambda: not (self.requests_in_flight or self.upstream_calls or self.app._process.in_flight),
                within_s=SETTLES_WITHIN_S,
            )
        except TimeoutError:
            raise AssertionError(
                f"left behind: {self.requests_in_flight} requests, {self.upstream_calls} upstream calls, "
                f"{self.app._process.in_flight} in flight"
            ) from None
        assert self.app._process.streams == 0


@asynccontextmanager
async def gateway_here(base_url: str, **settings: Any) -> AsyncIterator[GatewayHere]:
    """Runs a gateway until the block ends; fails when it leaves a request, an upstream call or a task behind.

    Args:
        base_url: of the upstream.
        settings: fields of ``Config``.
    """
    loop = asyncio.get_running_loop()
    before = asyncio.all_tasks()
    complaints: list[str] = []
    loop.set_exception_handler(lambda _, context: complaints.append(str(context)))
    config = Config(**{**_DEFAULTS, "anthropic_base_url": base_url, **settings})
    lane = DirectUpstream(LaneSettings.of(config, {}))
    app = create_app(config, upstream=RetryingUpstream(lane, config.upstream_retries))
    limits = ConnectionLimits(
        header_timeout_s=config.header_timeout_s,
        max_header_bytes=config.max_header_bytes,
        write_buffer_bytes=config.stream_buffer_bytes,
        write_timeout_s=config.write_timeout_s,
    )
    server_config = UvicornConfig(
        app,
        loop="none",
        ws="none",
        lifespan="on",
        interface="asgi3",
        log_config=None,
        access_log=False,
        http=functools.partial(  # type: ignore[arg-type]
            GatewayProtocol, limits=limits, new_request_id=RequestIds().new, on_refused=app.note_refused
        ),
        timeout_keep_alive=config.keep_alive_s,  # type: ignore[arg-type]
    )
    server_config.load()
    lifespan = server_config.lifespan_class(server_config)
    await lifespan.startup()
    state = ServerState()

    def connection() -> asyncio.Protocol:
        make: Any = server_config.http_protocol_class
        protocol: asyncio.Protocol = make(config=server_config, server_state=state, app_state=lifespan.state)
        return protocol

    server = await loop.create_server(connection, "127.0.0.1", 0)
    gateway = GatewayHere(server.sockets[0].getsockname()[1], config, state, lane, app)
    try:
        yield gateway
        await gateway.settled()
    finally:
        gateway.hang_up()
        server.close()
        for task in list(state.tasks):
            task.cancel()
        for open_connection in list(state.connections):
            open_connection.transport.abort()
        await lifespan.shutdown()
        await asyncio.sleep(0)
    await _no_task_left(before)
    assert not complaints, complaints


async def _no_task_left(before: set[asyncio.Task[Any]]) -> None:
    """Tasks of a gateway end with it; those of the scripts of its upstream are the upstream's."""
    ours = ("app/", "workers/", f"anthropic{os.sep}", f"aiohttp{os.sep}")
    left: list[Any] = []
    for _ in range(100):
        left = [
            task
            for task in asyncio.all_tasks() - before
            if any(name in task.get_coro().cr_code.co_filename for name in ours)  # type: ignore[union-attr]
        ]
        if not left:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"tasks left behind: {left}")
