"""The Lua scripts: each is one atomic step, read once from ``scripts/*.lua`` and called by its digest.

Every file opens with its KEYS, its ARGV, what it returns, the units, which key gets which TTL and why the step has to
be atomic. The module that calls a script, and its tests, carry the same name (STYLE.md section 5).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import NamedTuple, TypeAlias

from msgspec import Struct


class Script(Struct, frozen=True, kw_only=True):
    """A Lua script as the server knows it.

    Args:
        name: file name without its ending.
        text: the source, as it is sent by ``EVAL``.
        sha1: lower-case hexadecimal digest of ``text``, as ``EVALSHA`` wants it.
    """

    name: str
    text: bytes
    sha1: bytes


#: A script with its keys and arguments; a ``ScriptCall`` is one, and costs more to make.
ScriptWords: TypeAlias = tuple[Script, Sequence[bytes | str | int | float], Sequence[bytes | str | int | float]]


class ScriptCall(NamedTuple):
    """A script with its keys and arguments, as an entry of a pipeline."""

    script: Script
    keys: Sequence[bytes | str | int | float]
    args: Sequence[bytes | str | int | float] = ()


def script_from_text(name: str, text: bytes) -> Script:
    """A script from its source; the digest is Redis's own rule, not a matter of security."""
    return Script(name=name, text=text, sha1=hashlib.sha1(text, usedforsecurity=False).hexdigest().encode())


def _load(name: str) -> Script:
    return script_from_text(name, files("app.state").joinpath("scripts", f"{name}.lua").read_bytes())


#: ``figures.publish``
PUBLISH_WORKER = _load("publish_worker")
#: ``secret.shared_secret``
SHARED_SECRET = _load("shared_secret")
