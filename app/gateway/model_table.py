"""The model table and the aliases of a configuration.

Light, as the command line looks at them before it starts anything.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from app.config import Config, SettingError
from app.domain.models import ModelTable, ModelTableError
from app.errors import NotFound


def load_models(config: Config) -> ModelTable:
    """The built-in model table, with the operator's file laid over it.

    Raises:
        SettingError: the file cannot be read, or is no model table.
    """
    texts = [resources.files("app.domain").joinpath("models.toml").read_text()]
    if config.models_file:
        try:
            texts.append(Path(config.models_file).read_text())
        except (OSError, UnicodeDecodeError) as exc:
            raise SettingError(f"CLAUDE_WRAPPER_MODELS_FILE: {config.models_file!r} cannot be read: {exc}.") from exc
    try:
        return ModelTable.load(*texts)
    except ModelTableError as exc:
        raise SettingError(f"CLAUDE_WRAPPER_MODELS_FILE: {exc}.") from exc


def load_aliases(config: Config, models: ModelTable) -> Mapping[str, str]:
    """The operator's names for models, over those of the preset.

    Raises:
        SettingError: a name leads to no model.
    """
    aliases = models.aliases(config.model_preset, dict(config.model_aliases))
    for name, target in config.model_aliases:
        try:
            models.resolve(target, aliases)
        except NotFound:
            known = [*models.short_names(), *(facts.id for facts in models.all()), *(aliases.keys() - {name})]
            near = difflib.get_close_matches(target, known, n=3) or models.short_names()
            raise SettingError(
                f"CLAUDE_WRAPPER_MODEL_ALIASES: {name!r} leads to {target!r}, which is no model. "
                f"Names that work: {', '.join(near)}."
            ) from None
    return aliases
