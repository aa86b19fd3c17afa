"""The group of commands: falls back to ``serve``, takes a port as a bare number, refuses words it does not know."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib import import_module

import click

from app.cli.errors import FAILED, INTERRUPTED, MISUSED, CommandFailed
from app.cli.options import serve_options
from app.config import SettingError
from app.observability.version import VERSION

#: Command -> where it lives, and its line in ``--help`` (here, so that help need not import it).
COMMANDS = {
    "serve": ("app.cli.serve", "Run the gateway in the foreground (what happens without a command)."),
    "start": ("app.cli.start", "Run the gateway in the background."),
    "stop": ("app.cli.stop", "Stop the gateway of a port, gracefully."),
    "status": ("app.cli.status", "Tell whether a gateway runs on a port, and how it is."),
    "keys": ("app.cli.keys", "Make, show, change and revoke API keys."),
    "sessions": ("app.cli.sessions", "List, show, count and delete sessions."),
    "monitor": ("app.cli.monitor", "Evaluate alerts beside the gateways, or once to look at them."),
    "simulator": ("app.cli.simulator", "Run the simulator of Anthropic's API alone."),
    "doctor": ("app.cli.doctor", "Check everything the gateway needs, and say what to do."),
    "config": ("app.cli.settings_table", "Show every setting, its value and where it came from."),
}

#: Commands of the design that come with later releases.
LATER = ("bench", "loadtest", "stress")


def command_line(args: Sequence[str]) -> int:
    """Runs one command and returns its exit status."""
    try:
        status = group.main(args=list(args), prog_name="claude-wrapper", standalone_mode=False)
    except click.exceptions.Abort:
        return _fail("Aborted.", FAILED)
    except click.ClickException as exc:
        return _fail(exc.format_message() + _hint(exc), MISUSED)
    except CommandFailed as exc:
        return _fail(exc.message, exc.status)
    except SettingError as exc:
        return _fail(str(exc), MISUSED)
    except KeyboardInterrupt:
        return _fail("Interrupted.", INTERRUPTED)
    except BrokenPipeError:
        return FAILED
    except OSError as exc:
        if exc.errno not in _OUTPUT_BROKEN or exc.filename is not None:
            raise
        return _fail(f"What this prints cannot be written: {exc.strerror}.", FAILED)
    return status if isinstance(status, int) else 0


def _hint(exc: click.ClickException) -> str:
    """Where help is on what was misused."""
    if isinstance(exc, _UnknownWord):
        return ""
    context = exc.ctx if isinstance(exc, click.UsageError) else None
    command = "claude-wrapper" if context is None else context.command_path.removesuffix(" serve")
    return f" '{command} --help' shows what there is."


#: What writing to a full disk, a closed terminal or a closed descriptor fails with.
_OUTPUT_BROKEN = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EBADF}


def _fail(message: str, status: int) -> int:
    with suppress(OSError):
        click.echo(f"claude-wrapper: {message}", err=True)
    return status


class _UnknownWord(click.UsageError):
    """A word that is neither a command nor a port."""


class _Group(click.Group):
    """Moves the command to the front, wherever it stands, so that every option may stand before or after it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Finds the command in what was typed."""
        args = arranged(args, self.list_commands(ctx))
        if args == ["--version"]:
            click.echo(f"claude-wrapper {VERSION}")
            ctx.exit()
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command, in the order of help."""
        return [*COMMANDS, *LATER]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports a command."""
        if cmd_name in LATER:
            return _later(cmd_name)
        found: click.Command = import_module(COMMANDS[cmd_name][0]).command
        return found

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The first line of help."""
        formatter.write_usage("claude-wrapper", "[COMMAND] [PORT] [OPTIONS]")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The options of ``serve``, and the commands without importing them."""
        options = [serve.get_help_record(ctx) for serve in serve_options() if isinstance(serve, click.Option)]
        with formatter.section("Options"):
            formatter.write_dl(
                [option for option in options if option]
                + [
                    ("-t, --status", "the same as 'status'"),
                    ("-s, --stop", "the same as 'stop'"),
                    ("-v, --version", "show the version"),
                    ("-h, --help", "show this; 'claude-wrapper COMMAND --help' for a command"),
                ]
            )
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])
        with formatter.section("Later releases"):
            formatter.write_text(", ".join(LATER))


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
def group() -> None:
    """An OpenAI-compatible gateway in front of Anthropic's Claude API.

    claude-wrapper --mock works without an Anthropic key; claude-wrapper 9000 listens on port 9000. Every setting can
    also be given in the environment: 'claude-wrapper config' lists them.
    """


def _later(name: str) -> click.Command:
    @click.command(name, context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
    def later() -> None:
        raise CommandFailed(f"'{name}' is not in this release yet.", status=MISUSED)

    return later


def arranged(args: Sequence[str], commands: Sequence[str]) -> list[str]:
    """What was typed, with the command in front: ``serve`` where none was named.

    Raises:
        click.UsageError: the first word is neither a command nor a port.
    """
    rest = list(args)
    at = next((at for at in _words(rest) if not rest[at].isdigit()), None)
    if at is not None:
        word = rest.pop(at)
        if word not in commands:
            raise _UnknownWord(_unknown(word, commands))
        return [word, *rest]
    for asked, spellings in ((["--version"], _VERSION), (["--help"], _HELP)):
        if spellings & set(rest):
            return asked
    for name, spellings in _DISGUISED.items():
        if spellings & set(rest):
            return [name, *(arg for arg in rest if arg not in spellings)]
    return ["serve", *rest]


_VERSION = {"-v", "--version"}
_HELP = {"-h", "--help"}

#: Commands that are spelled as options, too.
_DISGUISED = {"status": {"-t", "--status"}, "stop": {"-s", "--stop"}}


def _words(args: Sequence[str]) -> Iterator[int]:
    """Indices of the arguments that are neither options nor an option's value."""
    options = [option for option in serve_options() if isinstance(option, click.Option)]
    with_value = {name for option in options if not option.is_flag for name in option.opts}
    skip = False
    for at, arg in enumerate(args):
        if skip:
            skip = False
        elif not arg.startswith("-") or arg == "-":
            yield at
        else:  # of short options in one word, only the last can have its value in the next
            skip = (arg if arg.startswith("--") else "-" + arg[-1]) in with_value


def _unknown(word: str, commands: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, commands, n=1)
    hint = f"Did you mean '{near[0]}'?" if near else "'claude-wrapper --help' shows the commands."
    return f"'{word}' is neither a command nor a port. {hint}"
