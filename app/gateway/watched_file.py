"""Files of the operator that are read at the start, and again whenever they change: keys, models.

A ConfigMap is mounted as a symbolic link that is swapped when its content changes and sends no signal, so a file is
looked at once a second, through its links. A file that is broken or gone changes nothing: what was read last counts
on, and each worker says so once. Source: DESIGN.md section 8.
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

#: What changes with the content, and with who may read it: times of modification and of change in nanoseconds, size,
#: inode; ``None`` for a file that is not there.
Signature = tuple[int, int, int, int]

Content = TypeVar("Content")


class FileUnreadable(SettingError):
    """A file cannot be read now; it may be in a moment, though nothing changes in it."""


def read_operators_file(variable: str, path: str, *, most_bytes: int = LARGEST_BYTES) -> str:
    """The text of a file that a setting names.

    Args:
        variable: the setting, for the message.
        path: the file.
        most_bytes: how large it may be.

    Raises:
        FileUnreadable: it cannot be read, or is no file of a reasonable size; the message quotes nothing of it.
        SettingError: it is no text; likewise.
    """
    try:
        _check_kind(Path(path).stat(), most_bytes)
        return Path(path).read_text(encoding="utf-8")
    except OSError as exc:
        raise FileUnreadable(f"{variable}: {path!r} cannot be read: {exc.strerror}.") from None
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
        #: At first no file's: the first look reads, in case it changed since the start.
        self._seen: Signature | None = (0, 0, 0, 0)
        self._unreadable = ""  # why it could not be read, as it was said

    async def run(self) -> None:
        """Looks at the file every ``LOOK_EVERY_S``, until it is cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """One look: a ``stat``, and where that has changed or the last read has failed a read, in a thread."""
        signature = _signature(self._path)
        if signature == self._seen:
            self._unreadable = ""
            return
        try:
            content = await asyncio.to_thread(self._load)
        except FileUnreadable as exc:
            if str(exc) != self._unreadable:
                self._unreadable = str(exc)
                self._warn(exc)
            return
        except SettingError as exc:
            self._seen, self._unreadable = signature, ""
            self._warn(exc)
            return
        self._seen, self._unreadable = signature, ""
        if content != self._current:
            self._current = content
            self._take_up(content)
            log.info("The %s was taken up: %s.", self._what, self._describe(content))

    def _warn(self, error: SettingError) -> None:
        log.warning("The %s has changed and is not taken up; what was read before counts on. %s", self._what, error)


def _check_kind(found: os.stat_result, most_bytes: int) -> None:
    """Refuses what must not be read: a pipe would be waited for, for ever.

    Raises:
        OSError: it is no regular file, or larger than ``most_bytes``.
    """
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file")
    if found.st_size > most_bytes:
        raise OSError(errno.EFBIG, f"it is larger than {most_bytes // 1024**2} MiB")


def _signature(path: str) -> Signature | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino
