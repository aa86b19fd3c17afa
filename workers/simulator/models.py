"""The models the simulator serves: the product's own table, plus what only the far side of the API has to know.

Unlike the gateway it takes ids as Anthropic spells them and nothing else: no aliases, no retired ids.
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Mapping
from typing import Any, Final

from app.domain.models import EFFORT_ORDER, ModelFacts, ModelTable

#: Smallest cacheable prompt in tokens (spec/models.md); what is not public is taken as 1024.
_MIN_CACHE_TOKENS: Final[Mapping[str, int]] = {
    "claude-sonnet-5-5": 512,
    "claude-sonnet-5": 1024,
    "claude-sonnet-4-5": 1024,
    "claude-sonnet-4-6": 2048,
    "claude-fable-5": 2048,
    "claude-opus-4-5": 4096,
    "claude-opus-4-6": 4096,
    "claude-opus-4-7": 4096,
    "claude-opus-4-8": 4096,
    "claude-haiku-4-5": 4096,
}

#: Up to 4.6 thinking is shown unless asked otherwise, later models leave it out.
_SHOWS_THINKING: Final = frozenset(
    {
        "claude-opus-4-6",
        "claude-sonnet-4-6",
        "claude-opus-4-5",
        "claude-sonnet-4-5",
        "claude-haiku-4-5",
        "claude-mythos-preview",
    }
)

_NEWEST_OWN: Final = frozenset({"claude-fable-5-2", "claude-mythos-5-2"})
_LINES_OF_55: Final = frozenset({"opus", "sonnet", "haiku"})


def load_models() -> dict[str, ModelFacts]:
    """Every served id with its facts, newest first, dated ids included."""
    text = importlib.resources.files("app.domain").joinpath("models.toml").read_text(encoding="utf-8")
    return {name: facts for facts in ModelTable.load(text).all() for name in (facts.id, *facts.also)}


def min_cache_tokens(facts: ModelFacts) -> int:
    """Prompts below this many tokens are not cached."""
    return _MIN_CACHE_TOKENS.get(facts.id, 1024)


def shows_thinking(facts: ModelFacts) -> bool:
    """Whether ``thinking.display`` is ``summarized`` by default (else ``omitted``)."""
    return facts.id in _SHOWS_THINKING


def can_read(reader: ModelFacts, maker: ModelFacts) -> bool:
    """Whether a model may read thinking that another made; what it cannot read is dropped silently.

    Stated: Opus 5.5 and Sonnet 5.5 read older Opus, Sonnet and Haiku; what Fable and Mythos 5.2 made only they read. Of
    the rest nothing is public: here a model reads what is not newer than itself.
    """
    if reader.id == maker.id:
        return True
    if maker.id in _NEWEST_OWN or reader.id in _NEWEST_OWN:
        return maker.id in _NEWEST_OWN and reader.id in _NEWEST_OWN
    if reader.id in ("claude-opus-5-5", "claude-sonnet-5-5"):
        return maker.line in _LINES_OF_55 and not maker.id.endswith("-5-5")
    return maker.released <= reader.released


def model_info(name: str, facts: ModelFacts) -> dict[str, Any]:
    """A model as ``GET /v1/models`` shows it (``ModelInfo`` of the SDK)."""

    def supported(flag: bool) -> dict[str, bool]:
        return {"supported": flag}

    thinking = {
        kind: supported(kind in facts.thinking) for kind in ("adaptive", "between_tools", "disabled", "enabled")
    }
    return {
        "type": "model",
        "id": name,
        "display_name": facts.display_name,
        "created_at": facts.created_at,
        "lifecycle": facts.lifecycle,
        "line": facts.line,
        "max_input_tokens": facts.context_tokens,
        "max_tokens": facts.max_output_tokens,
        "retires_at": f"{facts.shutdown_date.isoformat()}T00:00:00Z" if facts.shutdown_date else None,
        "capabilities": {
            "batch": supported(True),
            "citations": supported(True),
            "code_execution": supported(False),
            "context_management": supported(False),
            "effort": {"supported": bool(facts.efforts)}
            | {level: supported(level in facts.efforts) for level in EFFORT_ORDER},
            "image_input": supported(facts.vision),
            "pdf_input": supported(facts.pdf),
            "server_tools": {"supported": True, "code_execution": supported(False), "web_search": supported(True)},
            "structured_outputs": supported(facts.structured_outputs),
            "thinking": {"supported": bool(facts.thinking), "types": thinking},
        },
    }
