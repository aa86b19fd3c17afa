"""gunicorn's settings, from ours. What is not named here has gunicorn's default.

``timeout`` is not a limit for requests: a worker's heartbeat comes from its event loop, so it kills only a worker that
has blocked its loop for that long. ``reuse_port`` stays off although every worker of several listens on a socket of its
own (``workers.listener``): gunicorn would let them listen before they can answer.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger

from app.config import Config

#: A worker whose event loop stands still for this long is killed and replaced.
HUNG_AFTER_S = 30


def gunicorn_settings(config: Config) -> dict[str, object]:
    """The settings by gunicorn's names."""
    host = f"[{config.host}]" if ":" in config.host else config.host
    return {
        "proc_name": "claude-wrapper",
        "bind": f"{host}:{config.port}",
        "workers": config.workers,
        "worker_class": "workers.uvicorn_worker.GatewayWorker",
        "worker_tmp_dir": _heartbeat_directory(),
        "timeout": HUNG_AFTER_S,
        "graceful_timeout": math.ceil(config.drain_delay_s + config.graceful_timeout_s),
        "keepalive": math.ceil(config.keep_alive_s),
        "backlog": config.backlog,
        "max_requests": 0,
        "preload_app": False,
        "control_socket_disable": True,
        "logger_class": GatewayLogger,
        "loglevel": "debug" if config.debug else "warning",
        "accesslog": None,
    }


def _heartbeat_directory() -> str | None:
    """A directory in memory, where there is one: a heartbeat must not wait for a busy disk."""
    directory = Path("/dev/shm")  # noqa: S108 - unlinked at once, by mkstemp
    return str(directory) if directory.is_dir() and os.access(directory, os.W_OK) else None


class GatewayLogger(Logger):  # type: ignore[misc]
    """gunicorn's log through the handlers of ``app.observability.log``, instead of some of its own."""

    def setup(self, cfg: object) -> None:
        """Takes over a configuration."""
        self.cfg = cfg
        self._access_log_enabled = False

    def error(self, msg: str, *args: object, **kwargs: object) -> None:
        """An error, unless a worker has said it better: one that cannot start tells why, then exits with 3."""
        if args[1:] != (Arbiter.WORKER_BOOT_ERROR,) and not msg.startswith(("Shutting down", "Reason")):
            super().error(msg, *args, **kwargs)
