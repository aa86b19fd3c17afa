"""The pinned requirements: exact, with hashes, and free of this machine (``poe pin`` makes them)."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = {"requirements.txt": (), "requirements-dev.txt": ("dev",), "requirements-smoke.txt": ("smoke",)}

_NAME = re.compile(r"[A-Za-z0-9._-]+")


def entries(file: str) -> dict[str, str]:
    """Package -> its lines, without the header."""
    text = (ROOT / file).read_text()
    return {match.group(): part for part in re.split(r"\n(?=[a-z0-9])", text) if (match := _NAME.match(part))}


@pytest.mark.parametrize("file", FILES)
def test_names_no_host_and_no_path(file: str) -> None:
    assert "/" not in (ROOT / file).read_text()


@pytest.mark.parametrize("file", FILES)
def test_every_package_has_an_exact_version_and_a_hash(file: str) -> None:
    loose = [name for name, lines in entries(file).items() if "==" not in lines or "--hash=sha256:" not in lines]

    assert loose == []


@pytest.mark.parametrize(("file", "extras"), FILES.items())
def test_every_dependency_of_the_project_is_pinned(file: str, extras: tuple[str, ...]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + [item for extra in extras for item in project["optional-dependencies"][extra]]

    names = {match.group().lower().replace("_", "-") for item in wanted if (match := _NAME.match(item))}

    assert names - set(entries(file)) == set()


def test_the_files_agree_on_every_version() -> None:
    versions = [{name: lines.split()[0] for name, lines in entries(file).items()} for file in FILES]
    runtime, *others = versions

    assert [{name: pins[name] for name in runtime} for pins in others] == [runtime, runtime]
