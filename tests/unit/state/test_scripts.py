"""Every script file: its header, its digest, its place in the package."""

from __future__ import annotations

import hashlib
import re
from importlib import import_module
from importlib.resources import files
from pkgutil import iter_modules

import pytest

import app.state
from app.state import scripts

_FILES = {
    file.name: file.read_text()
    for file in files("app.state").joinpath("scripts").iterdir()
    if file.name.endswith(".lua")
}
#: Functions that several scripts begin with; not scripts of their own.
_SHARED = ("flight.lua", "ledger.lua", "session.lua")
_LUA = sorted(_FILES.keys() - set(_SHARED))


def _loaded() -> list[scripts.Script]:
    modules = [import_module(f"app.state.{module.name}") for module in iter_modules(app.state.__path__)]
    found = {
        value.name: value for module in modules for value in vars(module).values() if isinstance(value, scripts.Script)
    }
    return [found[name] for name in sorted(found)]


_LOADED = _loaded()


def test_there_are_scripts() -> None:
    assert _LUA


def test_every_file_is_loaded_and_every_script_is_a_file() -> None:
    assert sorted(f"{script.name}.lua" for script in _LOADED) == _LUA


def test_every_file_has_one_loader() -> None:
    modules = [file for file in files("app.state").iterdir() if file.name.endswith(".py")]
    loaders = [name for module in modules for name in re.findall(r'load_script\("(\w+)"', module.read_text())]
    assert sorted(f"{name}.lua" for name in loaders) == _LUA


@pytest.mark.parametrize("shared", _SHARED)
def test_what_scripts_share_stands_at_their_beginning(shared: str) -> None:
    sharing = {script.name for script in _LOADED if script.text.startswith(_FILES[shared].encode())}
    assert sharing == {name.removesuffix(".lua") for name in _LUA if f"Begins with {shared}" in _flowing(name)}
    assert len(sharing) > 1


@pytest.mark.parametrize("name", _LUA)
def test_a_script_opens_with_what_it_touches_and_why_it_is_atomic(name: str) -> None:
    header = _header(name)
    for words in (r"KEYS\[1\]", r"ARGV\[1\]", r"TTL|times? to live", "Returns", "Atomic because"):
        assert re.search(words, header), words


@pytest.mark.parametrize("shared", _SHARED)
def test_what_scripts_share_says_that_it_is_none_itself(shared: str) -> None:
    for words in ("Not a script of its own", "Units:", "Values"):
        assert words in _flowing(shared)


def _flowing(name: str) -> str:
    """The header of a script without its line ends."""
    return " ".join(_header(name).replace("--", " ").split())


def _header(name: str) -> str:
    header = _FILES[name].split("\n\n")[0]
    assert all(line.startswith("--") for line in header.splitlines())
    return header


@pytest.mark.parametrize("script", _LOADED, ids=lambda script: script.name)
def test_the_digest_is_that_of_the_text(script: scripts.Script) -> None:
    assert script.sha1 == hashlib.sha1(script.text).hexdigest().encode()


@pytest.mark.parametrize("script", _LOADED, ids=lambda script: script.name)
def test_no_script_names_a_key_itself(script: scripts.Script) -> None:
    assert b"cw:" not in script.text
