"""Files of the operator that are read at the start, and again whenever they change: keys, models.

A ConfigMap is mounted as a symbolic link that is swapped when its content changes and sends no signal, so a file is
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
from typing import Final, Generic, TypeVar

from app.config import SettingError

log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 1.0
#: Tens of thousands of keys.
LARGEST_BYTES: Final = 16 * 1024**2

#: What changes with the content: modification time in nanoseconds, size, inode; ``None`` for a file that is not there.
Signature = tuple[int, int, int]

Content = TypeVar("Content")


def read_operators_file(variable: str, path: str) -> str:
    """The text of a file that a setting names.

    Args:
        variable: the setting, for the message.
        path: the file.

    Raises:
        SettingError: it cannot be read, or is no text of a reasonable size; the message quotes nothing of it.
    """
    try:
        _check_kind(Path(path).stat())
        return Path(path).read_text(encoding="utf-8")
    except OSError as exc:
        raise SettingError(f"{variable}: {path!r} cannot be read: {exc.strerror}.") from None
    except UnicodeDecodeError:
        raise SettingError(f"{variable}: {path!r} is not UTF-8 text.") from None


class FileWatcher(Generic[Content]):
    """Takes up changes of a file.

    Args:
        what: the file's name in the log, such as ``keys file``.
        path: the file.
        loaded: what was read of it at the start.
        load: reads it; raises ``SettingError`` where it is not to be used. Called in a thread.
        take_up: is given the new content.
        describe: the content in a few words, for the log.
    """

    def __init__(
        self,
        what: str,
        path: str,
        loaded: Content,
        *,
        load: Callable[[], Content],
        take_up: Callable[[Content], None],
        describe: Callable[[Content], str],
    ) -> None:
        self._what = what
        self._path = path
        self._current = loaded
        self._load = load
        self._take_up = take_up
        self._describe = describe
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
            content = await asyncio.to_thread(self._load)
        except SettingError as exc:
            log.warning("The %s has changed and is not taken up; what was read before counts on. %s", self._what, exc)
            return
        if content != self._current:
            self._current = content
            self._take_up(content)
            log.info("The %s was taken up: %s.", self._what, self._describe(content))


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
