"""The keys file on disk: read at the start, and again whenever it changes (``app/gateway/watched_file.py``)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from app.config import SettingError
from app.domain.key_file import KeyFile, KeyFileError, Kind, parse_key_file
from app.gateway.watched_file import FileWatcher, read_operators_file

VARIABLE: Final = "CLAUDE_WRAPPER_KEYS_FILE"

_KINDS: Final[dict[str, Kind]] = {".toml": "toml", ".yaml": "yaml", ".yml": "yaml"}


def load_key_file(path: str) -> KeyFile:
    """Reads ``CLAUDE_WRAPPER_KEYS_FILE``.

    Raises:
        SettingError: it cannot be read, or something in it is wrong; the text names the place and quotes nothing.
    """
    kind = _KINDS.get(Path(path).suffix.lower())
    if kind is None:
        raise SettingError(f"{VARIABLE}: {path!r} does not end in .toml, .yaml or .yml.")
    text = read_operators_file(VARIABLE, path)
    try:
        return parse_key_file(text, kind)
    except KeyFileError as exc:
        raise SettingError(f"{VARIABLE}: {path!r} is not accepted. {exc}") from None


class KeyFileWatcher(FileWatcher[KeyFile]):
    """Takes up changes of the keys file.

    Args:
        path: the file.
        loaded: what ``load_key_file`` said of it at the start.
        take_up: is given the new content; a key that is no longer in it is revoked.
    """

    def __init__(self, path: str, loaded: KeyFile, take_up: Callable[[KeyFile], None]) -> None:
        super().__init__(
            "keys file",
            path,
            loaded,
            load=partial(load_key_file, path),
            take_up=take_up,
            describe=lambda content: f"{len(content.keys)} keys, {len(content.tenants)} tenants",
        )
