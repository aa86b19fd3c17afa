"""``claude-wrapper [serve]``: brings up the gateway and stays until it is stopped."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING, Any

import click
import msgspec

from app.cli.announce import base_url, mode_in_words, ready_block, ready_fields, warnings
from app.cli.errors import FAILED, CommandFailed
from app.cli.instance import Instance, InstanceFacts
from app.cli.options import SETTINGS, chosen_port, serve_options
from app.cli.protection import ask_for_key, may_ask
from app.cli.receivers import traces_origin
from app.cli.settings import check_settings, load_settings
from app.config import Config, data_root
from app.observability.bounded_write import write_within
from app.observability.version import VERSION

if TYPE_CHECKING:
    from workers.listener import CannotListen

log = logging.getLogger(__name__)

#: A reader that takes nothing is waited for this long.
_STALL_S = 0.1

#: Ends what is written to ``--announce-fd``; its end of file would not do, because the workers hold it open, too.
END_OF_ANNOUNCEMENT = b"\0"


def serve(
    bare_port: str | None,
    no_interactive: bool,
    daemon: bool,
    announce_fd: int | None,
    **given: Any,
) -> int:
    """Run the gateway in the foreground; Ctrl-C stops it gracefully, a second Ctrl-C at once."""
    config, new_key = settings_of_command(bare_port, no_interactive, given)
    if daemon:
        from app.cli.start import start_in_background

        return start_in_background(config, given, new_key=new_key)
    return run_in_foreground(config, announce_fd, new_key=new_key)


def settings_of_command(bare_port: str | None, no_interactive: bool, given: dict[str, Any]) -> tuple[Config, str]:
    """The settings of ``serve`` and ``start``; asks for what may be asked.

    Returns:
        The settings, and the key among them when it was made just now.

    Raises:
        CommandFailed: two ports are given.
        SettingError: a setting is wrong.
    """
    flags = {name: given[name] for name in SETTINGS} | {"port": chosen_port(bare_port, given["port"])}
    config, _ = load_settings(os.environ, flags)
    check_settings(config, os.environ)
    if not may_ask(config, no_interactive=no_interactive):
        return config, ""
    new_key = ask_for_key()
    return msgspec.structs.replace(config, api_key=new_key), new_key


def run_in_foreground(config: Config, announce_fd: int | None = None, *, new_key: str = "") -> int:
    """Everything from the port to the last line; returns the exit status.

    Raises:
        CommandFailed: it cannot start; the text says why.
    """
    from app.cli.simulator_process import SimulatorProcess
    from app.cli.state_choice import choose_state
    from workers.companions import Companions
    from workers.gateway import run_gateway
    from workers.listener import CannotListen

    root = data_root(config.data_dir, os.environ)
    listener = _listen(config, root)
    config = msgspec.structs.replace(config, port=listener.getsockname()[1])
    instance = _claim(Instance(root, config.port))
    # In the background standard output is the log, too.
    is_in_log = announce_fd is not None and config.log_format == "json"
    say = _log if is_in_log else _print
    companions = Companions()
    simulator = None
    try:
        if config.mock:
            simulator = SimulatorProcess()
            companions.add("The simulator", simulator)
        state = choose_state(config, instance, os.environ)
        if state.server is not None:
            companions.add("The embedded state server", state.server)
        running = msgspec.structs.replace(config, redis_url=state.url)
        if simulator is not None:
            running = msgspec.structs.replace(
                running,
                anthropic_base_url=simulator.base_url,
                anthropic_api_key="mock",
                anthropic_api_keys=(),
                anthropic_auth_token="",
                upstream_proxy="",
            )
            os.environ["no_proxy"] = "*"  # a proxy of the machine has no business between the two

        def on_ready() -> None:
            if simulator is not None and not simulator.is_answering():
                say("The simulator does not answer; requests will fail until it does.")
            with suppress(OSError):
                instance.tell(_facts(config, state.words))
            traces = traces_origin(config, os.environ)
            block = ready_block(config, state=state.words, traces=traces, new_key=new_key)
            if is_in_log:
                _log_ready(config, ready_fields(config, state=state.words, traces=traces))
            else:
                say(block)
            if announce_fd is not None:
                _announce(block, announce_fd)

        def on_stopping() -> None:
            say("\nStopping: requests in flight may finish. Ctrl-C again stops at once.")

        status: int = run_gateway(running, listener, companions=companions, on_ready=on_ready, on_stopping=on_stopping)
    except CannotListen as exc:
        raise _refused(exc, config.port) from None
    finally:
        companions.stop()
        instance.release()
    say("Stopped." if status == 0 else "The gateway could not go on; the lines above say why.")
    return 0 if status == 0 else FAILED


def _listen(config: Config, root: Path) -> socket:
    from workers.listener import CannotListen, bind

    try:
        return bind(config.host, config.port, shared=config.workers > 1)
    except CannotListen as exc:
        instance = Instance(root, config.port)
        if exc.taken and instance.running_pid() is not None:
            raise CommandFailed(instance.in_the_way()) from None
        raise _refused(exc, config.port) from None


def _refused(exc: CannotListen, port: int) -> CommandFailed:
    hint = f" Take another one: 'claude-wrapper --port {port + 1}'." if exc.taken else ""
    return CommandFailed(exc.message + hint)


def _claim(instance: Instance) -> Instance:
    """Without a directory it runs all the same (a container with a read-only root); only stop and status need it."""
    with suppress(OSError):
        instance.claim()
    return instance


def _facts(config: Config, state: str) -> InstanceFacts:
    return InstanceFacts(
        pid=os.getpid(),
        version=VERSION,
        url=base_url(config),
        workers=config.workers,
        started_at=time.time(),
        stop_limit_s=config.drain_delay_s + config.graceful_timeout_s,
        mode=mode_in_words(config),
        state=state,
        mock=config.mock,
    )


def _print(text: str) -> None:
    """To the user; nobody reading, or not any more, is no reason to stop."""
    try:
        descriptor = sys.stdout.fileno()
    except (AttributeError, OSError, ValueError):  # closed from the start, or in memory
        with suppress(OSError):
            click.echo(text)
        return
    with suppress(OSError):
        write_within(descriptor, f"{text}\n".encode("utf-8", "backslashreplace"), stall_s=_STALL_S)


def _log(text: str) -> None:
    """To a log of JSON lines, in which nothing else may stand."""
    log.info("%s", text.strip())


def _log_ready(config: Config, fields: Mapping[str, object]) -> None:
    """What the block says, to such a log."""
    log.info("Claude Wrapper is ready.", extra=fields)
    for warning in warnings(config):
        log.warning("%s", " ".join(warning.splitlines()))


def _announce(text: str, announce_fd: int) -> None:
    """To the command that has started us."""
    with suppress(OSError):
        os.write(announce_fd, text.encode() + END_OF_ANNOUNCEMENT)
        os.close(announce_fd)


command = click.Command(
    "serve",
    callback=serve,
    help=serve.__doc__,
    params=[*serve_options(), click.Option(["--announce-fd"], type=int, hidden=True)],
)
