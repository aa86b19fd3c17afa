"""``claude-wrapper start``: the gateway in the background, with a PID file and a log; returns when it is ready."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import click
import msgspec

from app.cli.again import as_called, own_command
from app.cli.announce import KEY_PLACEHOLDER
from app.cli.errors import INTERRUPTED, CommandFailed
from app.cli.instance import Instance
from app.cli.options import SETTINGS, serve_options
from app.cli.serve import END_OF_ANNOUNCEMENT, settings_of_command
from app.config import Config, data_root

#: State that takes longer than this to load is loaded in the background, too.
_READY_WITHIN_S = 120.0
#: A gateway that serves nobody yet needs no longer.
_ENDS_WITHIN_S = 10.0


def start(bare_port: str | None, no_interactive: bool, daemon: bool, **given: Any) -> int:
    """Run the gateway in the background; 'status' and 'stop' find it by its port."""
    del daemon  # it is what this command does
    config, new_key = settings_of_command(bare_port, no_interactive, given)
    return start_in_background(config, given, new_key=new_key)


def start_in_background(config: Config, given: dict[str, Any], *, new_key: str = "") -> int:
    """Starts ``serve`` in a session of its own and waits until it is ready.

    Args:
        config: the settings; the port and the key are taken from here.
        given: the flags as they were typed, passed on.
        new_key: a key that was made just now; shown here, and kept out of the log.

    Raises:
        CommandFailed: it did not become ready, and the text ends with what it said; or Ctrl-C, which stops it.
    """
    if config.port == 0:
        config = msgspec.structs.replace(config, port=_free_port(config.host))
    instance = Instance(data_root(config.data_dir, os.environ), config.port)
    if instance.running_pid() is not None:
        raise CommandFailed(instance.in_the_way())
    try:
        instance.prepare()
        log = os.open(instance.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError as exc:
        raise CommandFailed(
            f"A gateway in the background keeps its log in {instance.directory}: {exc.strerror}. "
            "Set CLAUDE_WRAPPER_DATA_DIR to a directory that can be written."
        ) from None
    log_begins_at = os.fstat(log).st_size
    reader, writer = os.pipe()
    process = subprocess.Popen(  # noqa: S603 - our own command
        own_command("serve", *_flags(config, given), "--no-interactive", "--announce-fd", str(writer)),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env=_environment(config),
        pass_fds=[writer],
        start_new_session=True,
    )
    os.close(writer)
    os.close(log)
    try:
        announcement = _announcement(reader, process)
    except KeyboardInterrupt:
        _end(process)
        raise CommandFailed("Interrupted; the gateway that was starting is stopped.", status=INTERRUPTED) from None
    if announcement is None:
        raise CommandFailed(_what_went_wrong(instance.log_path, log_begins_at, process))
    click.echo(announcement.replace(KEY_PLACEHOLDER, new_key) if new_key else announcement)
    click.echo(f"\n  pid {process.pid}, log {instance.log_path}\n  stop it: {as_called('stop', str(config.port))}")
    return 0


def _flags(config: Config, given: dict[str, Any]) -> list[str]:
    """The flags again, but for the key, which ``ps`` would show."""
    flags = ["--port", str(config.port)]
    for name in SETTINGS:
        value = given[name]
        if value is None or name in ("port", "api_key"):
            continue
        flag = f"--{name.replace('_', '-')}"
        flags += [flag] if value == "true" else [flag, value]
    return flags


def _environment(config: Config) -> dict[str, str]:
    return os.environ | ({"CLAUDE_WRAPPER_API_KEY": config.api_key} if config.api_key else {})


def _announcement(reader: int, process: subprocess.Popen[bytes]) -> str | None:
    """What the gateway says when it is ready; ``None`` when it ends before, or takes too long."""
    deadline = time.monotonic() + _READY_WITHIN_S
    text = b""
    try:
        while END_OF_ANNOUNCEMENT not in text:
            readable, _, _ = select.select([reader], [], [], 0.2)
            chunk = os.read(reader, 65536) if readable else None
            if chunk == b"" or time.monotonic() > deadline or (chunk is None and process.poll() is not None):
                return None
            text += chunk or b""
    finally:
        os.close(reader)
    return text.partition(END_OF_ANNOUNCEMENT)[0].decode()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a gateway that has not been announced; its helpers end with it."""
    process.terminate()
    try:
        process.wait(_ENDS_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _what_went_wrong(log_path: Path, log_begins_at: int, process: subprocess.Popen[bytes]) -> str:
    said = log_path.read_bytes()[log_begins_at:].decode(errors="replace").strip().removeprefix("claude-wrapper: ")
    try:
        process.wait(1)
    except subprocess.TimeoutExpired:
        return f"The gateway is not ready after {_READY_WITHIN_S:g} s; it goes on starting. Its log: {log_path}\n{said}"
    return f"The gateway did not start. Its log: {log_path}\n{said}"


def _free_port(host: str) -> int:
    with socket.create_server((host, 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


command = click.Command("start", callback=start, help=start.__doc__, params=list(serve_options()))
