"""The keys file on disk: read at the start, and again whenever it changes.

A ConfigMap is mounted as a symbolic link that is swapped when its content changes and sends no signal, so the file is
looked at once a second, through its links. A file that is broken or gone changes nothing: what was read last counts
on, and the log says so once. Source: DESIGN.md section 8.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

from app.config import SettingError
from app.domain.key_file import KeyFile, KeyFileError, Kind, parse_key_file

log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 1.0
#: Tens of thousands of keys.
LARGEST_BYTES: Final = 16 * 1024**2

_KINDS: Final[dict[str, Kind]] = {".toml": "toml", ".yaml": "yaml", ".yml": "yaml"}

#: What changes with the content: modification time in nanoseconds, size, inode; ``None`` for a file that is not there.
Signature = tuple[int, int, int]


def load_key_file(path: str) -> KeyFile:
    """Reads ``CLAUDE_WRAPPER_KEYS_FILE``.

    Raises:
        SettingError: it cannot be read, or something in it is wrong; the text names the place and quotes nothing.
    """
    kind = _KINDS.get(Path(path).suffix.lower())
    if kind is None:
        raise SettingError(f"CLAUDE_WRAPPER_KEYS_FILE: {path!r} does not end in .toml, .yaml or .yml.")
    try:
        _check_kind(Path(path).stat())
        return parse_key_file(Path(path).read_text(encoding="utf-8"), kind)
    except OSError as exc:
        raise SettingError(f"CLAUDE_WRAPPER_KEYS_FILE: {path!r} cannot be read: {exc.strerror}.") from None
    except UnicodeDecodeError:
        raise SettingError(f"CLAUDE_WRAPPER_KEYS_FILE: {path!r} is not UTF-8 text.") from None
    except KeyFileError as exc:
        raise SettingError(f"CLAUDE_WRAPPER_KEYS_FILE: {path!r} is not accepted. {exc}") from None


class KeyFileWatcher:
    """Takes up changes of the keys file.

    Args:
        path: the file.
        loaded: what ``load_key_file`` said of it at the start.
        take_up: is given the new content; a key that is no longer in it is revoked.
    """

    def __init__(self, path: str, loaded: KeyFile, take_up: Callable[[KeyFile], None]) -> None:
        self._path = path
        self._current = loaded
        self._take_up = take_up
        self._seen: Signature | None = (0, 0, 0)  # no file's: the first look reads, in case it changed since the start

    async def run(self) -> None:
        """Looks at the file every ``LOOK_EVERY_S``, until it is cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """One look: a ``stat``, and where that has changed a read, in a thread."""
        signature = _signature(self._path)
        if signature == self._seen:
            return
        self._seen = signature
        try:
            content = await asyncio.to_thread(load_key_file, self._path)
        except SettingError as exc:
            log.warning("The keys file has changed and is not taken up; what was read before counts on. %s", exc)
            return
        if content != self._current:
            self._current = content
            self._take_up(content)
            log.info("The keys file was taken up: %d keys, %d tenants.", len(content.keys), len(content.tenants))


def _check_kind(found: os.stat_result) -> None:
    """Refuses what must not be read: a pipe would be waited for, for ever.

    Raises:
        OSError: it is no regular file, or larger than ``LARGEST_BYTES``.
    """
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file")
    if found.st_size > LARGEST_BYTES:
        raise OSError(errno.EFBIG, f"it is larger than {LARGEST_BYTES // 1024**2} MiB")


def _signature(path: str) -> Signature | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
