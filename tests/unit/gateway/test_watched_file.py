from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import pytest

from app.config import SettingError
from app.gateway.watched_file import LARGEST_BYTES, FileWatcher, read_operators_file
from tests.support.edited_file import write_as_an_editor

pytestmark = pytest.mark.usefixtures("info_logged")

VARIABLE = "CLAUDE_WRAPPER_WORDS_FILE"


class Watched:
    """A watched file of words, and what was taken up of it; a file that says ``broken`` is not to be used."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.taken: asyncio.Queue[list[str]] = asyncio.Queue()
        self.watcher = FileWatcher(
            "words file",
            str(path),
            self._load(),
            load=self._load,
            take_up=self.taken.put_nowait,
            describe=lambda words: f"{len(words)} words",
        )

    async def after(self, text: str) -> list[list[str]]:
        """What is taken up once the file has this text."""
        write_as_an_editor(self.path, text)
        return await self.look()

    async def look(self) -> list[list[str]]:
        """What one look takes up."""
        await self.watcher.look()
        return [self.taken.get_nowait() for _ in range(self.taken.qsize())]

    def _load(self) -> list[str]:
        words = read_operators_file(VARIABLE, str(self.path)).split()
        if "broken" in words:
            raise SettingError(f"{VARIABLE}: it is broken.")
        return words


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    path = tmp_path / "words.txt"
    path.write_text("one")
    return Watched(path)


async def test_a_changed_file_is_taken_up_once(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    assert await watched.look() == []
    assert await watched.after("one two") == [["one", "two"]]
    assert await watched.look() == []
    assert [record.getMessage() for record in caplog.records] == ["The words file was taken up: 2 words."]


async def test_a_change_before_the_first_look_is_taken_up(watched: Watched) -> None:
    assert await watched.after("two") == [["two"]]


async def test_a_file_that_means_the_same_is_no_change(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    assert await watched.after("  one \n") == []
    assert caplog.records == []


async def test_a_broken_file_is_said_once_and_changes_nothing(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    assert await watched.after("broken") == []
    assert await watched.look() == []
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert VARIABLE in caplog.text
    assert await watched.after("broken again") == []
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert await watched.after("two") == [["two"]]


async def test_a_file_that_is_mended_to_what_it_was_is_no_change(watched: Watched) -> None:
    assert await watched.after("broken") == []
    assert await watched.after("one") == []


async def test_a_file_that_is_gone_changes_nothing_and_may_come_back(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    await watched.look()
    watched.path.unlink()
    assert await watched.look() == []
    assert await watched.look() == []
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert await watched.after("two") == [["two"]]


async def test_a_read_that_fails_is_tried_again_though_nothing_has_changed(
    watched: Watched, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_as_an_editor(watched.path, "two")

    def refused(*_: object, **__: object) -> str:
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_text", refused)
        assert await watched.look() == []
        assert await watched.look() == []
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert await watched.look() == [["two"]]


async def test_each_time_that_a_file_is_away_is_said(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    await watched.look()
    aside = watched.path.parent
    for _ in range(2):
        aside.rename(aside.with_name("elsewhere"))
        assert await watched.look() == []
        assert await watched.look() == []
        aside.with_name("elsewhere").rename(aside)
        assert await watched.look() == []
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]


async def test_a_swapped_link_is_noticed_as_a_config_map_swaps_it(tmp_path: Path) -> None:
    for version, text in (("..one", "one"), ("..two", "two")):
        (tmp_path / version).mkdir()
        (tmp_path / version / "words.txt").write_text(text)
        os.utime(tmp_path / version / "words.txt", ns=(1, 1))
    (tmp_path / "..data").symlink_to("..one")
    (tmp_path / "words.txt").symlink_to("..data/words.txt")
    watched = Watched(tmp_path / "words.txt")
    assert await watched.look() == []
    (tmp_path / "..new").symlink_to("..two")
    (tmp_path / "..new").replace(tmp_path / "..data")
    assert await watched.look() == [["two"]]


async def test_it_looks_until_it_is_cancelled(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.gateway.watched_file.LOOK_EVERY_S", 0.01)
    running = asyncio.create_task(watched.watcher.run())
    async with asyncio.timeout(10):
        for word in ("two", "three"):
            write_as_an_editor(watched.path, word)
            assert await watched.taken.get() == [word]
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(None, "cannot be read: No such file or directory."), (b"\xff\xfe", "is not UTF-8 text.")],
)
def test_a_file_that_cannot_be_read_names_the_setting(tmp_path: Path, content: bytes | None, complaint: str) -> None:
    path = tmp_path / "words.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingError) as caught:
        read_operators_file(VARIABLE, str(path))
    assert str(caught.value) == f"{VARIABLE}: {str(path)!r} {complaint}"


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "words.txt")
    with pytest.raises(SettingError, match="it is no regular file"):
        read_operators_file(VARIABLE, str(tmp_path / "words.txt"))


def test_a_file_that_is_far_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    with path.open("wb") as file:
        file.truncate(LARGEST_BYTES + 1)
    with pytest.raises(SettingError, match="it is larger than 16 MiB"):
        read_operators_file(VARIABLE, str(path))
