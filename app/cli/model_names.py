"""Whether the models that a key is made for are known: a misspelt name is no error, and lets the key do nothing."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping

from app.config import Config, SettingError, resolve
from app.domain.models import ModelTable
from app.errors import NotFound
from app.gateway.model_table import load_served_models

_VARIABLES = ("CLAUDE_WRAPPER_MODELS_FILE", "CLAUDE_WRAPPER_MODEL_PRESET", "CLAUDE_WRAPPER_MODEL_ALIASES")


def doubts(patterns: Iterable[str], environ: Mapping[str, str]) -> Iterator[str]:
    """A sentence for each name or ``prefix*`` pattern that fits no model, as far as this environment knows models.

    Args:
        patterns: the models of a key.
        environ: environment variables.
    """
    try:
        config, _ = resolve(Config, {name: environ[name] for name in _VARIABLES if name in environ}, {})
        served = load_served_models(config)
    except SettingError:  # the gateway says so, which is who it concerns
        return
    models, aliases = served.table, served.aliases
    names = {name for facts in models.all() for name in models.names_of(facts.id)} | {*aliases}
    for pattern in patterns:
        stem = pattern.removesuffix("*")
        if _is_known(models, aliases, stem) or (stem != pattern and _begins_one(models, aliases, stem, names)):
            continue
        what = "is called" if stem == pattern else "has a name like"
        near = difflib.get_close_matches(stem, names, n=1)
        yield f"no known model {what} {pattern!r}." + (f" Did you mean {near[0]!r}?" if near else "")


def _is_known(models: ModelTable, aliases: Mapping[str, str], name: str) -> bool:
    try:
        found = models.resolve(name, aliases)
    except NotFound:
        return False
    return found.facts.known


def _begins_one(models: ModelTable, aliases: Mapping[str, str], stem: str, names: Iterable[str]) -> bool:
    """Whether a name begins so; of retired ones (``claude-3-``) it is tried with every line."""
    lines = models.short_names()
    return any(name.startswith(stem) for name in names) or any(
        _is_known(models, aliases, stem + line) for line in lines
    )
