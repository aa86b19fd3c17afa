"""The control of the benchmarks: our processes and server around an ASGI app that answers from memory.

What it costs is the floor of any gateway on this server. Run as a script with a JSON file: ``{"headers": [[name,
value]...], "plain": text, "stream_headers": ..., "frames": [text...]}``. A request with ``?rate=N`` gets the frames, N
a second; every other one the plain body. Prints ``ready PORT``.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from app.config import Config
from workers.gateway import run_gateway
from workers.listener import bind


class Control:
    """Reads the body, answers the same bytes that the gateway would."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self._headers = _encoded(answers["headers"])
        self._plain = answers["plain"].encode()
        self._stream_headers = _encoded(answers["stream_headers"])
        self._frames = [frame.encode() for frame in answers["frames"]]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """ASGI."""
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        while (await receive()).get("more_body"):
            pass
        rate = scope["query_string"].removeprefix(b"rate=")
        if rate:
            await self._stream(float(rate), send)
        else:
            await send({"type": "http.response.start", "status": 200, "headers": self._headers})
            await send({"type": "http.response.body", "body": self._plain})

    async def _stream(self, rate: float, send: Any) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await send({"type": "http.response.start", "status": 200, "headers": self._stream_headers})
        for number, frame in enumerate(self._frames):
            await asyncio.sleep(max(0.0, began + number / rate - loop.time()))
            await send({"type": "http.response.body", "body": frame, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _encoded(headers: list[list[str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in headers]


def _main() -> int:
    answers = json.loads(Path(sys.argv[1]).read_text())
    config = Config(port=0)
    listener = bind(config.host, config.port, shared=False)
    config = msgspec.structs.replace(config, port=listener.getsockname()[1])
    return run_gateway(
        config,
        listener,
        create_app=lambda _: Control(answers),
        on_ready=lambda: print(f"ready {config.port}", flush=True),
    )


if __name__ == "__main__":
    sys.exit(_main())
