"""Where state is kept: the given Redis, or what ``auto`` comes to on this machine (DESIGN.md section 2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from msgspec import Struct

from app.cli.errors import MISUSED, CommandFailed
from app.cli.instance import Instance
from app.config import Config
from workers import embedded_state
from workers.embedded_state import EmbeddedState, EmbeddedStateError


class StateChoice(Struct, frozen=True, kw_only=True):
    """The state store of this gateway.

    Args:
        url: for ``Config.redis_url``; never ``auto``.
        words: for people; no password.
        server: the server started for it.
    """

    url: str
    words: str
    server: EmbeddedState | None = None


def choose_state(
    config: Config,
    instance: Instance,
    environ: Mapping[str, str],
    *,
    find_server_binary: Callable[[], object] = embedded_state.find_server_binary,
) -> StateChoice:
    """Decides where state is kept, and starts the embedded server when that is the answer.

    Raises:
        CommandFailed: no store fits; the text says what would.
    """
    if config.redis_url == "auto":
        if environ.get("KUBERNETES_SERVICE_HOST"):
            raise CommandFailed(
                "Inside Kubernetes every pod would get a state of its own. Set CLAUDE_WRAPPER_REDIS_URL to a Redis "
                "that all pods share, or to memory:// for a single pod that may forget.",
                status=MISUSED,
            )
        if find_server_binary() is not None:
            return _embedded(instance)
        if config.workers > 1:
            raise CommandFailed(
                "Several workers need a shared state server, and neither valkey-server nor redis-server is here. "
                "Install one, set CLAUDE_WRAPPER_REDIS_URL, or run with --workers 1.",
                status=MISUSED,
            )
        return StateChoice(
            url="memory://", words="in memory: no valkey-server or redis-server here; lost when it stops"
        )
    if config.redis_url.startswith("memory:"):
        if config.workers > 1:
            raise CommandFailed(
                "memory:// is private to a process, so it serves one worker only: run with --workers 1, or set "
                "CLAUDE_WRAPPER_REDIS_URL to a Redis server.",
                status=MISUSED,
            )
        return StateChoice(url=config.redis_url, words="in memory; lost when it stops")
    return StateChoice(url=config.redis_url, words=masked(config.redis_url))


def _embedded(instance: Instance) -> StateChoice:
    try:
        server = embedded_state.start(instance.directory)
    except EmbeddedStateError as exc:
        raise CommandFailed(str(exc)) from None
    except OSError as exc:
        raise CommandFailed(
            f"The embedded state server cannot keep its data in {instance.directory}: {exc.strerror or exc}. "
            "Set CLAUDE_WRAPPER_DATA_DIR to a directory that can be written, or CLAUDE_WRAPPER_REDIS_URL to a server."
        ) from None
    return StateChoice(url=server.url, words=f"embedded valkey in {instance.directory}", server=server)


def masked(url: str) -> str:
    """A Redis URL without user and password."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"
