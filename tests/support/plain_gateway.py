"""Our processes around an application of a few lines, to test the processes alone; run as a script.

Arguments: the settings as JSON. Prints ``ready PORT`` when all workers answer, and ``stopping``.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

import msgspec

from app.config import Config
from workers import gunicorn_conf
from workers.gateway import run_gateway
from workers.listener import bind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.processes import ChildProcess


class Application:
    """Answers with what it got; some paths do what a worker must survive."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.draining = False
        if os.environ.get("BROKEN") and Path(os.environ["BROKEN"]).exists():
            raise RuntimeError("broken on purpose")

    def begin_drain(self) -> None:
        """The hook of the worker at SIGTERM."""
        self.draining = True

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """ASGI."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        match scope["path"]:
            case "/stream":
                await self._stream(receive, send)
            case "/deaf":
                await self._never_ends(send)
            case "/fail":
                raise ValueError("a secret value")
            case "/silent":
                return
            case "/sleep":
                await asyncio.sleep(60)
            case "/block":
                time.sleep(float(scope["query_string"]))  # noqa: ASYNC251 - it is what must be survived
            case "/large":
                await _reply(send, b"x" * int(scope["query_string"]))
            case "/early":
                await _reply(send, b"early")
            case path:
                body = await _body(receive)
                names = [name.decode() for name, _ in scope["headers"]]
                facts = {"pid": os.getpid(), "path": path, "method": scope["method"], "body": body.decode("latin-1")}
                await _reply(send, json.dumps(facts | {"draining": self.draining, "headers": names}).encode())

    async def _lifespan(self, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        print("lifespan over", flush=True)
        await send({"type": "lifespan.shutdown.complete"})

    async def _stream(self, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await receive()  # the empty body
        gone = asyncio.ensure_future(receive())
        try:
            while not gone.done():
                await send({"type": "http.response.body", "body": b"tick\n", "more_body": True})
                await asyncio.sleep(0.05)
        except asyncio.CancelledError as reason:
            await asyncio.sleep(0.2)  # clean-up takes time
            await send({"type": "http.response.body", "body": f"{reason}\n".encode(), "more_body": False})

    async def _never_ends(self, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"tick\n", "more_body": True})
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                continue


async def _body(receive: Any) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


async def _reply(send: Any, body: bytes) -> None:
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": body})


class PlainGateway:
    """A plain gateway that is ready."""

    def __init__(self, process: ChildProcess, port: int) -> None:
        self.process = process
        self.port = port


@contextmanager
def plain_gateway(output: Path, *, env: dict[str, str] | None = None, **settings: Any) -> Iterator[PlainGateway]:
    """Runs this file until the block ends."""
    from tests.support.processes import child_process

    settings = {"port": 0, "header_timeout_s": 1.0} | settings
    with child_process([sys.executable, __file__, json.dumps(settings)], env=env, output=output) as process:
        yield PlainGateway(process, int(process.wait_for(r"ready (\d+)", within_s=30)[1]))


def _main() -> int:
    gunicorn_conf.HUNG_AFTER_S = int(os.environ.get("HUNG_AFTER_S", gunicorn_conf.HUNG_AFTER_S))
    config = Config(**json.loads(sys.argv[1]))
    listener = bind(config.host, config.port, shared=config.workers > 1)
    config = msgspec.structs.replace(config, port=listener.getsockname()[1])
    return run_gateway(
        config,
        listener,
        create_app=Application,
        on_ready=lambda: print(f"ready {config.port}", flush=True),
        on_stopping=lambda: print("stopping", flush=True),
    )


if __name__ == "__main__":
    sys.exit(_main())
