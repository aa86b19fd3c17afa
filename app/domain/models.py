"""The Claude models: what each accepts, and which one a client's model name means.

The table itself is data, ``app/domain/models.toml``, handed in as text (this module reads no files). Names and their
rules follow ``spec/models.md``: an operator's aliases win, then ids as Anthropic spells them, then short names
(``opus``, ``claude-opus-latest``), other spellings (``anthropic/claude-opus-5.5``) and retired ids, which the current
model of the same line serves. Any name may end in ``@effort``.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from app.errors import NotFound

Effort = Literal["low", "medium", "high", "xhigh", "max"]
ThinkingType = Literal["adaptive", "between_tools", "disabled", "enabled"]

#: Effort levels from the lowest to the highest.
EFFORT_ORDER: Final[tuple[Effort, ...]] = ("low", "medium", "high", "xhigh", "max")

#: What may follow the ``@`` of a model name: the values of ``reasoning_effort``.
EFFORT_SUFFIXES: Final = ("none", "minimal", *EFFORT_ORDER)

_NO_ALIASES: Final[Mapping[str, str]] = MappingProxyType({})
_REMEMBERED: Final = 256
_EPOCH: Final = datetime.date(1970, 1, 1)
_CLAUDE_ID: Final = re.compile(r"claude-[a-z0-9][a-z0-9-]{0,120}")
_VERTEX_DATE: Final = re.compile(r"@(?=\d{8}$)")


class ModelTableError(ValueError):
    """A model table is not usable; the text says where."""


Usd = Annotated[float, Meta(ge=0, le=1_000_000)]
Tokens = Annotated[int, Meta(ge=1, le=2**53)]
Multiplier = Annotated[float, Meta(ge=1, le=1000)]


class Rates(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Prices in USD per million tokens, for prompts longer than ``above_tokens``."""

    above_tokens: Annotated[int, Meta(ge=0, le=2**53)]
    input: Usd
    output: Usd
    cache_read: Usd
    cache_write_5m: Usd
    cache_write_1h: Usd


class Price(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Prices in USD per million tokens.

    Args:
        long_prompt: replaces them for the whole of a request with a longer prompt.
        us_multiplier: of all tokens, where inference is kept in the US (``inference_geo``).
        fast_multiplier: of all tokens in fast mode; None where it is not known.
        web_search_per_1000: USD for a thousand searches of the web search tool, whatever the multipliers.
    """

    input: Usd
    output: Usd
    cache_read: Usd
    cache_write_5m: Usd
    cache_write_1h: Usd
    long_prompt: Rates | None = None
    us_multiplier: Multiplier = 1.1
    fast_multiplier: Multiplier | None = None
    web_search_per_1000: Usd = 10.0


class ModelFacts(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one model is and accepts; the columns are explained at the top of ``models.toml``.

    ``known`` is False for a ``claude-*`` id that the table lacks: its columns are those of the newest generation.
    """

    id: str
    display_name: str
    line: str | None = None
    released: datetime.date = _EPOCH
    released_is_approximate: bool = False
    context_tokens: Tokens
    max_output_tokens: Tokens
    thinking: tuple[ThinkingType, ...]
    thinking_default: Literal["always", "on", "off"]
    thinking_off_max_effort: Effort | None = None
    efforts: tuple[Effort, ...]
    default_effort: Effort | None = None
    sampling: bool
    forced_tool_choice: bool
    prefill: bool
    mid_conversation_system: bool
    bound_thinking: bool
    account_bound_thinking: bool
    vision: bool = True
    pdf: bool = True
    structured_outputs: bool = True
    lifecycle: Literal["active", "deprecated", "retired"] = "active"
    shutdown_date: datetime.date | None = None
    also: tuple[str, ...] = ()
    price: Price | None = None
    known: bool = True

    @property
    def created(self) -> int:
        """Release day in Unix seconds, as OpenAI's ``created``."""
        return (self.released - _EPOCH).days * 86400

    @property
    def created_at(self) -> str:
        """Release day as Anthropic's ``created_at`` (RFC 3339)."""
        return f"{self.released.isoformat()}T00:00:00Z"


class Resolution(Struct, frozen=True):
    """Which model a name means.

    Args:
        facts: its row of the table.
        id: the id to send upstream.
        effort: the ``@effort`` of the name, a value of ``reasoning_effort``.
        adjusted: the id that serves a retired one, to be reported; None where the name was taken as it is.
    """

    facts: ModelFacts
    id: str
    effort: str | None = None
    adjusted: str | None = None


class _Table(Struct, forbid_unknown_fields=True):
    models: dict[str, ModelFacts]
    lines: dict[str, str]
    unknown: dict[str, Any]
    retired: dict[str, str]
    presets: dict[str, dict[str, str]]


class ModelTable:
    """Every known model, and the rules of names. Immutable; made by ``load``."""

    def __init__(self, table: _Table) -> None:
        self._unknown = table.unknown
        self._names: dict[str, tuple[str, ...]] = {}
        self._resolved: dict[str, tuple[Mapping[str, str], Resolution]] = {}
        self._lines = dict(table.lines)
        self._retired = dict(table.retired)
        self._presets = {name: MappingProxyType(dict(names)) for name, names in table.presets.items()}
        self._models = tuple(facts for facts in table.models.values() if facts.lifecycle != "retired")
        self._by_id = {name: Resolution(facts, name) for facts in self._models for name in (facts.id, *facts.also)}
        for facts in table.models.values():
            if facts.lifecycle == "retired" and facts.line is not None:
                self._retired.setdefault(facts.id, facts.line)
        self._short = {
            name: self._by_id[model]
            for line, model in self._lines.items()
            for name in (line, f"claude-{line}-latest", f"claude-{line}")
        }

    @classmethod
    def load(cls, text: str, *more: str) -> ModelTable:
        """Reads a table from TOML; each further text is laid over the ones before, field by field.

        Raises:
            ModelTableError: the TOML is broken, a column is unknown or of the wrong type, or a name leads nowhere.
        """
        merged: dict[str, Any] = {"models": {}, "lines": {}, "unknown": {}, "retired": {}, "presets": {}}
        for part in (text, *more):
            try:
                layer = msgspec.toml.decode(part, type=dict[str, dict[str, Any]])
            except msgspec.MsgspecError as error:
                raise ModelTableError(f"the model table cannot be read: {error}") from error
            except RecursionError:
                raise ModelTableError("the model table cannot be read: it is nested too deeply") from None
            except ValueError:  # what tomllib hands on of Python's
                raise ModelTableError("the model table cannot be read: a number in it is too long") from None
            _lay_over(merged, layer)
        for name, columns in merged["models"].items():
            if not isinstance(columns, dict):
                raise ModelTableError(f"the model table is not valid: models.{name} is no table")
            base = {"display_name": name, **merged["unknown"]}
            if "efforts" in columns:
                base.pop("default_effort", None)  # TOML has no null: a model that names its efforts names the default
            merged["models"][name] = {**base, **columns, "id": name}
        try:
            table = msgspec.convert(merged, _Table)
            _check_names(table)
            _facts_of_unknown("claude-unknown", table.unknown)
        except msgspec.ValidationError as error:
            raise ModelTableError(f"the model table is not valid: {error}") from error
        return cls(table)

    def all(self) -> tuple[ModelFacts, ...]:
        """The models that are served, newest first as in the table; retired ones are left out."""
        return self._models

    def names_of(self, model_id: str, *, asked: str = "") -> tuple[str, ...]:
        """Everything that a model is called here: its ids, the short names that mean it today, and what was asked for.

        Args:
            model_id: as it is sent upstream.
            asked: the client's word for it, which has led to it; with and without an effort, a vendor and capitals.
        """
        names = self._names_of(model_id)
        if not asked or asked in names or not asked.isprintable():
            return names
        stem, at, suffix = asked.rpartition("@")
        bare = stem if at and suffix in EFFORT_SUFFIXES else asked
        return (*names, asked, bare, bare.strip().lower().removeprefix("anthropic/").replace(".", "-"))

    def _names_of(self, model_id: str) -> tuple[str, ...]:
        names = self._names.get(model_id)
        if names is None:
            found = self._by_id.get(model_id)
            names = (model_id,)
            if found is not None:
                short = (name for name, means in self._short.items() if means.facts is found.facts)
                names = (found.facts.id, *found.facts.also, *short)
                self._names[model_id] = names
        return names

    def short_names(self) -> tuple[str, ...]:
        """The names of the lines: ``fable``, ``opus``, ..."""
        return tuple(self._lines)

    def aliases(self, preset: str = "none", own: Mapping[str, str] = _NO_ALIASES) -> Mapping[str, str]:
        """The aliases of a configuration: a preset's, unless one of the operator's own covers the name.

        Args:
            preset: a name under ``[presets]``, or ``none``.
            own: the operator's, ``name -> model``; a name may end in ``*``.

        Raises:
            ModelTableError: no such preset.
        """
        if preset == "none":
            return MappingProxyType(dict(own))
        if preset not in self._presets:
            raise ModelTableError(f"there is no preset {preset!r}; there are: {', '.join(self._presets)}")
        kept = {n: m for n, m in self._presets[preset].items() if _match(n.rstrip("*"), own) is None}
        return MappingProxyType(kept | dict(own))

    def resolve(self, name: str, aliases: Mapping[str, str] = _NO_ALIASES) -> Resolution:
        """Which model a client's name means.

        Args:
            name: as the client sent it.
            aliases: the operator's names (``aliases``); they win over everything but are not reported as adjusted.

        Raises:
            NotFound: code ``model_not_found``, param ``model``; the message says which names work.
        """
        found = self._by_id.get(name)
        if found is not None and name not in aliases:
            return found
        before = self._resolved.get(name)
        if before is not None and before[0] is aliases:
            return before[1]
        found = self._resolve(name, aliases)
        if len(self._resolved) >= _REMEMBERED:
            self._resolved.clear()
        self._resolved[name] = (aliases, found)
        return found

    def _resolve(self, name: str, aliases: Mapping[str, str]) -> Resolution:
        target, effort = name, None
        for _ in range(2 * len(aliases) + 2):  # an alias and an effort per step; ends circles too
            stem, at, suffix = target.rpartition("@")
            if at and suffix in EFFORT_SUFFIXES and target not in aliases:
                target, effort = stem, effort or suffix
                continue
            hit = _match(target, aliases, known=self._by_id)
            if hit is None or (at and hit == _match(stem, aliases) and not _VERTEX_DATE.search(target)):
                break  # a pattern covers the stem, and must not swallow a word that is no effort
            target = hit
        found = self._named(target)
        if found is None:
            stem, at, suffix = target.rpartition("@")
            is_model = _match(stem, aliases) is not None or self._named(stem) is not None
            raise _no_effort(suffix) if at and is_model else self._not_found(name)
        return msgspec.structs.replace(found, effort=effort) if effort else found

    def _named(self, name: str) -> Resolution | None:
        """A name without aliases and effort, in any accepted spelling."""
        spelt = name.strip().lower().removeprefix("anthropic/").replace(".", "-")
        spelt = _VERTEX_DATE.sub("-", spelt)
        found = self._by_id.get(spelt) or self._short.get(spelt)
        if found is not None:
            return found
        line = None if "@" in spelt else _match(spelt, self._retired)
        if line is not None:
            current = self._by_id[self._lines[line]]
            return Resolution(current.facts, current.id, adjusted=current.id)
        if _CLAUDE_ID.fullmatch(spelt):
            return Resolution(_facts_of_unknown(spelt, self._unknown), spelt)
        return None

    def _not_found(self, name: str) -> NotFound:
        return NotFound(
            f"The model {_shown(name)} does not exist. Use a Claude model id such as {self._models[0].id}, or a short"
            f" name ({', '.join(self._lines)}); GET /v1/models lists the models. The operator can configure further"
            " names (CLAUDE_WRAPPER_MODEL_ALIASES, or CLAUDE_WRAPPER_MODEL_PRESET=openai for OpenAI's).",
            code="model_not_found",
            param="model",
        )


def _no_effort(suffix: str) -> NotFound:
    return NotFound(
        f"{_shown(suffix)} is no effort. After the '@' of a model name may follow: {', '.join(EFFORT_SUFFIXES)}.",
        code="model_not_found",
        param="model",
    )


def _shown(name: str) -> str:
    return repr(name if len(name) <= 80 else name[:80] + "...")


def _match(name: str, patterns: Mapping[str, str], known: Mapping[str, object] = _NO_ALIASES) -> str | None:
    """The value of a name among names and ``prefix*`` patterns; the longest wins, and none covers a known id."""
    exact = patterns.get(name)
    if exact is not None or name in known:
        return exact
    fitting = [key for key in patterns if key.endswith("*") and name.startswith(key[:-1])]
    return patterns[max(fitting, key=len)] if fitting else None


def _facts_of_unknown(model_id: str, columns: Mapping[str, Any]) -> ModelFacts:
    """A model that the table lacks; raises ``msgspec.ValidationError`` where its columns are none."""
    return msgspec.convert({"display_name": model_id, **columns, "id": model_id, "known": False}, ModelFacts)


def _lay_over(base: dict[str, Any], layer: Mapping[str, Any]) -> None:
    for key, value in layer.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            _lay_over(base[key], value)
        else:
            base[key] = value


def _check_names(table: _Table) -> None:
    """Every line, retired id and preset must lead to a model."""
    for line, model in table.lines.items():
        if model not in table.models or table.models[model].lifecycle == "retired":
            raise ModelTableError(f"lines.{line}: {model!r} is not a model that is served")
    for name, line in table.retired.items():
        if line not in table.lines:
            raise ModelTableError(f"retired.{name!r}: {line!r} is not one of the lines")
    for facts in table.models.values():
        if facts.lifecycle == "retired" and facts.line not in table.lines:
            raise ModelTableError(f"models.{facts.id}: it is retired, and no line says what serves it now")
    if not any(facts.lifecycle != "retired" for facts in table.models.values()):
        raise ModelTableError("the model table has no model that is served")
