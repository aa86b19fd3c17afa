"""Wheel and sdist: complete, free of everything else, and the installed wheel runs from any directory.

The wheel is built from the sdist, as an installer would where no wheel fits. It is installed without its dependencies,
which come from the environment that runs the tests, so nothing here needs a network.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import urllib.parse
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import child_process

ROOT = Path(__file__).parents[2]
PACKAGES = ("app", "workers")

#: Put in front of ours, each of these would break the gateway; the last one is what gunicorn reads by itself.
CANARIES = ("app/__init__.py", "app/cli/__init__.py", "workers/__init__.py", "msgspec.py", "gunicorn.conf.py")


def our_files() -> set[str]:
    """Every file of our packages, as a path inside the archives."""
    return {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def build(target: str, source: Path, into: Path) -> Path:
    """What hatchling, the build backend, makes of a source tree."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(into)]
    subprocess.run(command, cwd=source, check=True, stdout=subprocess.DEVNULL, timeout=120)
    (built,) = into.iterdir()
    return built


@pytest.fixture(scope="session")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("sdist", ROOT, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="session")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    unpacked = tmp_path_factory.mktemp("source")
    with tarfile.open(sdist) as archive:
        # Debian's 3.11.2 has no filters yet, 3.12 warns when none is set: this is what tarfile's own manual does.
        archive.extraction_filter = getattr(tarfile, "data_filter", lambda member, _: member)
        archive.extractall(unpacked)
    (source,) = unpacked.iterdir()
    return build("wheel", source, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def commands(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``bin`` of a fresh virtual environment with the wheel in it."""
    place = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True, timeout=120)
    python = place / "bin" / "python"
    install = [sys.executable, "-m", "pip", f"--python={python}", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*install, wheel], check=True, timeout=120)
    (site_packages,) = place.glob("lib/python*/site-packages")
    # A plain path: the .pth files in there, such as that of an editable install of ours, are not read.
    dependencies = Path(pytest.__file__).parents[1]
    (site_packages / "dependencies_of_the_test_run.pth").write_text(f"{dependencies}\n")
    return place / "bin"


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A user's directory that has packages called like ours; importing one leaves a trace and fails."""
    for canary in CANARIES:
        path = tmp_path / canary
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            f"open({str(tmp_path / 'IMPORTED')!r}, 'a').write({canary!r})\nraise RuntimeError({canary!r})\n"
        )
    return tmp_path


@pytest.fixture
def environment() -> Iterator[dict[str, str]]:
    """An environment without our settings; the data directory has a short name, it holds a unix socket."""
    data = tempfile.mkdtemp(prefix="cw-")
    yield {"PATH": os.defpath, "HOME": data, "CLAUDE_WRAPPER_DATA_DIR": data}
    shutil.rmtree(data, ignore_errors=True)


def output_of(command: list[str | Path], cwd: Path, environment: dict[str, str]) -> str:
    finished = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def ask(base_url: str, question: dict[str, object]) -> tuple[int, bytes]:
    address = urllib.parse.urlsplit(base_url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
    try:
        headers = {"content-type": "application/json"}
        connection.request("POST", "/v1/chat/completions", json.dumps(question), headers)
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


def test_sdist_holds_every_file_of_ours(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}

    assert our_files() - names == set()


def test_sdist_can_be_worked_on(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}

    assert {"pyproject.toml", "README.md", "LICENSE", "requirements.txt", "requirements-dev.txt"} <= names
    assert "tests/package/test_distribution.py" in names


def test_wheel_holds_every_file_of_ours_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.split("/")[0].endswith(".dist-info")}

    assert names == our_files()


@pytest.mark.parametrize("suffix", [".lua", ".toml"])
def test_our_packages_have_files_that_are_not_python(suffix: str) -> None:
    """Else the tests above would not tell anything about them."""
    assert [name for name in our_files() if name.endswith(suffix)]


def test_the_trap_works(commands: Path, elsewhere: Path) -> None:
    """A Python that looks into the working directory first falls into it."""
    finished = subprocess.run(
        [commands / "python", "-c", "import app"], cwd=elsewhere, capture_output=True, check=False
    )

    assert finished.returncode != 0
    assert (elsewhere / "IMPORTED").read_text() == "app/__init__.py"


def test_the_wheel_is_what_runs(commands: Path, elsewhere: Path, environment: dict[str, str]) -> None:
    """And not the source tree, should it be installed in the environment of the test run."""
    code = "import app, workers; print(app.__file__, workers.__file__)"
    places = output_of([commands / "python", "-P", "-c", code], elsewhere, environment).split()

    assert [Path(place).is_relative_to(commands.parent) for place in places] == [True, True]


def test_version(commands: Path, elsewhere: Path, environment: dict[str, str]) -> None:
    assert "0.1.0" in output_of([commands / "claude-wrapper", "--version"], elsewhere, environment)
    assert not (elsewhere / "IMPORTED").exists()


def test_both_names_are_the_same_command(commands: Path, elsewhere: Path, environment: dict[str, str]) -> None:
    long, short = (
        output_of([commands / name, "--version"], elsewhere, environment) for name in ("claude-wrapper", "wrapper")
    )

    assert short == long


def test_config(commands: Path, elsewhere: Path, environment: dict[str, str]) -> None:
    printed = output_of([commands / "claude-wrapper", "config"], elsewhere, environment)

    assert "CLAUDE_WRAPPER_MAX_BODY_BYTES" in printed
    assert not (elsewhere / "IMPORTED").exists()


def test_gateway_answers_from_a_directory_with_packages_of_the_same_names(
    commands: Path, elsewhere: Path, environment: dict[str, str]
) -> None:
    command = [str(commands / "claude-wrapper"), "--mock", "--no-interactive", "--port", "0"]
    question = {"model": "claude-3-5-sonnet-20241022", "messages": [{"role": "user", "content": "Hello!"}]}
    with child_process(command, env=environment, cwd=elsewhere, output=elsewhere / "output") as gateway:
        base_url = gateway.wait_for(r"OPENAI_BASE_URL=(\S+)/v1\n", within_s=60)[1]
        status, body = ask(base_url, question)
        gateway.send(signal.SIGTERM)
        code = gateway.wait(within_s=30)

    assert status == 200, body
    assert json.loads(body)["choices"][0]["message"]["content"]
    assert code == 0
    assert not (elsewhere / "IMPORTED").exists()
