"""A profile and a picture of the memory of this worker while it serves, on demand, into files.

The profile is cProfile's, of the thread of the event loop: it sees every function, and makes Python code about half as
fast while it runs. The memory is tracemalloc's, by line of code; where the process was not started with
``PYTHONTRACEMALLOC=1`` it knows only what was allocated while it ran. Neither holds values: no prompt, no key. Files
are readable by this user only, and only the newest are kept.
"""

from __future__ import annotations

import asyncio
import cProfile
import gc
import io
import marshal
import os
import pstats
import stat
import time
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Final, Literal, TypeAlias

import psutil
from msgspec import Struct

from app.errors import Conflict, InvalidRequest

#: Longest time that something is watched for.
MOST_SECONDS: Final = 60

#: Files that are kept, of all workers.
MOST_FILES: Final = 10

#: Lines of code in a report, and of a report in a reply.
_LINES: Final = 50
_LINES_TOLD: Final = 20

_SUFFIXES: Final = (".pstats", ".txt")

_Kind: TypeAlias = Literal["profile", "memory"]


class DebugFile(Struct, frozen=True, kw_only=True):
    """A file that was written.

    Args:
        path: where it is, on the machine of the worker.
        size_bytes: how large.
        modified_at: Unix seconds.
    """

    path: str
    size_bytes: int
    modified_at: float


class DebugReport(Struct, frozen=True, kw_only=True):
    """What was found.

    Args:
        pid: of the worker that was watched.
        seconds: for how long.
        files: what was written.
        beginning: the first lines of the report.
    """

    pid: int
    seconds: float
    files: list[DebugFile]
    beginning: list[str]


class Profiling:
    """Watches this worker, one thing at a time.

    Args:
        directory: where files go; made when the first one does.
        now: wall clock, in Unix seconds.
    """

    def __init__(self, directory: Path, *, now: Callable[[], float] = time.time) -> None:
        self._directory = directory
        self._now = now
        self._is_busy = False

    async def profile(self, seconds: float) -> DebugReport:
        """Where the time of the event loop's thread goes.

        Args:
            seconds: how long to watch.

        Raises:
            Conflict: something is being watched already.
            InvalidRequest: no file can be written.
        """
        async with self._alone():
            profile = cProfile.Profile()
            profile.enable()
            try:
                await asyncio.sleep(seconds)
            finally:
                profile.disable()
            return await asyncio.to_thread(self._write_profile, profile, seconds)

    async def memory(self, seconds: float) -> DebugReport:
        """Which lines of code hold memory, and which took more of it meanwhile.

        Args:
            seconds: how long to watch.

        Raises:
            Conflict: something is being watched already.
            InvalidRequest: no file can be written.
        """
        async with self._alone():
            with _tracing() as is_new:
                before = await asyncio.to_thread(tracemalloc.take_snapshot)
                await asyncio.sleep(seconds)
                after = await asyncio.to_thread(tracemalloc.take_snapshot)
                text = await asyncio.to_thread(_memory_text, before, after, seconds=seconds, is_new=is_new)
            files = await asyncio.to_thread(self._write, "memory", {".txt": text.encode()})
            return _report(seconds, files, text)

    def files(self) -> list[DebugFile]:
        """The files there are, of all workers, newest first. Reads the disk."""
        return [file for file in self._begun() if file.size_bytes]

    def _begun(self) -> list[DebugFile]:
        """The same with those of which nothing was written, yet or ever."""
        try:
            paths = [path for path in self._directory.iterdir() if _is_ours(path)]
        except OSError:  # no file was written yet
            return []
        found = []
        for path in paths:
            try:
                about = path.lstat()
            except OSError:  # another worker has taken it away
                continue
            if stat.S_ISREG(about.st_mode):
                found.append(_file(path, about))
        return sorted(found, key=lambda file: (file.modified_at, file.path), reverse=True)

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        if self._is_busy:
            raise Conflict("This worker is being watched already; try again when that is over.", code="already_running")
        self._is_busy = True
        try:
            await asyncio.to_thread(self._prepare)
            yield
        finally:
            self._is_busy = False

    def _prepare(self) -> None:
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as exc:
            raise self._not_writable(str(exc.strerror)) from exc
        if not os.access(self._directory, os.W_OK | os.X_OK):
            raise self._not_writable("the gateway's user may not")

    def _not_writable(self, reason: str) -> InvalidRequest:
        return InvalidRequest(
            f"No file can be written to {self._directory}: {reason}. Set CLAUDE_WRAPPER_DATA_DIR to a directory that "
            "can be written and has room, such as a mounted volume.",
            code="data_dir_not_writable",
        )

    def _write_profile(self, profile: cProfile.Profile, seconds: float) -> DebugReport:
        profile.create_stats()
        binary = marshal.dumps(profile.stats)  # before the report, which takes them away
        text = _profile_text(profile)
        files = self._write("profile", {".pstats": binary, ".txt": text.encode()})
        return _report(seconds, files, text)

    def _write(self, kind: _Kind, contents: dict[str, bytes]) -> list[DebugFile]:
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self._now()))
        paths = [self._directory / f"{kind}-{stamp}-{os.getpid()}{suffix}" for suffix in contents]
        files: list[DebugFile] = []
        try:
            for path, content in zip(paths, contents.values(), strict=True):
                files.append(_write_private(path, content))
        except OSError as exc:
            _take_away(files)  # half of a report is none
            raise self._not_writable(str(exc.strerror)) from exc
        begun_before = self._now() - MOST_SECONDS
        _take_away(file for file in self._begun() if not file.size_bytes and file.modified_at < begun_before)
        _take_away(self.files()[MOST_FILES:])
        return files


@contextmanager
def _tracing() -> Iterator[bool]:
    """Allocations are traced; tells whether from now on only."""
    is_new = not tracemalloc.is_tracing()
    if is_new:
        tracemalloc.start()
    try:
        yield is_new
    finally:
        if is_new:
            tracemalloc.stop()


def _profile_text(profile: cProfile.Profile) -> str:
    out = io.StringIO()
    stats = pstats.Stats(profile, stream=out)
    for order in ("tottime", "cumulative"):
        stats.sort_stats(order).print_stats(_LINES)
    return out.getvalue()


def _memory_text(before: tracemalloc.Snapshot, after: tracemalloc.Snapshot, *, seconds: float, is_new: bool) -> str:
    since = f"the last {seconds:g} s" if is_new else "the start of the process"
    grown = after.compare_to(before, "lineno")
    grown.sort(key=lambda difference: difference.size_diff, reverse=True)
    kinds = Counter(type(thing).__qualname__ for thing in gc.get_objects())
    lines = [
        f"Resident memory: {psutil.Process().memory_info().rss / 1024**2:.1f} MiB",
        f"Traced: what was allocated since {since}"
        + ("; start the gateway with PYTHONTRACEMALLOC=1 to see all of it." if is_new else "."),
        "",
        "Held, by line of code:",
        *(f"  {entry}" for entry in after.statistics("lineno")[:_LINES]),
        "",
        f"More than {seconds:g} s before, by line of code:",
        *(f"  {entry}" for entry in grown[:_LINES] if entry.size_diff > 0),
        "",
        "Objects, by type:",
        *(f"  {count:>9} {kind}" for kind, count in kinds.most_common(_LINES)),
    ]
    return "\n".join(lines) + "\n"


def _report(seconds: float, files: list[DebugFile], text: str) -> DebugReport:
    lines = [line for line in text.splitlines() if line.strip()]
    return DebugReport(pid=os.getpid(), seconds=seconds, files=files, beginning=lines[:_LINES_TOLD])


def _is_ours(path: Path) -> bool:
    return path.suffix in _SUFFIXES and path.name.startswith(("profile-", "memory-"))


def _file(path: Path, about: os.stat_result) -> DebugFile:
    return DebugFile(path=str(path), size_bytes=about.st_size, modified_at=about.st_mtime)


def _write_private(path: Path, content: bytes) -> DebugFile:
    """Writes a whole file, or leaves none; raises ``OSError``."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor, not a path
            file.write(content)
            file.flush()
            return _file(path, os.fstat(descriptor))
    except OSError:
        path.unlink(missing_ok=True)
        raise


def _take_away(files: Iterable[DebugFile]) -> None:
    for file in files:
        with suppress(OSError):  # another worker has done so, or may write here and nothing else
            Path(file.path).unlink()
