from __future__ import annotations

import subprocess
import sys

import click
import pytest

from app.cli.commands import COMMANDS, LATER, arranged, command_line
from tests.support.processes import PROJECT

ALL = [*COMMANDS, *LATER]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("", "serve"),
        ("9000", "serve 9000"),
        ("--port 9000", "serve --port 9000"),
        ("9000 --workers 2 --mock", "serve 9000 --workers 2 --mock"),
        ("-w 2 9000", "serve -w 2 9000"),
        ("-mw 2 9000", "serve -mw 2 9000"),
        ("-w2 status", "status -w2"),
        ("serve 9000", "serve 9000"),
        ("--port 9000 status", "status --port 9000"),
        ("-p 9000 status --json", "status -p 9000 --json"),
        ("9000 status", "status 9000"),
        ("--api-key serve status", "status --api-key serve"),
        ("--status", "status"),
        ("-t 9000", "status 9000"),
        ("-p 9000 --stop", "stop -p 9000"),
        ("-s", "stop"),
        ("--version", "--version"),
        ("-v --mock", "--version"),
        ("--help", "--help"),
        ("-p 9000 -h", "--help"),
        ("serve --help", "serve --help"),
        ("bench --seconds 5", "bench --seconds 5"),
    ],
)
def test_command_may_stand_anywhere_and_is_serve_when_there_is_none(typed: str, meant: str) -> None:
    assert arranged(typed.split(), ALL) == meant.split()


@pytest.mark.parametrize(
    ("word", "hint"), [("serv", "'serve'"), ("docter", "'doctor'"), ("9000x", "--help"), ("-", "--help")]
)
def test_unknown_word_is_refused_with_a_hint(word: str, hint: str) -> None:
    with pytest.raises(click.UsageError, match=hint):
        arranged([word], ALL)


def test_arguments_are_not_changed() -> None:
    typed = ["--mock", "status"]
    arranged(typed, ALL)
    assert typed == ["--mock", "status"]


@pytest.mark.parametrize("name", LATER)
def test_command_of_a_later_release_says_so(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line([name, "--anything", "at", "all"]) == 2
    assert "not in this release" in capsys.readouterr().err


@pytest.mark.parametrize("args", [["--help"], *([name, "--help"] for name in COMMANDS)])
def test_every_command_has_help(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line(args) == 0
    assert "Usage: claude-wrapper" in capsys.readouterr().out


def test_help_shows_every_command_and_option(capsys: pytest.CaptureFixture[str]) -> None:
    command_line(["--help"])
    shown = capsys.readouterr().out
    options = "--port --host --workers --api-key --no-interactive --production --health-monitoring --mock --debug "
    options += "--verbose --version --status --stop --daemon"
    assert [word for word in [*ALL, *options.split()] if word not in shown] == []


def test_version_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line(["--version"]) == 0
    name, _, version = capsys.readouterr().out.strip().partition(" ")
    assert name == "claude-wrapper"
    assert version[0].isdigit()


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        (["--port", "x"], "--port: 'x' is not accepted; it takes a whole number from 0 to 65535."),
        (["70000"], "--port: '70000' is not accepted"),
        (["9000", "--port", "9001"], "Two ports were given, 9000 and 9001"),
        (["--workers", "0"], "--workers: '0' is not accepted; it takes a whole number from 1 to 512."),
        (["--moc"], "No such option"),
        (["--port"], "requires an argument"),
        (["stop", "0"], "say which port"),
        (["simulator", "--error-rate", "2"], "--error-rate: '2' is not accepted"),
    ],
)
def test_mistake_is_answered_in_one_line(args: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line(args) == 2
    said = capsys.readouterr().err
    assert complaint in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("args", ["--help", "--version"])
def test_help_and_version_import_nothing_heavy(args: str) -> None:
    heavy = {
        "litestar",
        "anthropic",
        "redis",
        "fakeredis",
        "gunicorn",
        "uvicorn",
        "rich",
        "psutil",
        "asyncio",
        "workers",
    }
    code = f"import sys; from app.cli import main; sys.argv[1:] = [{args!r}]\ntry: main()\nfinally: print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert heavy & set(ran.stdout.split()) == set()


@pytest.mark.parametrize(
    ("typed", "command"),
    [
        ("keys show", "claude-wrapper keys show"),
        ("keys create --colour red", "claude-wrapper keys create"),
        ("keys nothing", "claude-wrapper keys"),
        ("doctor --colour red", "claude-wrapper doctor"),
        ("--colour", "claude-wrapper"),
    ],
)
def test_help_on_what_was_misused_is_named(capsys: pytest.CaptureFixture[str], typed: str, command: str) -> None:
    assert command_line(typed.split()) == 2
    assert capsys.readouterr().err.endswith(f" '{command} --help' shows what there is.\n")
