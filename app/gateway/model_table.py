"""The model table and the aliases of a configuration: read at the start, and again when the operator's file changes.

Light, as the command line looks at them before it starts anything.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import resources
from typing import Final

from app.config import Config, SettingError
from app.domain.models import ModelTable, ModelTableError
from app.errors import NotFound
from app.gateway.watched_file import FileWatcher, read_operators_file

VARIABLE: Final = "CLAUDE_WRAPPER_MODELS_FILE"
#: Thousands of models; what is larger takes long to parse.
LARGEST_BYTES: Final = 1024**2


@dataclass(frozen=True, kw_only=True)
class ServedModels:
    """Which models there are and what they are called: a table and the aliases that were made for it.

    Two are equal that were read from the same text, for the same settings.

    Args:
        table: the built-in table, with the operator's file laid over it.
        aliases: the operator's names, over those of the preset.
        text: of the operator's file; empty without one.
    """

    table: ModelTable = field(compare=False)
    aliases: Mapping[str, str] = field(compare=False)
    text: str = ""


def load_served_models(config: Config) -> ServedModels:
    """The models that the settings describe.

    Raises:
        SettingError: the file cannot be read or is no model table, or an alias leads to no model.
    """
    text = _text(config)
    table = _table(text)
    return ServedModels(table=table, aliases=_aliases(config, table), text=text)


def served_without_file(config: Config) -> ServedModels:
    """The built-in models, and those aliases that lead to one of them: what is left where the file is broken."""
    table = _table("")
    aliases = table.aliases(config.model_preset, dict(config.model_aliases))
    return ServedModels(
        table=table, aliases={name: target for name, target in aliases.items() if _leads_to(table, target, aliases)}
    )


class ModelsWatcher(FileWatcher[ServedModels]):
    """Takes up changes of the models file; requests in flight go on with the models that they began with.

    Args:
        config: the settings, with a ``models_file``.
        loaded: what is served since the start.
        take_up: is given the new models and aliases.
    """

    def __init__(self, config: Config, loaded: ServedModels, take_up: Callable[[ServedModels], None]) -> None:
        super().__init__(
            "models file",
            config.models_file,
            loaded,
            load=partial(load_served_models, config),
            take_up=take_up,
            describe=lambda served: f"{len(served.table.all())} models",
        )


def _aliases(config: Config, models: ModelTable) -> Mapping[str, str]:
    """The operator's names for models, over those of the preset.

    Raises:
        SettingError: a name leads to no model.
    """
    aliases = models.aliases(config.model_preset, dict(config.model_aliases))
    for name, target in config.model_aliases:
        if not _leads_to(models, target, aliases):
            known = [*models.short_names(), *(facts.id for facts in models.all()), *(aliases.keys() - {name})]
            near = difflib.get_close_matches(target, known, n=3) or models.short_names()
            raise SettingError(
                f"CLAUDE_WRAPPER_MODEL_ALIASES: {name!r} leads to {target!r}, which is no model. "
                f"Names that work: {', '.join(near)}."
            )
    return aliases


def _text(config: Config) -> str:
    """The operator's file; empty without one.

    Raises:
        SettingError: it cannot be read, or nothing is in it, as while it is being written.
    """
    if not config.models_file:
        return ""
    text = read_operators_file(VARIABLE, config.models_file, most_bytes=LARGEST_BYTES)
    if not text.strip():
        raise SettingError(f"{VARIABLE}: {config.models_file!r} is empty.")
    return text


def _table(text: str) -> ModelTable:
    """The built-in table with a text of the same shape laid over it."""
    own = resources.files("app.domain").joinpath("models.toml").read_text()
    try:
        return ModelTable.load(own, text)
    except ModelTableError as exc:
        raise SettingError(f"{VARIABLE}: {exc}.") from exc


def _leads_to(models: ModelTable, target: str, aliases: Mapping[str, str]) -> bool:
    """Whether a name that an alias leads to is a model, maybe by further aliases."""
    try:
        models.resolve(target, aliases)
    except NotFound:
        return False
    return True
