"""Every script file: its header, its digest, its place in the package."""

from __future__ import annotations

import hashlib
from importlib.resources import files

import pytest

from app.state import scripts

_LUA = sorted(file.name for file in files("app.state").joinpath("scripts").iterdir() if file.name.endswith(".lua"))
_LOADED = [value for value in vars(scripts).values() if isinstance(value, scripts.Script)]


def test_there_are_scripts() -> None:
    assert _LUA


def test_every_file_is_loaded_and_every_script_is_a_file() -> None:
    assert sorted(f"{script.name}.lua" for script in _LOADED) == _LUA


@pytest.mark.parametrize("name", _LUA)
def test_a_script_opens_with_what_it_touches_and_why_it_is_atomic(name: str) -> None:
    text = files("app.state").joinpath("scripts", name).read_text()
    header = text.split("\n\n")[0]
    assert all(line.startswith("--") for line in header.splitlines())
    for word in ("KEYS[1]", "ARGV[1]", "TTL", "Returns", "Atomic because"):
        assert word in header


@pytest.mark.parametrize("script", _LOADED, ids=lambda script: script.name)
def test_the_digest_is_that_of_the_text(script: scripts.Script) -> None:
    assert script.sha1 == hashlib.sha1(script.text).hexdigest().encode()


@pytest.mark.parametrize("script", _LOADED, ids=lambda script: script.name)
def test_no_script_names_a_key_itself(script: scripts.Script) -> None:
    assert b"cw:" not in script.text
