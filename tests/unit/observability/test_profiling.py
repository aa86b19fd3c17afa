"""A profile and a picture of the memory: in private files, few of them, one at a time, without values."""

from __future__ import annotations

import asyncio
import errno
import os
import pstats
import stat
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from app.errors import Conflict, InvalidRequest
from app.observability import profiling as watching
from app.observability.profiling import MOST_FILES, DebugFile, Profiling

CANARY = "CANARY-7f3a9c"


def text_of(file: DebugFile) -> str:
    return Path(file.path).read_text()


def sizes_in(directory: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in directory.iterdir()}


def mode_of(file: DebugFile) -> int:
    return stat.S_IMODE(Path(file.path).stat().st_mode)


def busy_work() -> int:
    return sum(len(CANARY * number) for number in range(200))


async def keep_busy() -> None:
    while True:
        busy_work()
        await asyncio.sleep(0)


async def test_a_profile_names_what_the_loop_was_busy_with(tmp_path: Path) -> None:
    work = asyncio.create_task(keep_busy())
    report = await Profiling(tmp_path / "debug").profile(0.2)
    work.cancel()
    binary, text = report.files
    assert (binary.path[-7:], text.path[-4:], report.seconds, report.pid) == (".pstats", ".txt", 0.2, os.getpid())
    assert "busy_work" in text_of(text)
    assert CANARY not in text_of(text)
    assert any(name == "busy_work" for _, _, name in pstats.Stats(binary.path).stats)  # type: ignore[attr-defined]
    assert 5 < len(report.beginning) <= 20


async def test_the_memory_is_told_by_line_of_code(tmp_path: Path) -> None:
    held: list[bytes] = []

    async def allocate() -> None:
        await asyncio.sleep(0.05)
        held.extend(CANARY.encode() * 1000 for _ in range(100))

    work = asyncio.create_task(allocate())
    report = await Profiling(tmp_path).memory(0.5)
    await work
    (file,) = report.files
    text = text_of(file)
    assert "test_profiling.py" in text
    assert "PYTHONTRACEMALLOC=1" in text
    assert "dict" in text
    assert CANARY not in text
    assert file.size_bytes == len(text.encode())
    assert not tracemalloc.is_tracing()


async def test_what_was_traced_from_the_start_stays_so(tmp_path: Path) -> None:
    tracemalloc.start()
    try:
        report = await Profiling(tmp_path).memory(0.01)
        assert tracemalloc.is_tracing()
    finally:
        tracemalloc.stop()
    assert any("since the start of the process" in line for line in report.beginning)


async def test_one_thing_is_watched_at_a_time(tmp_path: Path) -> None:
    profiling = Profiling(tmp_path)
    first = asyncio.create_task(profiling.profile(0.2))
    await asyncio.sleep(0)
    with pytest.raises(Conflict):
        await profiling.memory(0.1)
    await first
    await profiling.profile(0.01)


async def test_whoever_is_cancelled_leaves_nothing_running(tmp_path: Path) -> None:
    profiling = Profiling(tmp_path)
    for watch in (profiling.profile, profiling.memory):
        task = asyncio.create_task(watch(60.0))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert not tracemalloc.is_tracing()
    assert (await profiling.profile(0.01)).files


async def test_files_are_private_and_the_newest_are_kept(tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("not ours")
    now = [0.0]
    profiling = Profiling(tmp_path, now=lambda: now[0])
    for _ in range(7):
        now[0] += 1.0
        report = await profiling.profile(0.001)
    files = profiling.files()
    assert len(files) == MOST_FILES
    assert {file.path for file in report.files} == {file.path for file in files[:2]}
    assert all(mode_of(file) == 0o600 for file in files)
    assert (tmp_path / "other.txt").exists()


def test_a_file_that_another_worker_takes_away_meanwhile_hides_no_other(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"profile-{number}.txt").write_text("it stays")
        (tmp_path / f"memory-{number}.txt").symlink_to("gone")  # listed, and no more there when it is looked at
    assert [Path(file.path).name[:8] for file in Profiling(tmp_path).files()] == ["profile-"] * 5


async def test_a_file_that_another_worker_takes_away_at_once_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_private = watching._write_private

    def write(path: Path, content: bytes) -> Any:
        written = write_private(path, content)
        path.unlink()
        return written

    monkeypatch.setattr(watching, "_write_private", write)
    report = await Profiling(tmp_path).memory(0.01)
    assert [Path(file.path).suffix for file in report.files] == [".txt"]


async def test_the_event_loop_does_not_wait_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_directory, threads = Path.mkdir, []

    def noting(path: Path, *args: Any, **options: Any) -> None:
        threads.append(threading.get_ident())
        make_directory(path, *args, **options)

    monkeypatch.setattr(Path, "mkdir", noting)
    await Profiling(tmp_path / "debug").profile(0.01)
    assert threads
    assert threading.get_ident() not in threads


def test_without_a_directory_there_are_no_files(tmp_path: Path) -> None:
    assert Profiling(tmp_path / "none").files() == []


async def test_a_directory_that_cannot_be_made_is_told_before_anything_is_watched(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InvalidRequest, match="CLAUDE_WRAPPER_DATA_DIR") as caught:
        await Profiling(tmp_path / "file" / "debug").profile(60.0)
    assert caught.value.code == "data_dir_not_writable"


async def test_a_full_disk_is_told_and_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "profile-good.txt").write_text("it stays")
    written = []

    def room_for_one_file(descriptor: int) -> os.stat_result:
        written.append(descriptor)
        if len(written) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return fstat(descriptor)

    fstat = os.fstat
    with monkeypatch.context() as patched:
        patched.setattr(os, "fstat", room_for_one_file)
        with pytest.raises(InvalidRequest, match="No space left on device"):
            await Profiling(tmp_path).profile(0.01)
    assert list(sizes_in(tmp_path)) == ["profile-good.txt"]


async def test_empty_files_are_not_listed_push_none_out_and_go_after_a_while(tmp_path: Path) -> None:
    for number in range(MOST_FILES):
        (tmp_path / f"memory-{number}.txt").touch()
    (tmp_path / "profile-good.txt").write_text("it stays")
    os.utime(tmp_path / "profile-good.txt", (1, 1))
    profiling = Profiling(tmp_path)
    await profiling.memory(0.01)
    assert len(profiling.files()) == 2
    assert len(sizes_in(tmp_path)) == 2 + MOST_FILES, "another worker may be about to write"
    for number in range(MOST_FILES):
        os.utime(tmp_path / f"memory-{number}.txt", (1, 1))
    await profiling.memory(0.01)
    assert "profile-good.txt" in sizes_in(tmp_path)
    assert all(sizes_in(tmp_path).values())


def test_what_is_no_file_is_not_listed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("not ours")
    (tmp_path / "profile-link.txt").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "profile-gone.txt").symlink_to(tmp_path / "gone")
    (tmp_path / "memory-directory.txt").mkdir()
    (tmp_path / "profile-good.txt").write_text("ours")
    assert [Path(file.path).name for file in Profiling(tmp_path).files()] == ["profile-good.txt"]


async def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    profiling = Profiling(tmp_path, now=lambda: 0.0)
    (tmp_path / f"profile-19700101T000000Z-{os.getpid()}.pstats").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InvalidRequest, match="CLAUDE_WRAPPER_DATA_DIR"):
        await profiling.profile(0.01)
    assert not (tmp_path / "elsewhere").exists()
