"""The model table of a configuration. Light, as the command line looks at it before it starts anything."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from app.config import Config, SettingError
from app.domain.models import ModelTable, ModelTableError


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
