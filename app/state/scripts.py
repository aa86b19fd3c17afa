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
        echoes: its reply is a list that begins with ``ARGV[1]``, the id of the call; another id means that the
            connection is out of step (``wire.py``).
    """

    name: str
    text: bytes
    sha1: bytes
    echoes: bool = False


#: A script with its keys and arguments; a ``ScriptCall`` is one, and costs more to make.
ScriptWords: TypeAlias = tuple[Script, Sequence[bytes | str | int | float], Sequence[bytes | str | int | float]]


class ScriptCall(NamedTuple):
    """A script with its keys and arguments, as an entry of a pipeline."""

    script: Script
    keys: Sequence[bytes | str | int | float]
    args: Sequence[bytes | str | int | float] = ()


def script_from_text(name: str, text: bytes, *, echoes: bool = False) -> Script:
    """A script from its source; the digest is Redis's own rule, not a matter of security."""
    sha1 = hashlib.sha1(text, usedforsecurity=False).hexdigest().encode()
    return Script(name=name, text=text, sha1=sha1, echoes=echoes)


def load_script(name: str, *, after: str = "", echoes: bool = False) -> Script:
    """A script of ``scripts/``.

    Args:
        name: file name without its ending.
        after: name of another file that it begins with: functions that several scripts share.
        echoes: see ``Script``.
    """
    texts = [files("app.state").joinpath("scripts", f"{part}.lua").read_bytes() for part in (after, name) if part]
    return script_from_text(name, b"\n".join(texts), echoes=echoes)


#: ``figures.publish_command``
PUBLISH_WORKER = load_script("publish_worker")
#: ``secret.shared_secret``
SHARED_SECRET = load_script("shared_secret")
