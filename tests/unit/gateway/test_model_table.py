from __future__ import annotations

import logging
from pathlib import Path

import pytest

from app.config import Config, SettingError
from app.gateway.model_table import LARGEST_BYTES, ModelsWatcher, ServedModels, load_served_models, served_without_file

NEW_MODEL = '[models.claude-brand-new-1]\ndisplay_name = "Brand New"\n'
NEW_LINE = NEW_MODEL + '[lines]\nnewest = "claude-brand-new-1"\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "models.toml"


def with_file(path: Path, text: str, **settings: object) -> Config:
    path.write_text(text)
    return Config(models_file=str(path), **settings)  # type: ignore[arg-type]


def ids(served: ServedModels) -> set[str]:
    return {facts.id for facts in served.table.all()}


def test_the_file_is_laid_over_the_built_in_table(path: Path) -> None:
    built_in = load_served_models(Config())
    assert ids(load_served_models(with_file(path, NEW_MODEL))) == ids(built_in) | {"claude-brand-new-1"}


def test_an_alias_may_lead_to_a_model_of_the_file(path: Path) -> None:
    served = load_served_models(with_file(path, NEW_LINE, model_aliases=(("mine", "newest@low"),)))
    assert served.table.resolve("mine", served.aliases).id == "claude-brand-new-1"


def test_an_alias_that_leads_nowhere_is_refused_with_names_that_work() -> None:
    with pytest.raises(SettingError, match=r"'mine' leads to 'opsu', which is no model\. Names that work: opus"):
        load_served_models(Config(model_aliases=(("mine", "opsu"),)))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("models = ", "cannot be read"),
        ("", "is empty"),
        (" \n", "is empty"),
        ("#" * (LARGEST_BYTES + 1), "it is larger than 1 MiB"),
        ("models = " + "[" * 5000, "nested too deeply"),
        ("[models]\nnew = 5", "models.new is no table"),
        ('[lines]\nopus = "gone"', "lines.opus: 'gone' is not a model that is served"),
    ],
)
def test_a_file_that_is_no_model_table_names_the_setting(path: Path, text: str, complaint: str) -> None:
    with pytest.raises(SettingError) as caught:
        load_served_models(with_file(path, text))
    assert str(caught.value).startswith("CLAUDE_WRAPPER_MODELS_FILE: ")
    assert complaint in str(caught.value)


def test_without_its_file_a_worker_serves_the_built_in_models_and_what_leads_to_them(path: Path) -> None:
    config = with_file(path, "broken", model_aliases=(("mine", "newest"), ("fast", "haiku")), model_preset="openai")
    served = served_without_file(config)
    assert ids(served) == ids(load_served_models(Config()))
    assert "fast" in served.aliases
    assert "gpt-4o*" in served.aliases
    assert "mine" not in served.aliases


def test_models_are_the_same_as_long_as_their_text_is(path: Path) -> None:
    first = load_served_models(with_file(path, NEW_MODEL))
    again = load_served_models(with_file(path, NEW_MODEL))
    other = load_served_models(with_file(path, NEW_LINE))
    assert first == again
    assert not first != again  # noqa: SIM202 - what the watcher asks
    assert hash(first) == hash(again)
    assert first != other
    assert first != NEW_MODEL


async def test_a_changed_file_is_taken_up_with_its_aliases(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    config = with_file(path, NEW_MODEL, model_aliases=(("mine", "claude-brand-new-1"),))
    taken: list[ServedModels] = []
    watcher = ModelsWatcher(config, load_served_models(config), taken.append)
    with_file(path, NEW_LINE)
    await watcher.look()
    (served,) = taken
    assert served.table.resolve("newest", served.aliases) == served.table.resolve("mine", served.aliases)
    count = len(served.table.all())
    assert [record.getMessage() for record in caplog.records] == [f"The models file was taken up: {count} models."]


async def test_a_file_without_what_an_alias_leads_to_changes_nothing(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = with_file(path, NEW_LINE, model_aliases=(("mine", "newest"),))
    taken: list[ServedModels] = []
    watcher = ModelsWatcher(config, load_served_models(config), taken.append)
    with_file(path, NEW_MODEL)
    await watcher.look()
    assert taken == []
    assert "CLAUDE_WRAPPER_MODEL_ALIASES: 'mine' leads to 'newest', which is no model." in caplog.text
