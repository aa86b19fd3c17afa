from __future__ import annotations

from pathlib import Path

import pytest

from app.config import SettingError
from app.domain.key_file import KeyFile
from app.gateway.key_file import KeyFileWatcher, load_key_file
from tests.support.edited_file import write_as_an_editor

pytestmark = pytest.mark.usefixtures("info_logged")

GOOD = "keys: [{key: canary-0123456789, tenant: acme, name: first}]"
OTHER = "keys: [{key: canary-0123456789, tenant: acme, name: other}]"


class Watched:
    """A watched file, and what was taken up of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.taken: list[KeyFile] = []
        self.watcher = KeyFileWatcher(str(path), load_key_file(str(path)), self.taken.append)

    @property
    def names(self) -> list[str]:
        return [key.name for content in self.taken for key in content.keys.values()]

    async def after(self, text: str) -> list[str]:
        """Names of keys taken up so far, once the file has this text."""
        write_as_an_editor(self.path, text)
        await self.watcher.look()
        return self.names


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    path = tmp_path / "keys.yaml"
    path.write_text(GOOD)
    return Watched(path)


@pytest.mark.parametrize("name", ["keys.yaml", "keys.yml", "KEYS.YAML"])
def test_a_yaml_file_is_known_by_its_ending(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(GOOD)
    assert [key.name for key in load_key_file(str(tmp_path / name)).keys.values()] == ["first"]


def test_a_toml_file_is_known_by_its_ending(tmp_path: Path) -> None:
    (tmp_path / "keys.toml").write_text('[[keys]]\nkey = "canary-0123456789"\ntenant = "acme"')
    assert len(load_key_file(str(tmp_path / "keys.toml")).keys) == 1


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("keys.json", b"{}", "does not end in .toml, .yaml or .yml"),
        ("keys.yaml", None, "cannot be read: No such file or directory"),
        ("keys.yaml", b"\xff\xfe", "is not UTF-8 text"),
        ("keys.yaml", b"keys: [{key: canary}]", "is not accepted. Missing required field 'keys[0].tenant'"),
        ("keys.toml", b"keys = canary", "is not accepted. It is not valid TOML (line 1, column 8)"),
    ],
)
def test_a_file_that_cannot_be_used_names_the_setting(
    tmp_path: Path, name: str, content: bytes | None, complaint: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(SettingError) as caught:
        load_key_file(str(tmp_path / name))
    assert str(caught.value).startswith("CLAUDE_WRAPPER_KEYS_FILE: ")
    assert complaint in str(caught.value)
    assert "canary" not in str(caught.value)


async def test_a_changed_file_is_taken_up_once(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    await watched.watcher.look()
    assert watched.names == []
    assert await watched.after(OTHER) == ["other"]
    await watched.watcher.look()
    assert watched.names == ["other"]
    assert [record.getMessage() for record in caplog.records] == ["The keys file was taken up: 1 keys, 0 tenants."]


async def test_a_file_that_is_rewritten_as_it_was_is_no_change(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    assert await watched.after(GOOD + "\n# a comment\n") == []
    assert caplog.records == []


async def test_a_key_that_is_gone_from_the_file_is_gone(watched: Watched) -> None:
    await watched.after("keys: []")
    assert watched.taken == [KeyFile()]


async def test_a_broken_file_is_said_once_and_changes_nothing(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    assert await watched.after("keys: [{canary") == []
    await watched.watcher.look()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "CLAUDE_WRAPPER_KEYS_FILE" in caplog.text
    assert "canary" not in caplog.text
    await watched.after("keys: [{canary: again")
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert await watched.after(OTHER) == ["other"]
